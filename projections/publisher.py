"""The third stage: from the changes of a projection's live generation into one sink.

Law: the marker inside the sink is the cursor. Changes go out in order of (revision, key), then the marker
advances by compare-and-set; a sink that was wiped or restored shows it by its marker, and is refilled.
Whatever is sent twice, late, or by a process that should be dead, the revision guard of the sink sorts out.

While the sink takes a batch the next one is read. It is sent only where marker and generation still stand as
they did for that reading, so that it is what reading anew would give; else it is read anew.
"""

from __future__ import annotations

import secrets
import time
from concurrent.futures import Future, ThreadPoolExecutor

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import Connection, select, text

from eventstore import schema
from eventstore.lease import Lease
from eventstore.store import Store
from projections.changes import Changes
from projections.errors import ForeignMarker
from projections.generation import Generation, Generations
from projections.published import as_change
from projections.sinks import Change, Marker, Sink
from projections.state import GenerationState

BATCH = 5_000
"""Documents in one write to a sink: each costs two commits and two markers more."""


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


class _Batch(Struct, frozen=True):
    """The changes above (revision, key), read from a generation that stood at `served`."""

    revision: int
    key: str
    served: Generation
    changes: list[Change]


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
        self._ahead: _Batch | None = None

    @property
    def sink(self) -> Sink:
        return self._sink

    def step(self) -> Published:
        """Sends the next changes, advances the marker, and says what it did.

        Raises `SinkError` where the sink failed or is not ours, `Fenced` where the lease is lost.
        """
        marker = self._sink.marker()
        with self._store.read() as tx:
            served = Generations(tx, self._projection).served()
            if served is None:
                return Published(self._projection, self._sink.name)
            if marker is None:
                mine = _store_id(tx)
            else:
                foreign = refusal(
                    tx, marker, self._sink.name, chain_id=self._chain, projection=self._projection
                )
                if foreign is not None:
                    raise foreign
                batch = self._next(tx, marker, served)
        if marker is None:
            return self._claim(mine, served)
        return self._send(marker, batch)

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
            ours = self._announced(tx, Marker(_store_id(tx), self._chain, self._projection, top, ""))
        self._sink.mark(ours, old=foreign)

    def _claim(self, store: str, served: Generation) -> Published:
        with self._lease.commit() as tx:
            ours = self._announced(tx, Marker(store, self._chain, self._projection, 0, ""))
        self._sink.mark(ours, old=None)
        return Published(self._projection, self._sink.name, lag=served.revision, claimed=True)

    def _next(self, tx: Connection, marker: Marker, served: Generation) -> _Batch:
        """What comes after the marker: read ahead, or now."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and (ahead.revision, ahead.key, ahead.served) == (
            marker.revision,
            marker.key,
            served,
        ):
            return ahead
        return self._read(tx, marker, served)

    def _read(self, tx: Connection, marker: Marker, served: Generation) -> _Batch:
        found = Changes(tx, self._projection).after(
            marker.revision + 1, marker.key, generation=served.id, limit=self._batch
        )
        changes = [as_change(item, served.block) for item in found]
        return _Batch(marker.revision, marker.key, served, changes)

    def _read_ahead(self, marker: Marker) -> _Batch | None:
        """What will come after `marker`, in a snapshot of its own."""
        with self._store.read() as tx:
            served = Generations(tx, self._projection).served()
            return None if served is None else self._read(tx, marker, served)

    def _send(self, marker: Marker, batch: _Batch) -> Published:
        written, started = 0, time.monotonic()
        served, found = batch.served, batch.changes
        full = len(found) == self._batch
        if full:
            ahead = replace(marker, revision=found[-1].revision - 1, key=found[-1].key)
        else:
            ahead = replace(marker, revision=served.revision, key="")
        with ThreadPoolExecutor(1, thread_name_prefix="read ahead") as beside:
            reading: Future[_Batch | None] | None = None
            if found:
                with self._lease.commit() as tx:
                    announced = self._announced(tx, marker)
                # First: no document may be in the sink of which its marker does not tell.
                self._sink.mark(announced, old=marker)
                if full:
                    reading = beside.submit(self._read_ahead, ahead)
                written = self._sink.write(found)
                ahead = replace(ahead, sends=announced.sends, nonce=announced.nonce)
                marker = announced
            if ahead != marker:
                if not found or time.monotonic() - started > self._lease.ttl / 4:
                    self._lease.renew()  # else the announcement just did
                self._sink.mark(ahead, old=marker)
            if reading is not None:
                self._ahead = reading.result()
        return Published(
            self._projection,
            self._sink.name,
            revision=ahead.revision,
            lag=served.revision - ahead.revision,
            sent=len(found),
            written=written,
        )

    def _announced(self, tx: Connection, marker: Marker) -> Marker:
        """`marker` with the number and nonce of a new send, which this transaction writes down."""
        sends = _sends(tx, self._projection, self._sink.name)
        new = replace(marker, sends=max(sends, marker.sends) + 1, nonce=secrets.token_hex(8))
        tx.execute(
            text(
                "INSERT INTO publications VALUES (:projection, :sink, :sends, :nonce) "
                "ON CONFLICT (projection, sink) DO UPDATE "
                "SET sends = excluded.sends, nonce = excluded.nonce"
            ),
            {
                "projection": self._projection,
                "sink": self._sink.name,
                "sends": new.sends,
                "nonce": new.nonce,
            },
        )
        return new


def refusal(
    tx: Connection, marker: Marker, sink: str, *, chain_id: int, projection: str
) -> ForeignMarker | None:
    """Why this marker is not ours: another store's, another projection's, or of a later state of this
    store than the one it was put back to. None where it is ours.

    A marker of an earlier send is a sink that was put back, or a send that died: it is caught up.
    """
    store, sends, nonce = tx.execute(
        text(
            "SELECT s.id, coalesce(p.sends, 0), coalesce(p.nonce, '') FROM store s LEFT JOIN publications p "
            "ON p.projection = :projection AND p.sink = :sink"
        ),
        {"projection": projection, "sink": sink},
    ).one()
    if marker.store != store:
        whose = "another event store"
    elif (marker.projection, marker.chain_id) != (projection, chain_id):
        whose = f"the projection {marker.projection} of chain {marker.chain_id}"
    elif marker.sends > sends or (marker.sends == sends and marker.nonce != nonce):
        whose = (
            f"this projection at revision {marker.revision} that this store knows nothing of: the store "
            "was restored from a backup"
        )
    else:
        return None
    return ForeignMarker(
        f"The {sink} sink of {projection} holds documents of {whose}.",
        hint="Point it elsewhere, or run `chainfold sync --take-over` to make it ours.",
    )


def _sends(tx: Connection, projection: str, sink: str) -> int:
    """The number of the newest send to a sink; 0 before the first."""
    found = tx.execute(
        text("SELECT sends FROM publications WHERE projection = :projection AND sink = :sink"),
        {"projection": projection, "sink": sink},
    ).scalar()
    return 0 if found is None else int(found)


def _store_id(tx: Connection) -> str:
    return str(tx.execute(select(schema.store.c.id)).scalar_one())
