"""Finds the decoder and the handler for each kind of log: a projection's routes, limited by `meaning`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any, Protocol

from msgspec import Struct, field

from eventstore.journal.kinds import LogKind
from eventstore.journal.reading import StoredBlock, StoredLog
from eventstore.records import Watch
from projections.decoding.compiled import Decode
from projections.decoding.meaning import Declaration, Meaning, Misfit
from projections.errors import DecodingError, SignatureError
from projections.routing.routes import Route

ANY = b"any"
"""In the place of a topic0: every log under no other key, of an address that has anonymous events."""


class Way(Protocol):
    """Where the logs of one kind go."""

    @property
    def decode(self) -> Callable[[StoredLog, StoredBlock], Any]:
        """The typed event of a log, None for a log whose event is not handled. Raises `DecodingError` for
        a log that does not fit the event it claims to be."""
        ...

    @property
    def handle(self) -> Callable[[Any, Any], None]:
        """Takes what `decode` gave, and the documents."""
        ...


class Bound(Struct, frozen=True):
    """A route, and the declaration that it was made from."""

    route: Route
    declaration: Declaration

    @property
    def watch(self) -> Watch:
        """What must be covered before it can be folded."""
        return Watch(self.route.filter, self.declaration.first, self.declaration.last)


class LogFork(Struct, frozen=True):
    """Logs of one address whose event hangs on more than their first topic: on their number of topics, or on
    their block."""

    meaning: Meaning
    bound: tuple[Bound, ...]
    _known: dict[LogKind, Way] = field(default_factory=dict)

    def of(self, kind: LogKind) -> Way:
        found = self._known.get(kind)
        if found is None:
            found = self._known[kind] = self._taken(kind)
        return found

    def _taken(self, kind: LogKind) -> Way:
        mine = [item for item in self.bound if item.route.may_be(kind)]
        decoders = [(item.declaration, item.route.decoding(kind.topic0)) for item in mine]
        segment, address, first = self.meaning.segment, kind.address, bool(kind.topic0)
        settled: dict[tuple[int, int], Decode] = {}

        def settle(topics: int, at: int) -> Decode:
            decided = self.meaning.of(address, kind.topic0, topics, at)
            if isinstance(decided, Declaration):
                layout = decided.event.layout
                for own, read in decoders:
                    if own.event.layout == layout and own.holds(at):
                        return read
            elif decided is not None and any(o.holds(at) and not o.event.anonymous for o, _ in decoders):
                return _refusing(decided)
            return _passed

        def decode(log: StoredLog, block: StoredBlock) -> Any:
            topics = first + sum(topic is not None for topic in (log.topic1, log.topic2, log.topic3))
            place = topics, segment(address, log.block_number)
            read = settled.get(place)
            if read is None:
                read = settled[place] = settle(topics, log.block_number)
            return read(log, block)

        handlers = {item.route.makes: item.route.handle for item in mine}

        def handle(event: Any, documents: Any) -> None:
            own = type(event)  # or, where a parameter cannot be read, a type made from it
            (handlers.get(own) or handlers[own.__mro__[1]])(event, documents)

        return Taken(decode, handle)


def _passed(log: StoredLog, block: StoredBlock) -> None:
    """Of a log that is of no event that is handled."""


def _refusing(misfit: Misfit) -> Decode:
    def decode(log: StoredLog, block: StoredBlock) -> Any:
        raise DecodingError(str(misfit))

    return decode


class Taken(Struct, frozen=True):
    """The way of one kind, as a fork found it."""

    decode: Decode
    handle: Callable[[Any, Any], None]


def ways(meaning: Meaning, bound: Sequence[Bound], *, where: str) -> dict[LogKind, Route | LogFork]:
    """By (address, topic0), or (address, ANY), where the logs of a projection go; `bound` by precedence.

    Raises `SignatureError`, which starts with `where`, for an anonymous event that no log shows, and for two
    routes of one log.
    """
    lowest = min((item.declaration.first for item in bound), default=0)
    by_address: dict[bytes, list[Bound]] = {}
    for item in bound:
        by_address.setdefault(item.declaration.address, []).append(item)
    found: dict[LogKind, Route | LogFork] = {}
    for address, here in by_address.items():
        for one, other in combinations(here, 2):
            if _both(one, other):
                raise _twice(one, other, where)
        fork = LogFork(meaning, tuple(here))
        for item in here:
            if rivals := meaning.rivals(item.declaration):
                raise _ambiguous(item.declaration, rivals[0], where)
            if item.declaration.event.anonymous:
                found[LogKind(address, ANY)] = fork
            elif item.route.kind not in found:
                found[item.route.kind] = item.route if _is_plain(meaning, item, lowest) else fork
    return found


def way_of(routes: Mapping[LogKind, Route | LogFork], kind: LogKind) -> Way | None:
    """Where the logs of a kind go, None where nothing of the projection takes them."""
    way = routes.get(kind) or routes.get(LogKind(kind.address, ANY))
    return None if way is None else way.of(kind)


def watches(bound: Iterable[Bound]) -> tuple[Watch, ...]:
    """What must be covered, each once."""
    return tuple(dict.fromkeys(item.watch for item in bound))


def _is_plain(meaning: Meaning, item: Bound, lowest: int) -> bool:
    """Is every log of its kind, from the projection's first block on, of this declaration or of none?"""
    own = item.declaration
    declared = meaning.declared(own.address, own.event.topic0)
    return (
        own.first <= lowest
        and own.last is None
        and not meaning.anonymous(own.address)
        and all(other.event.layout == own.event.layout for other in declared)
    )


def _both(one: Bound, other: Bound) -> bool:
    """Would a log go two ways?"""
    return (
        one.route.plan != other.route.plan
        and one.route.kind == other.route.kind
        and one.declaration.event.layout == other.declaration.event.layout
        and one.declaration.meets(other.declaration)
    )


def _twice(one: Bound, other: Bound, where: str) -> SignatureError:
    first, second = one.declaration, other.declaration
    return SignatureError(
        f"{where}: {first.event} of contracts.{first.contract} and {second.event} of contracts."
        f"{second.contract} are one log at 0x{first.address.hex()}, and are given to the handlers otherwise.",
        hint="Leave one of the two out, or keep their blocks apart with start_block and end_block.",
    )


def _ambiguous(own: Declaration, rival: Declaration, where: str) -> SignatureError:
    return SignatureError(
        f"{where}: the anonymous event {own.event} of contracts.{own.contract} cannot be distinguished from "
        f"{rival.event} of contracts.{rival.contract}: both have {own.event.topics} topics at "
        f"0x{own.address.hex()}, and nothing in a log says which of them it is.",
        hint=f"Leave {own.event.name} or {rival.event.name} out of the contract's events, or unhandled.",
    )
