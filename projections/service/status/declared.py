"""The declared events of a chain's contracts: which event a raw log is, and its decoded parameters."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from eventstore.journal.reorgs import OrphanedKind
from eventstore.records import Filter, Log
from projections.decoding.decoder import Decoder, EventMarker, presented
from projections.decoding.event import Event, Layout, names
from projections.decoding.meaning import Declaration, Misfit
from projections.errors import ConfigurationError, DecodingError
from projections.service.config.settings import Config, Contract


class Decoded(Struct, frozen=True):
    """A log as it was declared: `values` in the order of the event's parameters, as `Decoder.read` gives
    them; `marks` say by name which of them are not shown as they are, and why."""

    contract: str
    event: Event
    values: tuple[Any, ...]
    marks: dict[str, str]

    @property
    def arguments(self) -> dict[str, Any]:
        """By name, as JSON shows them."""
        pairs = zip(self.event.parameters, self.values, strict=True)
        return {item.name: presented(value, item.type) for item, value in pairs}


class Declared:
    """The declared events of one chain's contracts, or of one of them. What a log is hangs on all of them."""

    def __init__(self, config: Config, chain: str, *, contract: str | None = None) -> None:
        self._meaning = config.meanings[chain]
        self._contracts: dict[str, Contract] = {
            name: item
            for name, item in config.contracts.items()
            if item.chain == chain and contract in (None, name)
        }
        self._decoders: dict[Event, tuple[Decoder, EventMarker]] = {}

    def __call__(self, log: Log) -> Decoded | None:
        """None where no declared event is what it is, or it cannot be decoded: such a log is shown raw."""
        found = self.what(log)
        own = None if found is None or isinstance(found, Misfit) else self._own(found, log.block_number)
        if own is None:
            return None
        if own.event not in self._decoders:
            self._decoders[own.event] = Decoder(own.event), EventMarker(own.event)
        decoder, marker = self._decoders[own.event]
        try:
            values = decoder.read(log.topics, log.data)
        except DecodingError:
            return None
        return Decoded(own.contract, own.event, values, marker(values, log.topics, log.data))

    def what(self, log: Log) -> Declaration | Misfit | None:
        """What a log is, by everything that the chain's contracts declare."""
        topic0 = log.topics[0] if log.topics else b""
        return self._meaning.of(log.address, topic0, len(log.topics), log.block_number)

    def unread(self, log: Log) -> bool:
        """Of a log that is shown raw: does it claim to be an event that is declared here?"""
        found = self.what(log)
        if isinstance(found, Misfit):
            return any(item.contract in self._contracts for item in found.declared)
        return found is not None and self._own(found, log.block_number) is not None

    def is_of(self, log: Log, event: str) -> bool:
        """Is it a log of an event of this name, or one that claims to be by its first topic?"""
        match self.what(log):
            case Declaration() as found:
                return found.event.name == event
            case Misfit() as misfit:
                return misfit.declared[0].event.name == event
        known = self._meaning.declared(log.address, log.topics[0] if log.topics else b"")
        return bool(known) and known[0].event.name == event

    def _own(self, found: Declaration, block: int) -> Declaration | None:
        """The same event, as one of these contracts declares it."""
        if found.contract in self._contracts:
            return found
        same = (
            *self._meaning.declared(found.address, found.event.topic0),
            *self._meaning.anonymous(found.address),
        )
        own = (item for item in same if item.contract in self._contracts and item.holds(block))
        return next((item for item in own if item.event.layout == found.event.layout), None)

    def events(self) -> list[tuple[str, Event]]:
        """Contract and event, as they stand in the configuration."""
        return [(name, event) for name, item in self._contracts.items() for event in item.events]

    def told_apart(self) -> list[tuple[str, Event]]:
        """Contract and event, each layout once, of those that a log can be found to be."""
        found: dict[tuple[str, Layout], Event] = {}
        for name, event in self.events():
            addresses = self._contracts[name].addresses
            own = (Declaration(name, address, event) for address in addresses)
            if not all(self._meaning.rivals(item) for item in own):
                found.setdefault((name, event.layout), event)
        return [(name, event) for (name, _), event in found.items()]

    def name(self, kind: OrphanedKind) -> str | None:
        """What is known of a kind of logs: the event's name."""
        match self._meaning.of(kind.address, kind.topic0, kind.topics, kind.block):
            case Declaration() as found:
                return found.event.name
            case Misfit() as misfit:
                return misfit.declared[0].event.name
        return None

    def filters(self, *, event: str | None = None, declared: bool = False) -> list[Filter]:
        """All that the contracts emit, or of it what is declared, or what may be an event of one name."""
        everything = event is None and not declared
        return [
            Filter(address, topic)
            for item in self._contracts.values()
            for topic in ([None] if everything else _topics(item, event))
            for address in item.addresses
        ]


def _topics(contract: Contract, event: str | None) -> list[bytes | None]:
    """None stands for all: the first topic of an anonymous event may be anything."""
    chosen = [item for item in contract.events if event in (None, item.name)]
    return list(dict.fromkeys(None if item.anonymous else item.topic0 for item in chosen))


def unknown_event(name: str, declared: list[Declared]) -> ConfigurationError:
    known = names(event for item in declared for _, event in item.events())
    return ConfigurationError(f"No contract declares an event {name}.", hint=f"Declared are: {known}.")
