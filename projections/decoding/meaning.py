"""What a log is: the one place that decides, for the fold, the audit, the export, the API and the check.

Law: only address, first topic, number of topics and block decide, so every reader sees the same event. A
declaration applies between its contract's first and last block. A log belongs to the event whose signature
hash is its first topic and that has as many topics; otherwise to the only anonymous event of that number of
topics at its address; otherwise to no event.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from itertools import combinations

from msgspec import Struct

from projections.decoding.event import Event
from projections.errors import SignatureError


class Declaration(Struct, frozen=True):
    """That a contract at `address` emits `event`, in blocks `first` to `last` (None: without an end)."""

    contract: str
    address: bytes
    event: Event
    first: int = 0
    last: int | None = None

    def holds(self, block: int) -> bool:
        return self.first <= block and (self.last is None or block <= self.last)

    def meets(self, other: Declaration) -> bool:
        """Is there a block in which both hold, at one address?"""
        return (
            self.address == other.address
            and (self.last is None or other.first <= self.last)
            and (other.last is None or self.first <= other.last)
        )


class Misfit(Struct, frozen=True):
    """A log that has the first topic of these declarations, and another number of topics than any of them."""

    declared: tuple[Declaration, ...]
    topics: int

    def __str__(self) -> str:
        name = self.declared[0].event.name
        needs = " and ".join(f"{item.event} needs {item.event.topics}" for item in self.declared)
        return f"{name}: the log has {self.topics} topics, {needs}."


class Meaning:
    """What the contracts of one chain declare, in the order of the configuration.

    Raises `SignatureError` for two declarations that no log can tell apart: one first topic, one number of
    topics, one address, blocks in common, and another layout.
    """

    def __init__(self, declarations: Iterable[Declaration]) -> None:
        self._named: dict[tuple[bytes, bytes], list[Declaration]] = {}
        self._anonymous: dict[bytes, list[Declaration]] = {}
        self._cuts: dict[bytes, list[int]] = {}
        self._decided: dict[tuple[bytes, bytes, int, int], Declaration | Misfit | None] = {}
        topics: dict[Event, bytes] = {}  # one event may be that of a thousand addresses
        for item in declarations:
            if item.event.anonymous:
                self._anonymous.setdefault(item.address, []).append(item)
            else:
                topic0 = topics.get(item.event) or topics.setdefault(item.event, item.event.topic0)
                self._named.setdefault((item.address, topic0), []).append(item)
            ends = [item.first] if item.last is None else [item.first, item.last + 1]
            self._cuts.setdefault(item.address, []).extend(ends)
        self._cuts = {address: sorted(set(cuts)) for address, cuts in self._cuts.items()}
        for group in self._named.values():
            for one, other in combinations(group, 2):
                if _alike(one, other):
                    raise _indistinguishable(one, other)

    def of(self, address: bytes, topic0: bytes, topics: int, block: int) -> Declaration | Misfit | None:
        """What a log with `topics` topics is; `topic0` is the first of them (empty without topics).

        None where nothing that is declared says what it is.
        """
        known = topic0 if (address, topic0) in self._named else b""
        place = address, known, topics, self.segment(address, block)
        try:
            return self._decided[place]
        except KeyError:
            return self._decided.setdefault(place, self._decide(address, known, topics, block))

    def segment(self, address: bytes, block: int) -> int:
        """A number that two blocks share in which the same is declared at an address."""
        return bisect_right(self._cuts.get(address, ()), block)

    def _decide(self, address: bytes, topic0: bytes, topics: int, block: int) -> Declaration | Misfit | None:
        named = [item for item in self._named.get((address, topic0), ()) if item.holds(block)]
        for item in named:
            if item.event.topics == topics:
                return item
        unnamed = [
            item
            for item in self._anonymous.get(address, ())
            if item.event.topics == topics and item.holds(block)
        ]
        if unnamed and all(item.event.layout == unnamed[0].event.layout for item in unnamed):
            return unnamed[0]
        return Misfit(tuple(named), topics) if named else None

    def declared(self, address: bytes, topic0: bytes) -> list[Declaration]:
        """All that is declared under a first topic, in any block."""
        return self._named.get((address, topic0), [])

    def anonymous(self, address: bytes) -> list[Declaration]:
        """The anonymous events of an address, in any block."""
        return self._anonymous.get(address, [])

    def rivals(self, own: Declaration) -> list[Declaration]:
        """The anonymous events that no log can tell from this one; where there are any it is never found."""
        return [item for item in self.anonymous(own.address) if own.event.anonymous and _alike(own, item)]

    def posing(self, own: Declaration) -> list[Declaration]:
        """The events that a log of this anonymous one is taken for where its first parameter has the value of
        their topic: who chooses that parameter can forge them."""
        first = next((item.type for item in own.event.parameters if item.indexed), None)
        if not own.event.anonymous or first not in _ANY_WORD:
            return []
        return [
            item
            for (address, _), group in self._named.items()
            if address == own.address
            for item in group
            if item.event.topics == own.event.topics and item.meets(own)
        ]

    def may_know(self, address: bytes, topic0: bytes) -> bool:
        """May a log of this first topic be of an event that is declared? Of an anonymous one it may be."""
        if self.declared(address, topic0):
            return True
        return any((item.event.topics > 0) == bool(topic0) for item in self.anonymous(address))


_ANY_WORD = ("bytes32", "uint256", "int256", "string", "bytes")
"""Types of an indexed parameter whose topic may be any 32 bytes, or the hash of a text that is chosen."""


def _alike(one: Declaration, other: Declaration) -> bool:
    """Can no log tell them apart, although they are not the same?"""
    return (
        one.event.topics == other.event.topics and one.event.layout != other.event.layout and one.meets(other)
    )


def _indistinguishable(one: Declaration, other: Declaration) -> SignatureError:
    if one.contract == other.contract:
        both = f"contracts.{one.contract} declares both"
    else:
        both = f"contracts.{one.contract} and contracts.{other.contract} declare"
    return SignatureError(
        f"{both} {one.event} and {other.event} at 0x{one.address.hex()}: logs of both have the same first "
        f"topic and {one.event.topics} topics, so that no log can tell which of the two it is.",
        hint="Leave out the event that the contract does not emit; or, where it was upgraded, make two "
        "contracts of it: end_block for the old layout, start_block for the new one.",
    )
