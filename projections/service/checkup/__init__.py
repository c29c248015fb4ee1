"""What `check` tries: everything that `sync` and `run` would refuse at their start, and what they write into.

Law: a trial asks the very function that the start calls, so that the two cannot say different things. A file
beside this one tries one kind of part; `GROUPS` names them in the order of the river.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from msgspec import Struct

from eventstore.errors import ChainfoldError

if TYPE_CHECKING:
    from projections.service.runtime.wiring import Plan

Act = Callable[[], Iterable[str]]
"""Raises a `ChainfoldError` where the start would; else returns remarks: what works, and needs a look."""


class Trial(Struct, frozen=True):
    """One thing to try, under the name that people read."""

    name: str
    act: Act


class Finding(Struct, frozen=True):
    """How a trial ended: `error` is why the start would fail; `notes` are remarks on what works."""

    name: str
    ok: bool
    error: str = ""
    notes: list[str] = []


CheckGroup = Callable[["Plan"], Iterable[Trial]]


def groups() -> list[CheckGroup]:
    """Every kind of part, in the order of the river. Imported here: the libraries of nodes and servers take
    a second."""
    from projections.service.checkup import chains, folds, serving, sinks, store

    return [store.trials, chains.trials, folds.trials, sinks.trials, serving.trials]


def checkup(plan: Plan) -> Iterator[Finding]:
    """Carries out every trial; one that fails holds up no other."""
    yield Finding("configuration", ok=True)
    for group in groups():
        for trial in group(plan):
            yield carried_out(trial)


def carried_out(trial: Trial) -> Finding:
    """What came of one trial."""
    try:
        return Finding(trial.name, ok=True, notes=list(trial.act()))
    except ChainfoldError as error:
        return Finding(trial.name, ok=False, error=str(error))
