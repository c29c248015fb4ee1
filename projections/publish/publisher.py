"""The third stage: from the changes of a projection's live generation into one sink.

Law: the marker inside the sink is the cursor. Changes go out in order of (revision, key), then the marker
advances by compare-and-set; a sink that was wiped or restored shows it by its marker, and is refilled.
Changes that come twice, late, or from a process that should be dead are refused by the sink's revision guard.
A document that the sink does not take is set aside before the marker passes it, and is tried again.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor

from msgspec import Struct
from msgspec.structs import replace

from eventstore import clock
from eventstore.errors import ChainfoldError
from eventstore.storage.identity import identity_of
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from projections.errors import DocumentsRefused, MarkerLost, SinkError
from projections.fold.changes import Changes
from projections.fold.generation import Generation, Generations
from projections.fold.state import GenerationState
from projections.publish.batch import BatchReader, ChangeBatch
from projections.publish.lost import marked_otherwise, place_of
from projections.publish.publications import Publications, refusal
from projections.publish.set_aside import Aside
from projections.sinks import Change, Marker, Readable, Sink

BATCH = 5_000
"""Documents in one write to a sink: each costs two commits and two markers more."""

AGAIN = 500
"""Documents that stand aside and are tried again in one step."""


_UNREAD = ""
"""For why a sink takes nothing, where another process may have written that down."""


class Published(Struct, frozen=True):
    """What one step did: `sent` changes, and how many the sink took (`written`) and `refused`; `lag`
    revisions are left. `aside` documents are set aside now, and `reason` says of one of them why.

    Documents that were tried again count as sent; `tried` says that this is all that the step did.
    """

    projection: str
    sink: str
    revision: int = 0
    lag: int = 0
    sent: int = 0
    written: int = 0
    claimed: bool = False
    refused: int = 0
    aside: int = 0
    reason: str | None = None
    tried: bool = False

    @property
    def idle(self) -> bool:
        return not self.sent and not self.claimed and not self.lag


class _Standing(Struct, frozen=True):
    """How many documents stand aside, and why one of them does; `known`: something is written of some."""

    known: bool = False
    count: int = 0
    reason: str | None = None


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
        self._reader = BatchReader(store, projection, size=batch)
        self._began = clock.now()
        self._noted: str | None = _UNREAD

    @property
    def sink(self) -> Sink:
        return self._sink

    def step(self) -> Published:
        """Sends the next changes, advances the marker, and says what it did.

        Raises `SinkError` where the sink failed or is not ours, `Fenced` where the lease is lost.
        """
        try:
            done = self._step()
        except MarkerLost:
            raise
        except SinkError as error:
            self.note(error)
            raise
        self.note(None)
        return done

    def note(self, error: ChainfoldError | None) -> None:
        """Writes down, for all who look, why the sink takes nothing; None: it does."""
        said = None if error is None else str(error)
        if self._noted is _UNREAD:
            with self._store.read() as tx:
                self._noted = Publications(tx, self._projection, self._sink.name).known().error
        if said != self._noted:
            with self._lease.commit() as tx:
                Publications(tx, self._projection, self._sink.name).note(said)
            self._noted = said

    def again(self) -> str:
        """Tries all that stands aside, now; says what came of it."""
        with self._lease.commit() as tx:
            before = Aside(tx, self._projection, self._sink.name).again()
        self._began = clock.now()
        while self.step().tried:
            pass
        with self._store.read() as tx:
            left = Aside(tx, self._projection, self._sink.name).count()
        return f"{before:,} documents were tried again, {left:,} stand aside"

    def _step(self) -> Published:
        marker = self._sink.marker()
        with self._store.read() as tx:
            served = Generations(tx, self._projection).served()
            if served is None:
                return Published(self._projection, self._sink.name)
            if marker is None:
                was = Publications(tx, self._projection, self._sink.name).known()
            else:
                foreign = refusal(
                    tx, marker, self._sink.name, chain_id=self._chain, projection=self._projection
                )
                if foreign is not None:
                    raise foreign
                aside = Aside(tx, self._projection, self._sink.name)
                standing = _standing(aside)
                lost = standing.known and aside.lost(marker.sends)
                due = standing.known and aside.due(through=marker.revision, began=self._began, limit=AGAIN)
                reader = self._reader
                batch = reader.again(tx, marker, served, due) if due else reader.next(tx, marker, served)
        if marker is None:
            place = place_of(self._store, self._sink, self._projection, was)
            if place is None:
                self._overrule(served)
            self._claim(*(place or (0, "")))
            return Published(self._projection, self._sink.name, lag=served.revision, claimed=True)
        if lost:
            with self._lease.commit() as tx:
                Aside(tx, self._projection, self._sink.name).put_back(marker.sends)
            return self._step()
        return self._send(marker, batch, standing)

    def take_over(self) -> None:
        """Makes a sink that carries another's marker ours: continues above its revision, sends
        everything again, and removes what carries the old mark and is not in our state."""
        foreign = self._sink.marker()
        if foreign is None:
            return
        held: set[str] = set()
        top = foreign.revision
        there = self._sink.scan() if isinstance(self._sink, Readable) else ()
        for change in there:  # what was written after the marker is above it
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
            ours = Marker(str(identity_of(tx)), self._chain, self._projection, top, "")
            ours = Publications(tx, self._projection, self._sink.name).announce(ours)
        self._sink.mark(ours, old=foreign)

    def _overrule(self, served: Generation) -> None:
        """Gives a revision above the sink's to each document that somebody's mark would keep as it is."""
        if not isinstance(self._sink, Readable):
            return
        top, keys = marked_otherwise(self._store, self._sink, self._projection)
        if keys:
            top = max(top, served.revision)
            with self._lease.commit() as tx:
                Changes(tx, self._projection).mark(keys, top + 1)
                Generations(tx, self._projection).advance(served, replace(served, revision=top + 1))

    def _claim(self, revision: int = 0, key: str = "") -> None:
        """Sets a marker where there is none."""
        with self._lease.commit() as tx:
            if not revision:
                Aside(tx, self._projection, self._sink.name).forget()
            ours = Marker(str(identity_of(tx)), self._chain, self._projection, revision, "", key)
            ours = Publications(tx, self._projection, self._sink.name).announce(ours)
        self._sink.mark(ours, old=None)

    def _send(self, marker: Marker, batch: ChangeBatch, standing: _Standing) -> Published:
        written, started = 0, time.monotonic()
        served, found = batch.served, batch.changes
        ahead = replace(marker, revision=batch.through[0], key=batch.through[1])
        reasons: dict[str, str] = {}
        with ThreadPoolExecutor(1, thread_name_prefix="read ahead") as beside:
            reading: Future[None] | None = None
            if found:
                with self._lease.commit() as tx:
                    announced = Publications(tx, self._projection, self._sink.name).announce(marker)
                # First: the sink may hold no document that its marker does not announce.
                self._sink.mark(announced, old=marker)
                if len(found) == self._reader.size and not batch.again:
                    reading = beside.submit(self._reader.read_ahead, ahead)
                try:
                    written = self._sink.write(found)
                except DocumentsRefused as error:
                    written, reasons = error.written, error.reasons
                if reasons or standing.known:
                    standing = self._set_aside(found, reasons, announced)
                ahead = replace(ahead, sends=announced.sends, nonce=announced.nonce)
                marker = announced
            if ahead != marker:
                if not found or time.monotonic() - started > self._lease.ttl / 4:
                    self._lease.renew()  # else the announcement just did
                self._sink.mark(ahead, old=marker)
            if reading is not None:
                reading.result()
        return Published(
            self._projection,
            self._sink.name,
            revision=ahead.revision,
            lag=served.revision - ahead.revision,
            sent=len(found),
            written=written,
            refused=len(reasons),
            aside=standing.count,
            reason=standing.reason,
            tried=batch.again,
        )

    def _set_aside(self, sent: list[Change], reasons: dict[str, str], marker: Marker) -> _Standing:
        """Writes down which of those that were sent the sink did not take, and which it did."""
        with self._lease.commit() as tx:
            aside = Aside(tx, self._projection, self._sink.name)
            aside.refused({change.key: change.revision for change in sent}, reasons)
            aside.arrived((c.key for c in sent if c.key not in reasons), send=marker.sends)
            return _standing(aside)


def _standing(aside: Aside) -> _Standing:
    if not aside.known():
        return _Standing()
    first = aside.listed(limit=1)
    if not first:
        return _Standing(known=True)
    return _Standing(True, aside.count(), f"{first[0].key}: {first[0].reason}")
