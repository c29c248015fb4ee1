"""The third stage: from the changes of a projection's live generation into one sink.

Law: the marker inside the sink is the cursor. Changes go out in order of (revision, key), then the marker
advances by compare-and-set; a sink that was wiped or restored shows it by its marker, and is refilled.
Whatever is sent twice, late, or by a process that should be dead, the revision guard of the sink sorts out.
"""

from __future__ import annotations

import secrets
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import Connection, select

from eventstore import schema
from eventstore.lease import Lease
from eventstore.store import Store
from projections.errors import ForeignMarker
from projections.generation import Generation, Generations
from projections.sinks import Change, Marker, Sink
from projections.state import Changed, Changes, GenerationState

BATCH = 2_000
"""Documents in one write to a sink."""


class Published(Struct, frozen=True):
    """What one step did: `sent` changes, of which the sink took `written`; `lag` revisions are left."""

    projection: str
    sink: str
    revision: int = 0
    lag: int = 0
    sent: int = 0
    written: int = 0
    claimed: bool = False

    @property
    def idle(self) -> bool:
        return not self.sent and not self.claimed and not self.lag


class Publisher:
    """Brings one sink up to one projection, one bounded `step()` at a time."""

    def __init__(
        self,
        store: Store,
        lease: Lease,
        sink: Sink,
        *,
        projection: str,
        chain_id: int,
        batch: int = BATCH,
    ) -> None:
        self._store = store
        self._lease = lease
        self._sink = sink
        self._projection = projection
        self._chain = chain_id
        self._batch = batch

    @property
    def sink(self) -> Sink:
        return self._sink

    def step(self) -> Published:
        """Sends the next changes, advances the marker, and says what it did.

        Raises `SinkError` where the sink failed or is not ours, `Fenced` where the lease is lost.
        """
        marker = self._sink.marker()
        with self._store.read() as tx:
            mine = _store_id(tx)
            served = Generations(tx, self._projection).served()
            if served is None:
                return Published(self._projection, self._sink.name)
            if marker is not None:
                foreign = refusal(
                    marker,
                    self._sink.name,
                    store=mine,
                    chain_id=self._chain,
                    projection=self._projection,
                    top=served.revision,
                )
                if foreign is not None:
                    raise foreign
                found = Changes(tx, self._projection).after(
                    marker.revision + 1, marker.key, generation=served.id, limit=self._batch
                )
        if marker is None:
            return self._claim(mine, served)
        return self._send(marker, served, found)

    def take_over(self) -> None:
        """Makes a sink that carries another's marker ours: continues above its revision, sends
        everything again, and removes what carries the old mark and is not in our state."""
        foreign = self._sink.marker()
        if foreign is None:
            return
        held: set[str] = set()
        top = foreign.revision
        for change in self._sink.scan():  # what was written after the marker is above it
            top = max(top, change.revision)
            if change.fields is not None:
                held.add(change.key)
        with self._lease.commit() as tx:
            served = Generations(tx, self._projection).served()
            if served is None:
                return
            top = max(top, served.revision)
            changes = Changes(tx, self._projection)
            state = GenerationState(tx, served.id)
            changes.mark_all(top + 1)
            changes.mark(sorted(held - state.load(sorted(held)).keys()), top + 1)
            Generations(tx, self._projection).advance(served, replace(served, revision=top + 1))
            ours = Marker(_store_id(tx), self._chain, self._projection, top, nonce=secrets.token_hex(8))
        self._sink.mark(ours, old=foreign)

    def _claim(self, store: str, served: Generation) -> Published:
        self._lease.renew()
        ours = Marker(store, self._chain, self._projection, 0, nonce=secrets.token_hex(8))
        self._sink.mark(ours, old=None)
        return Published(self._projection, self._sink.name, lag=served.revision, claimed=True)

    def _send(self, marker: Marker, served: Generation, found: list[Changed]) -> Published:
        written = 0
        self._lease.renew()
        if found:
            written = self._sink.write([_change(item, served.block) for item in found])
        if len(found) < self._batch:
            ahead = replace(marker, revision=served.revision, key="")
        else:
            ahead = replace(marker, revision=found[-1].revision - 1, key=found[-1].key)
        if ahead != marker:
            self._sink.mark(ahead, old=marker)
        return Published(
            self._projection,
            self._sink.name,
            revision=ahead.revision,
            lag=served.revision - ahead.revision,
            sent=len(found),
            written=written,
        )


def refusal(
    marker: Marker, sink: str, *, store: str, chain_id: int, projection: str, top: int
) -> ForeignMarker | None:
    """Why this marker is not ours: another store's, another projection's, or ahead of our revision
    `top` (the store was restored). None where it is ours."""
    if marker.store != store:
        whose = "another event store"
    elif (marker.projection, marker.chain_id) != (projection, chain_id):
        whose = f"the projection {marker.projection} of chain {marker.chain_id}"
    elif marker.revision > top:
        whose = (
            f"this projection at revision {marker.revision}, which has only reached {top} here: the "
            "store was restored from a backup"
        )
    else:
        return None
    return ForeignMarker(
        f"The {sink} sink of {projection} holds documents of {whose}.",
        hint="Point it elsewhere, or run `chainfold sync --take-over` to make it ours.",
    )


def _store_id(tx: Connection) -> str:
    return str(tx.execute(select(schema.store.c.id)).scalar_one())


def _change(item: Changed, block: int) -> Change:
    fields: dict[str, Any] | None = None if item.body is None else msgspec.json.decode(item.body)
    return Change(item.key, item.revision, block, fields)
