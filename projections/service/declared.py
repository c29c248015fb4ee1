"""What the contracts of a chain declare: which event a raw log is, and what its parameters say."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from eventstore.records import Filter, Log
from projections.decoding import Decoder, Marker, presented
from projections.errors import ConfigurationError, DecodingError
from projections.event import Event, names
from projections.service.config import Config, Contract


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
    """The declared events of one chain's contracts, or of one of them."""

    def __init__(self, config: Config, chain: str, *, contract: str | None = None) -> None:
        self._contracts: dict[str, Contract] = {
            name: item
            for name, item in config.contracts.items()
            if item.chain == chain and contract in (None, name)
        }
        self._decoders: dict[tuple[bytes, bytes], list[tuple[str, Decoder, Marker]]] = {}
        for name, item in self._contracts.items():
            for event in item.events:
                if event.anonymous:
                    continue  # its logs do not say that they are of it
                decoder, marker = Decoder(event), Marker(event)
                for address in item.addresses:
                    self._decoders.setdefault((address, event.topic0), []).append((name, decoder, marker))

    def __call__(self, log: Log) -> Decoded | None:
        """None where no event was declared that is of this shape: such a log is shown raw."""
        if not log.topics:
            return None
        for contract, decoder, marker in self._decoders.get((log.address, log.topics[0]), ()):
            try:
                values = decoder.read(log.topics, log.data)
                marks = marker(values, log.topics, log.data)
                return Decoded(contract, decoder.event, values, marks)
            except DecodingError:
                continue
        return None

    def events(self) -> list[tuple[str, Event]]:
        """Contract and event, as they stand in the configuration."""
        return [(name, event) for name, item in self._contracts.items() for event in item.events]

    def names(self) -> dict[tuple[bytes, bytes], str]:
        """By address and topic0 the event's name."""
        return {kind: decoders[0][1].event.name for kind, decoders in self._decoders.items()}

    def filters(self, *, event: str | None = None, declared: bool = False) -> list[Filter]:
        """All that the contracts emit, or of it what is declared, or the events of one name."""
        everything = event is None and not declared
        return [
            Filter(address, topic)
            for item in self._contracts.values()
            for topic in ([None] if everything else _topics(item, event))
            for address in item.addresses
        ]


def _topics(contract: Contract, event: str | None) -> list[bytes]:
    return [item.topic0 for item in contract.events if event in (None, item.name) and not item.anonymous]


def unknown_event(name: str, declared: list[Declared]) -> ConfigurationError:
    known = names(event for item in declared for _, event in item.events())
    return ConfigurationError(f"No contract declares an event {name}.", hint=f"Declared are: {known}.")
