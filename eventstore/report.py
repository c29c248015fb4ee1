"""What a verification found: checks by name, each with the differences that it counted and names."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

CAP = 100
"""Differences that one check names; the others are counted."""

OnProgress = Callable[[int, int], None]
"""Called with how much is done, and of how much."""


class Difference(Struct, frozen=True):
    """One thing that is not as it must be: `what` names it (entry 3, block 17), `detail` says how."""

    what: str
    detail: str


class Check(Struct, frozen=True):
    """What one check looked at and found.

    `checked` counts what was compared; `found` all differences; `differences` are the first of them;
    `repaired` how many of them were mended and then seen to be right. `note` is for people: what was
    not looked at, or what to do. `error` says why the check could not be made, or not to its end.
    """

    name: str
    checked: int
    found: int
    differences: list[Difference]
    repaired: int = 0
    note: str = ""
    error: str = ""

    @property
    def differs(self) -> bool:
        """Something is not as it must be, and stays so."""
        return self.found > self.repaired

    @property
    def ok(self) -> bool:
        """All was looked at, and nothing differs, or no longer."""
        return not self.differs and not self.error


class Findings:
    """Collects what one check finds: names the first `CAP`, counts the rest."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.checked = 0
        self.found = 0
        self.differences: list[Difference] = []

    def add(self, what: str, detail: str) -> None:
        self.found += 1
        if len(self.differences) < CAP:
            self.differences.append(Difference(what, detail))

    def check(self, *, note: str = "") -> Check:
        return Check(self.name, self.checked, self.found, self.differences, note=note)
