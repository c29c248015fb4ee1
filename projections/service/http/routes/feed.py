"""The events of the stream after a position: changed documents and reorgs, a page from one snapshot.

Law: a position is a place in the order of (revision, key) of each projection and of the entries of each
chain, and the stream after it sends all that comes after that place, once. A document is sent as it is at
that moment: a client that was away gets the last of several changes of one document.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct
from sqlalchemy import Connection

from eventstore.journal.journal import Journal
from eventstore.journal.reorgs import reorgs_after
from projections.fold.changes import Changes
from projections.fold.generation import Generations
from projections.service.http.base import parameters
from projections.service.http.base.context import Desk, Shelf
from projections.service.http.routes.reorgs import reorg_row
from projections.service.status.declared import Declared
from projections.service.status.poller import Beat
from projections.values.fields import is_text

MANY = 200
"""Of each projection's documents and of each chain's reorgs that are read at a time."""


class StreamPosition(Struct, frozen=True):
    """How far the stream went: by projection (revision, key), by chain the entry, of the store with this id.
    Without a key nothing of that revision was sent; a document may have the empty one."""

    store: str
    projections: dict[str, tuple[int, str | None]]
    chains: dict[str, int]

    def sealed(self) -> str:
        return parameters.sealed(self)

    @property
    def possible(self) -> bool:
        """Whether any store could stand there."""
        numbers = [*self.chains.values(), *(revision for revision, _ in self.projections.values())]
        keys = (key for _, key in self.projections.values() if key is not None)
        return all(0 <= number <= parameters.HIGHEST for number in numbers) and all(map(is_text, keys))


class StreamEvent(Struct, frozen=True):
    """One event of the stream, and the position after it."""

    event: Literal["ready", "reset", "document", "reorg", "position"]
    data: bytes
    position: StreamPosition


class News:
    """Reads what is new for streams over these projections and their chains."""

    def __init__(self, desk: Desk, names: tuple[str, ...]) -> None:
        self._desk = desk
        self._shelves: dict[str, Shelf] = {name: desk.shelves[name] for name in names}
        chains = dict.fromkeys(shelf.chain for shelf in self._shelves.values())
        self._chains = {name: desk.plan.config.chains[name].chain_id for name in chains}

    def now(self, beat: Beat) -> StreamPosition:
        """The current position: a client that starts here gets what comes after it."""
        return StreamPosition(
            beat.store,
            {
                name: (found.revision + 1, None) if (found := beat.served.get(name)) else (1, None)
                for name in self._shelves
            },
            {name: beat.entries.get(chain_id, 0) for name, chain_id in self._chains.items()},
        )

    def ready(
        self, position: StreamPosition, event: Literal["ready", "reset", "position"], beat: Beat
    ) -> StreamEvent:
        """Says where the projections and chains stand."""
        standing: dict[str, Any] = {
            "projections": {
                name: {"block": found.block, "revision": found.revision}
                for name in self._shelves
                if (found := beat.served.get(name)) is not None
            }
        }
        if event != "position":
            standing["chains"] = {name: {"entry": entry} for name, entry in position.chains.items()}
        return StreamEvent(event, msgspec.json.encode(standing), position)

    def of_this_state(self, position: StreamPosition, beat: Beat) -> bool:
        """Whether a position is one of this store: not of another, nor of a later state than it now has."""
        now = self.now(beat)
        return (
            position.store == now.store
            and all(
                _place(position.projections.get(name, (0, None))) <= _place(place)
                for name, place in now.projections.items()
            )
            and all(position.chains.get(name, 0) <= entry for name, entry in now.chains.items())
        )

    def joined(self, position: StreamPosition, beat: Beat) -> StreamPosition:
        """The position over what this stream is of; what it does not name begins now."""
        now = self.now(beat)
        return StreamPosition(
            now.store,
            {name: position.projections.get(name, place) for name, place in now.projections.items()},
            {name: position.chains.get(name, entry) for name, entry in now.chains.items()},
        )

    def after(self, position: StreamPosition) -> tuple[list[StreamEvent], StreamPosition]:
        """The next that is new, in order, and the position after all that was looked at."""
        told: list[StreamEvent] = []
        with self._desk.store.read() as tx:
            for chain in self._chains:
                found, position = self._reorgs(tx, chain, position)
                told += found
            for name in self._shelves:
                found, position = self._documents(tx, name, position)
                told += found
        return told, position

    def _reorgs(
        self, tx: Connection, chain: str, position: StreamPosition
    ) -> tuple[list[StreamEvent], StreamPosition]:
        told = []
        chain_id = self._chains[chain]
        declared = Declared(self._desk.plan.config, chain)
        head = Journal(tx, chain_id).head()
        found = reorgs_after(tx, chain_id, position.chains[chain], limit=MANY)
        for reorg in found:
            position = _moved(position, chains={chain: reorg.entry})
            row = msgspec.to_builtins(reorg_row(reorg, declared))
            told.append(StreamEvent("reorg", msgspec.json.encode({"chain": chain, **row}), position))
        if len(found) < MANY:  # no entry is looked at twice
            position = _moved(position, chains={chain: head})
        return told, position

    def _documents(
        self, tx: Connection, name: str, position: StreamPosition
    ) -> tuple[list[StreamEvent], StreamPosition]:
        told: list[StreamEvent] = []
        served = Generations(tx, name).served()
        if served is None:
            return told, position
        revision, key = position.projections[name]
        for changed in Changes(tx, name).after(revision, key, generation=served.id, limit=MANY):
            position = _moved(position, projections={name: (changed.revision, changed.key)})
            said = {
                "projection": name,
                "key": changed.key,
                "revision": changed.revision,
                "block": served.block,
                "document": msgspec.Raw(changed.body) if changed.body is not None else None,
            }
            told.append(StreamEvent("document", msgspec.json.encode(said), position))
        return told, position


def _place(at: tuple[int, str | None]) -> tuple[int, bool, str]:
    """A place in the order in which changes are sent."""
    revision, key = at
    return revision, key is not None, key or ""


def _moved(
    position: StreamPosition,
    *,
    projections: dict[str, tuple[int, str | None]] | None = None,
    chains: dict[str, int] | None = None,
) -> StreamPosition:
    return StreamPosition(
        position.store, position.projections | (projections or {}), position.chains | (chains or {})
    )
