"""Which log goes to which handler: binds the events that contracts declare to a projector's handlers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from msgspec import Struct

from eventstore.journal.kinds import LogKind
from eventstore.journal.reading import StoredBlock, StoredLog
from eventstore.records import Filter
from projections.decoding import compiled
from projections.decoding.damaged import damaged
from projections.decoding.decoder import Decoder, UnreadableParameter, asks_bytes, wants
from projections.decoding.event import Event, names, parse
from projections.decoding.handlers import FACTS, attributes
from projections.errors import SignatureError
from projections.projectors import Projector


class Route(Struct, frozen=True):
    """One kind of log, how to decode it, and the handler it goes to.

    The event that the handler gets has the handler's own parameter names as attributes (those that
    are keywords or facts with a trailing underscore), and `block` (number, hash, timestamp in
    seconds), `log_index`, `tx_hash`, `contract` (address, lower-case hex).
    """

    kind: LogKind
    decoder: Decoder
    handle: Callable[[Any, Any], None]
    decode: compiled.Decode
    """The typed event of a log; raises `DecodingError` for a log that does not fit the event. A log without
    topics is of an anonymous event: see `decoding`."""
    contract: str
    makes: type = object
    """What `decode` gives: no other route gives events of this type."""
    plan: tuple[str, tuple[int | None, ...]] = ("", ())
    """The handler's name, and which value of the contract's event each of its parameters is."""
    anonymous: Callable[[bytes], compiled.Decode] | None = None

    @property
    def filter(self) -> Filter:
        """What must be fetched for it: of an anonymous event, whose first topic may be anything, all."""
        return Filter(self.kind.address, None if self.anonymous is not None else self.kind.topic0)

    def may_be(self, kind: LogKind) -> bool:
        """May a log of this kind be of this event?"""
        if self.anonymous is None:
            return kind == self.kind
        return kind.address == self.kind.address and (self.decoder.event.topics > 0) == bool(kind.topic0)

    def decoding(self, topic0: bytes) -> compiled.Decode:
        """Decodes logs with this first topic (empty: with none)."""
        return self.decode if self.anonymous is None else self.anonymous(topic0)

    def of(self, kind: LogKind) -> Route:
        """The way of its own kind: itself."""
        return self


def bind(
    projector: Projector,
    *,
    addresses: Sequence[bytes],
    events: Sequence[Event],
    roles: Mapping[str, str],
    where: str,
) -> list[Route]:
    """The routes of one contract. `roles` maps a handler's parameter to the contract's own name for it.

    An event goes to a handler of its own name; else, where it has all the parameters that `roles` name, to
    a handler that has all these roles. Every indexed parameter of the handler, and every role, must be
    found in it by fitting type. The handler with the most matches gets it; an event that fits no
    handler is ignored if another event of its name fits or, with roles, any other of the contract.
    Raises `SignatureError`, which starts with `where`, for a name that does not exist.
    """
    handlers = {method: parse(signature) for method, signature in type(projector).handlers().items()}
    _check_roles(handlers, events, roles, where)
    routes: list[Route] = []
    missed: list[tuple[Event, SignatureError]] = []
    for event in events:
        found = _best(handlers, event, roles, where)
        if isinstance(found, SignatureError):
            missed.append((event, found))
        elif found is not None:
            method, places = found
            make = _event_type(handlers[method])
            decoder = Decoder(event, asked=_asked(handlers[method], event, places))
            handle = getattr(projector, method)
            quick = None if event.anonymous else compiled.compile_decoder(event, places, make)
            topic0 = b"" if event.anonymous else event.topic0
            for address in addresses:
                contract = "0x" + address.hex()
                of_topic = partial(_slow, decoder, places, make, contract)
                slow = of_topic(topic0)
                routes.append(
                    Route(
                        LogKind(address, topic0),
                        decoder,
                        handle,
                        slow if quick is None else quick(contract, slow),
                        contract,
                        make,
                        (method, places),
                        of_topic if event.anonymous else None,
                    )
                )
    named = {route.decoder.event.name for route in routes}
    for event, error in missed:
        if not (routes and roles) and event.name not in named:  # else those that fit are what was meant
            raise error
    return routes


def _slow(
    decoder: Decoder, places: Sequence[int | None], make: type, contract: str, topic0: bytes
) -> compiled.Decode:
    """Decodes by the plan, value by value: handles every event, and names what is wrong with one.

    An empty topic0 stands for logs without topics.
    """
    first = (topic0,) if topic0 else ()

    def decode(log: StoredLog, block: StoredBlock) -> Any:
        indexed = (log.topic1, log.topic2, log.topic3)
        values = decoder.read((*first, *(topic for topic in indexed if topic is not None)), log.data)
        given = [None if place is None else values[place] for place in places]
        kind = damaged(make) if any(value.__class__ is UnreadableParameter for value in given) else make
        return kind(*given, block, log.log_index, log.tx_hash, contract)

    return decode


def _asked(wanted: Event, event: Event, places: Sequence[int | None]) -> dict[int, str]:
    """By place, the parameters that the handler wants as bytes, and the type that says so."""
    return {
        place: item.type
        for item, place in zip(wanted.parameters, places, strict=True)
        if place is not None and asks_bytes(item.type, event.parameters[place].type)
    }


def _best(
    handlers: Mapping[str, Event], event: Event, roles: Mapping[str, str], where: str
) -> tuple[str, tuple[int | None, ...]] | SignatureError | None:
    best: tuple[str, tuple[int | None, ...]] | None = None
    missed: SignatureError | None = None
    for method, wanted in _candidates(handlers, event, roles).items():
        places = tuple(_place(item.name, item.type, event, roles) for item in wanted.parameters)
        absent = [
            item
            for item, place in zip(wanted.parameters, places, strict=True)
            if place is None and (item.indexed or item.name in roles)
        ]
        if absent:
            first = absent[0]
            missed = missed or SignatureError(
                f"{where}: {event} has no parameter for "
                f"{' and '.join(item.name for item in absent)} of {wanted}.",
                hint=f'Map {first.name} to one of type {first.type}, roles = {{ {first.name} = "..." }}; '
                f"it has {', '.join(item.name for item in event.parameters) or 'none'}.",
            )
        elif best is None or _count(places) > _count(best[1]):
            best = method, places
    return best or missed


def _candidates(handlers: Mapping[str, Event], event: Event, roles: Mapping[str, str]) -> dict[str, Event]:
    """The handlers of the event's own name, else those that `roles` speak of.

    Roles speak only all together: else every event that names a user would be taken for one with the
    role `user` only, which means leaving.
    """
    named = {method: wanted for method, wanted in handlers.items() if wanted.name == event.name}
    own = {item.name for item in event.parameters}
    if named or not roles or not own.issuperset(roles.values()):
        return named
    return {
        method: wanted
        for method, wanted in handlers.items()
        if roles.keys() <= {item.name for item in wanted.parameters}
    }


def _place(name: str, kind: str, event: Event, roles: Mapping[str, str]) -> int | None:
    wanted = roles.get(name, name)
    if name not in roles and wanted in roles.values():
        return None  # that parameter was given another role
    for place, item in enumerate(event.parameters):
        if item.name == wanted and wants(item, kind):
            return place
    return None


def _count(places: Sequence[int | None]) -> int:
    return sum(place is not None for place in places)


def _check_roles(
    handlers: Mapping[str, Event], events: Sequence[Event], roles: Mapping[str, str], where: str
) -> None:
    known = sorted({item.name for event in handlers.values() for item in event.parameters})
    theirs = sorted({item.name for event in events for item in event.parameters})
    for role, parameter in roles.items():
        if role not in known:
            raise SignatureError(
                f"{where}: the projector knows no role {role}.", hint=f"Known are {', '.join(known)}."
            )
        if parameter not in theirs:
            raise SignatureError(
                f"{where}: roles.{role} = {parameter} is not a parameter of the contract's events "
                f"({names(events)}).",
                hint=f"They have {', '.join(theirs) or 'none'}.",
            )


def _event_type(wanted: Event) -> type:
    fields = attributes(wanted)
    return msgspec.defstruct(wanted.name, [*fields, *FACTS], frozen=True, gc=False)
