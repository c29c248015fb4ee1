"""The second stage: from the journal, through the fold, into documents that are committed with their cursor.

Law: there is one rule that moves a projection backwards. Before each batch, within the snapshot that
everything else is read from, the journal is asked for the lowest block of the projection's own filters
that entries newer than its cursor touched. If that block is not above the cursor's, the projection is
rewound to just below it, and replays. Only `Operations.rollback` does the same by hand.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import Connection

from eventstore.journal.journal import Journal
from eventstore.journal.tail import Tail
from eventstore.storage.gc_pause import acyclic
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from projections.errors import GenerationRefused
from projections.fold.backlog import Backlog, has_events, horizon_of, is_whole, reach
from projections.fold.commit import commit
from projections.fold.document_type import Shape
from projections.fold.documents import ROOM, TrackedDocuments
from projections.fold.fold import Batch, Fold, Projection
from projections.fold.generation import Generation, Generations, Promoted
from projections.fold.skips import skips_of
from projections.fold.state import GenerationState
from projections.fold.uncommitted import COMMIT_EVERY, Ahead
from projections.routing.ways import Way

BATCH = 10_000
"""Logs in one batch of what is served: a commit that readers wait for."""


class Folded(Struct, frozen=True):
    """What one step did. `idle`: all that the journal holds is folded (or `error` says why not).

    `events` were folded, `changed` documents written, `rewound_to` is the block a rewind left
    standing; `state` is the generation's, or `outdated` where the code asks for a rebuild, or `ready`
    where a finished build waits to be promoted. `left` are the events that the journal holds beyond.
    """

    projection: str
    state: str
    block: int = -1
    events: int = 0
    changed: int = 0
    left: int = 0
    moved: bool = False
    rewound_to: int | None = None
    quarantined: int = 0
    promoted: Promoted | None = None
    error: str | None = None

    @property
    def idle(self) -> bool:
        return not self.moved


class Runner:
    """Brings the documents of one projection up to the journal, one bounded `step()` at a time."""

    def __init__(
        self,
        store: Store,
        lease: Lease,
        projection: Projection,
        *,
        batch: int = BATCH,
        room: int = ROOM,
        commit_every: float = COMMIT_EVERY,
    ) -> None:
        self.store = store
        self.lease = lease
        self.projection = projection
        self._batch = batch
        self._room = room
        self._commit_every = commit_every
        self._fold = Fold(projection)
        self._shape = Shape(type(projection.projector))
        self._documents: dict[int, tuple[bytes, TrackedDocuments]] = {}  # beside the digest they came to
        self._ahead: dict[int, Ahead] = {}
        self._backlogs: dict[int, Backlog] = {}
        self._was_served = False

    def step(self) -> Folded:
        """Does the next bounded piece of work, commits it, and says what it was.

        Raises `Fenced` where the lease is lost, `StoreError` where the store failed, and
        `HistoryOutOfOrder` where history cannot be what it claims. Nothing was written then.
        """
        try:
            with acyclic():
                return self._step()
        except Exception:
            self._documents.clear()
            raise

    def rewind(self, served: Generation, to: int, *, hold: int | None) -> Folded:
        """Takes what is served back to its state after block `to`, which its floor must not exceed.

        It replays from there, or waits at block `hold`. Only `Operations.rollback` asks for this."""
        if to >= served.block:
            with self.lease.commit() as tx:
                Generations(tx, served.projection).advance(served, replace(served, hold=hold))
            return Folded(served.projection, served.state, block=served.block, moved=True)
        with self.store.read() as tx:
            ahead = self._rewound(tx, self._beyond(served), to)
        if hold is not None:
            ahead = replace(ahead, cursor=replace(ahead.cursor, hold=hold))
        return self._commit(ahead, events=0, left=0)

    def _step(self) -> Folded:
        own = self.projection
        with self.store.read() as tx:
            generations = Generations(tx, own.name)
            served, building = generations.served(), generations.building()
        if any(found is not None and found.fingerprint in own.former for found in (served, building)):
            with self.lease.commit() as tx:
                Generations(tx, own.name).rename(own.fingerprint, former=own.former)
            return self._step()
        if served is not None and own.built(served):
            self._was_served = True
        mine = [
            found for found in (served, building) if found and found.state != "stale" and own.built(found)
        ]
        if building is None or not own.built(building):
            outdated = served is not None and not own.built(served)
            # What other code replaced while this process ran is not taken back: the two would do it for ever.
            due = own.rebuild == "auto" and not self._was_served
            stale = served is not None and served.state == "stale"
            if served is None or stale or (outdated and due):
                with self.lease.commit() as tx:
                    again = Generations(tx, own.name)
                    revived = again.revive(own.fingerprint, former=own.former) if outdated else None
                    made = revived or own.build(again)
                return Folded(own.name, "building", block=made.block, moved=True)
            if outdated:
                return Folded(own.name, "outdated", block=served.block, error=served.error)
        folded = Folded(own.name, "live")
        for generation in mine:
            folded = self._advance(generation)
            if folded.moved:
                break
        return folded

    def _advance(self, row: Generation) -> Folded:
        own = self.projection
        ahead = self._beyond(row)
        with self.store.read() as tx:
            journal = Journal(tx, own.chain_id)
            entry = journal.head()
            routes = own.routed(journal.kinds(watch.filter for watch in own.watches))
            if entry > ahead.cursor.entry:
                low = journal.lowest_change(ahead.cursor.entry, routes)
                if low is not None and low <= ahead.cursor.block:
                    if ahead.cursor is not row:  # that is committed first: a state that the journal once told
                        return self._commit(ahead, events=0, left=0)
                    if low - 1 < row.floor:
                        return self._give_up(row, low - 1)
                    ahead = self._rewound(tx, ahead, low - 1)
            generation = ahead.cursor
            finalized = Tail(tx, own.chain_id).finalized()
            limit = reach(tx, own, finalized=finalized, hold=generation.hold)
            page = journal.read(routes, after=generation.block, to=limit, limit=self._batch)
            horizon = horizon_of(own, generation, finalized, page.through)
            if page.logs:
                ahead.documents.begin(GenerationState(tx, generation.id))
                batch = self._fold.page(
                    ahead.documents,
                    page,
                    routes,
                    after=generation.block,
                    timestamp=generation.timestamp,
                    keep_undo_above=horizon,
                    skips=skips_of(tx, own.name),
                )
            else:
                batch = Batch(page.through, generation.timestamp, 0, [], None)
            left = 0
            if batch.through < limit:
                backlog = self._backlogs.setdefault(generation.id, Backlog())
                read = (generation.block, len(page.logs)) if page.through == batch.through else None
                left = backlog.left(journal, routes, after=batch.through, to=limit, read=read)
            whole = not page.logs and is_whole(
                tx, own, limit=limit, finalized=finalized, hold=generation.hold
            )
        news = batch.through > generation.block or entry > generation.entry
        if news or batch.error != generation.error or generation is not row:
            moved = replace(
                generation,
                entry=entry,
                block=batch.through,
                timestamp=batch.timestamp,
                floor=max(generation.floor, min(horizon, batch.through)),
                error=batch.error,
            )
            ahead = replace(ahead, cursor=moved, dead=[*ahead.dead, *batch.dead])
            if ahead.may_wait(batch, limit, self._commit_every):
                self._ahead[row.id] = ahead
                return self._folded(moved, events=batch.events, left=left, quarantined=len(batch.dead))
            return self._commit(ahead, events=batch.events, left=left, quarantined=len(batch.dead))
        if generation.state == "building" and whole and generation.error is None:
            if not generation.promote:
                return Folded(own.name, "ready", block=generation.block)
            return self._promote(generation, routes)
        return Folded(own.name, generation.state, block=generation.block, error=generation.error)

    def _beyond(self, row: Generation) -> Ahead:
        """Where the fold of this generation stands: at its row, or ahead of it."""
        documents = self._tracked(row)
        ahead = self._ahead.pop(row.id, None)
        if ahead is not None and ahead.documents is documents:
            if ahead.row == row:
                return ahead
            documents.forget()  # somebody changed the row meanwhile
        return Ahead(row, row, documents, [], time.monotonic())

    def _commit(self, ahead: Ahead, *, events: int, left: int, quarantined: int = 0) -> Folded:
        new, changed = commit(self.lease, ahead)
        self._documents[new.id] = new.digest, ahead.documents
        folded = self._folded(new, events=events, changed=changed, left=left, quarantined=quarantined)
        return replace(folded, rewound_to=ahead.rewound_to)

    def _folded(
        self, to: Generation, *, events: int, left: int, quarantined: int, changed: int = 0
    ) -> Folded:
        return Folded(
            to.projection,
            to.state,
            block=to.block,
            events=events,
            changed=changed,
            left=left,
            moved=True,
            quarantined=quarantined,
            error=to.error,
        )

    def _rewound(self, tx: Connection, ahead: Ahead, to: int) -> Ahead:
        """The documents as they were after block `to`, in memory: the next commit writes what then differs.

        So nothing of the branch that was left is written but what the new one does not write again, and
        readers see the one or the other, never less. `to` must not be below the generation's floor.
        """
        row = ahead.row
        self._documents.pop(row.id, None)  # until that commit these are the documents of no row
        state = GenerationState(tx, row.id)
        ahead.documents.begin(state)
        ahead.documents.restore(state.before_images(above=to))
        cursor = replace(row, block=to, error=None)
        if row.state == "building":
            cursor = replace(cursor, revision=0)  # of what it takes back here, no before-image tells
        return replace(ahead, cursor=cursor, rewound_to=to)

    def _give_up(self, generation: Generation, to: int) -> Folded:
        """The change lies below what can be undone: only a build from the first block mends it."""
        self._documents.pop(generation.id, None)
        with self.lease.commit() as tx:
            generations = Generations(tx, generation.projection)
            generations.advance(generation, generation)
            if generation.state == "live":
                generations.mark_stale(generation)
            self.projection.build(generations)
        return Folded(generation.projection, "stale", block=to, moved=True, rewound_to=to)

    def _promote(self, generation: Generation, routes: Mapping[int, Way]) -> Folded:
        name = generation.projection
        try:
            with self.lease.commit() as tx:
                generations = Generations(tx, name)
                generations.advance(generation, generation)
                end = -1 if generation.documents else generation.block
                kinds = list(routes) if has_events(tx, self.projection, routes, to=end) else []
                promoted = generations.promote(generation, kinds)
        except GenerationRefused as refusal:
            with self.lease.commit() as tx:
                refused = replace(generation, error=str(refusal))
                Generations(tx, name).advance(generation, refused)
            return Folded(name, "building", block=generation.block, error=str(refusal))
        return Folded(name, "live", block=generation.block, moved=True, promoted=promoted)

    def _tracked(self, generation: Generation) -> TrackedDocuments:
        """The documents as of this very commit: what another process wrote since, or another build of
        the same number, has another digest, and then nothing cached is used."""
        digest, documents = self._documents.get(generation.id, (b"", None))
        if documents is None or digest != generation.digest:
            documents = TrackedDocuments(self._shape, complete=generation.documents == 0, room=self._room)
            self._documents[generation.id] = generation.digest, documents
        return documents
