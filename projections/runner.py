"""The second stage: from the journal, through decoding and a projector, into the fold's documents.

Law: there is one rule that moves a projection backwards. Before each batch, within the snapshot that
everything else is read from, the journal is asked for the lowest block of the projection's own filters
that entries newer than its cursor touched. If that block is not above the cursor's, the projection is
rewound to just below it, and replays.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import Connection, text

from eventstore.coverage import Coverage
from eventstore.errors import ChainfoldError
from eventstore.journal import Journal, Kind, Page, StoredLog
from eventstore.lease import Lease
from eventstore.records import Watch
from eventstore.store import Store
from eventstore.tail import Tail
from projections.documents import Delta, Shape, TrackedDocuments
from projections.errors import GenerationRefused, HistoryOutOfOrder
from projections.generation import Generation, Generations, Promoted
from projections.projectors import Projector
from projections.routes import Route
from projections.state import Changes, DeadLetter, GenerationState

BATCH = 10_000
"""Logs in one batch. Larger ones write each document less often, and hold more of them in memory."""


class Projection(Struct, frozen=True):
    """A projector bound to contracts, as the configuration says. `routes` by (address, topic0)."""

    name: str
    chain_id: int
    projector: Projector
    routes: dict[Kind, Route]
    watches: tuple[Watch, ...]
    fingerprint: str
    follow: Literal["latest", "finalized"] = "latest"
    poison: Literal["halt", "quarantine"] = "halt"
    rebuild: Literal["ask", "auto"] = "ask"
    undo: int | Literal["finality", "forever"] = "finality"


class Folded(Struct, frozen=True):
    """What one step did. `idle`: all that the journal holds is folded (or `error` says why not).

    `events` were folded, `changed` documents written, `rewound_to` is the block a rewind left
    standing; `state` is the generation's, or `outdated` where the code asks for a rebuild.
    """

    projection: str
    state: str
    block: int = -1
    events: int = 0
    changed: int = 0
    moved: bool = False
    rewound_to: int | None = None
    quarantined: int = 0
    promoted: Promoted | None = None
    error: str | None = None

    @property
    def idle(self) -> bool:
        return not self.moved


class _Batch(Struct, frozen=True):
    """A folded page, not yet committed."""

    entry: int
    through: int
    timestamp: int
    horizon: int
    events: int
    dead: list[DeadLetter]
    error: str | None


class Runner:
    """Brings the documents of one projection up to the journal, one bounded `step()` at a time."""

    def __init__(self, store: Store, lease: Lease, projection: Projection, *, batch: int = BATCH) -> None:
        self._store = store
        self._lease = lease
        self._projection = projection
        self._batch = batch
        self._shape = Shape(type(projection.projector))
        self._documents: dict[int, TrackedDocuments] = {}

    def step(self) -> Folded:
        """Does the next bounded piece of work, commits it, and says what it was.

        Raises `Fenced` where the lease is lost, `StoreError` where the store failed, and
        `HistoryOutOfOrder` where history cannot be what it claims. Nothing was written then.
        """
        try:
            return self._step()
        except Exception:
            self._documents.clear()
            raise

    def rebuild(self) -> Generation:
        """Starts a build from the first block beside what is served, dropping an unfinished one."""
        with self._lease.commit() as tx:
            return self._create(Generations(tx, self._projection.name))

    def _step(self) -> Folded:
        own = self._projection
        with self._store.read() as tx:
            generations = Generations(tx, own.name)
            served, building = generations.served(), generations.building()
        mine = [
            found
            for found in (served, building)
            if found and found.state != "stale" and found.fingerprint == own.fingerprint
        ]
        if building is None or building.fingerprint != own.fingerprint:
            outdated = served is not None and served.fingerprint != own.fingerprint
            stale = served is not None and served.state == "stale"
            if served is None or stale or (outdated and own.rebuild == "auto"):
                return Folded(own.name, "building", block=self.rebuild().block, moved=True)
            if outdated:
                return Folded(own.name, "outdated", block=served.block, error=served.error)
        folded = Folded(own.name, "live")
        for generation in mine:
            folded = self._advance(generation)
            if folded.moved:
                break
        return folded

    # --- one generation, one batch ---

    def _advance(self, generation: Generation) -> Folded:
        own = self._projection
        with self._store.read() as tx:
            journal = Journal(tx, own.chain_id)
            entry = journal.head()
            kinds = {
                kind: named
                for kind, named in journal.kinds(watch.filter for watch in own.watches).items()
                if named in own.routes
            }
            if entry > generation.entry:
                low = journal.lowest_change(generation.entry, kinds)
                if low is not None and low <= generation.block:
                    return self._rewind(generation, low - 1, entry=entry)
            finalized = Tail(tx, own.chain_id).finalized()
            limit = self._limit(tx, finalized)
            page = journal.read(kinds, after=generation.block, to=limit, limit=self._batch)
            if page.logs:
                batch = self._fold(tx, generation, page, kinds, entry=entry, finalized=finalized)
            else:
                horizon = self._horizon(finalized, page.through)
                batch = _Batch(entry, page.through, generation.timestamp, horizon, 0, [], None)
            ended = not page.logs and self._is_whole(tx, limit, finalized)
        if batch.through > generation.block or entry > generation.entry or batch.error != generation.error:
            return self._commit(generation, batch)
        if generation.state == "building" and ended and generation.error is None:
            return self._promote(generation, list(kinds))
        return Folded(own.name, generation.state, block=generation.block, error=generation.error)

    def _limit(self, tx: Connection, finalized: int) -> int:
        """The last block that may be folded: before the first gap in the coverage of any own filter."""
        coverage = Coverage(tx, self._projection.chain_id)
        reached = []
        for watch in self._projection.watches:
            through = coverage.through(watch)
            if watch.last_block is None or through < watch.last_block:
                reached.append(through)
        if not reached:  # every contract has ended, and all of each is covered
            reached = [max(watch.last_block or 0 for watch in self._projection.watches)]
        limit = min(reached)
        return min(limit, finalized) if self._projection.follow == "finalized" else limit

    def _is_whole(self, tx: Connection, limit: int, finalized: int) -> bool:
        """Has the ingester been at the head once, and does `limit` reach finality? Then a build that
        has folded up to `limit` is no half-built history."""
        head = tx.execute(
            text("SELECT head FROM progress WHERE chain_id = :chain"),
            {"chain": self._projection.chain_id},
        ).scalar()
        if head is None:
            return False
        end = finalized if finalized >= 0 else int(head)
        lasts = [watch.last_block for watch in self._projection.watches]
        if all(last is not None for last in lasts):
            end = min(end, max(last for last in lasts if last is not None))
        return limit >= end

    def _fold(
        self,
        tx: Connection,
        generation: Generation,
        page: Page,
        kinds: dict[int, Kind],
        *,
        entry: int,
        finalized: int,
    ) -> _Batch:
        own = self._projection
        documents = self._tracked(generation)
        documents.begin(GenerationState(tx, generation.id))
        routes = {kind: own.routes[named] for kind, named in kinds.items()}
        events = [_decoded(routes[log.kind], log, page) for log in page.logs]
        documents.prefetch(self._wanted(events))
        horizon = self._horizon(finalized, page.through)
        at, last = generation.block, -1
        timestamp, dead = generation.timestamp, list[DeadLetter]()
        for count, (log, event) in enumerate(zip(page.logs, events, strict=True)):
            if log.block_number != at:
                if log.block_number < at:
                    raise _out_of_order(log, at, last)
                documents.end_block(at, keep_undo=at > horizon)
                at, last = log.block_number, -1
            if log.log_index <= last:
                raise _out_of_order(log, at, last)
            last = log.log_index
            seconds = page.blocks[log.block_number, log.entry].timestamp
            error = self._apply(routes[log.kind], event, documents)
            if error is None:
                documents.end_event(seconds)
                timestamp = seconds
            elif own.poison == "quarantine":
                documents.discard_event()
                dead.append(_dead_letter(log, error))
            else:
                documents.discard_block()
                reason = f"{_where(log)}: {_dead_letter(log, error).reason}"
                return _Batch(entry, at - 1, timestamp, horizon, count, dead, reason)
        documents.end_block(at, keep_undo=at > horizon)
        return _Batch(entry, page.through, timestamp, horizon, len(events), dead, None)

    def _apply(self, route: Route, event: Any, documents: TrackedDocuments) -> Exception | None:
        """Runs the handler; whatever it raises is the event's own fault, and is returned."""
        if isinstance(event, Exception):
            return event
        try:
            route.handle(event, documents)
        except ChainfoldError as error:
            return None if _escalate(error) else error
        except Exception as error:  # noqa: BLE001 - a projector may raise anything; the policy decides
            return error
        return None

    def _wanted(self, events: Iterable[Any]) -> Iterable[str]:
        keys = self._projection.projector.keys
        for event in events:
            if not isinstance(event, Exception):
                yield from keys(event)

    def _commit(self, generation: Generation, batch: _Batch) -> Folded:
        documents = self._tracked(generation)
        delta = documents.take()
        floor = max(generation.floor, min(batch.horizon, batch.through))
        new = self._after(
            generation,
            delta,
            entry=batch.entry,
            block=batch.through,
            timestamp=batch.timestamp,
            floor=floor,
            error=batch.error,
        )
        with self._lease.commit() as tx:
            Generations(tx, generation.projection).advance(generation, new)
            state = GenerationState(tx, generation.id)
            state.apply(delta)
            state.bury(batch.dead)
            if floor > generation.floor:
                state.drop_undo(through=floor)
            self._publish(tx, generation, new, delta)
        documents.committed()
        return Folded(
            generation.projection,
            generation.state,
            block=batch.through,
            events=batch.events,
            changed=len(delta.changed),
            moved=True,
            quarantined=len(batch.dead),
            error=batch.error,
        )

    # --- backwards ---

    def _rewind(self, generation: Generation, to: int, *, entry: int) -> Folded:
        self._documents.pop(generation.id, None)
        changed = 0
        with self._lease.commit() as tx:
            generations = Generations(tx, generation.projection)
            if to < generation.floor:
                self._replace(generations, generation)
            else:
                state = GenerationState(tx, generation.id)
                delta = state.rewound(to, self._shape)
                changed = len(delta.changed)
                new = self._after(generation, delta, entry=entry, block=to, error=None)
                generations.advance(generation, new)
                state.apply(delta)
                state.drop_undo(above=to)
                state.exhume(above=to)
                self._publish(tx, generation, new, delta)
        return Folded(
            generation.projection,
            "stale" if to < generation.floor else generation.state,
            block=to,
            changed=changed,
            moved=True,
            rewound_to=to,
        )

    def _replace(self, generations: Generations, generation: Generation) -> None:
        """The change lies below what can be undone: only a build from the first block mends it."""
        generations.advance(generation, generation)
        if generation.state == "live":
            generations.mark_stale(generation)
        self._create(generations)

    # --- the live one ---

    def _promote(self, generation: Generation, kinds: list[int]) -> Folded:
        try:
            with self._lease.commit() as tx:
                generations = Generations(tx, generation.projection)
                generations.advance(generation, generation)
                promoted = generations.promote(generation, kinds)
        except GenerationRefused as refusal:
            with self._lease.commit() as tx:
                Generations(tx, generation.projection).advance(
                    generation, replace(generation, error=str(refusal))
                )
            return Folded(generation.projection, "building", block=generation.block, error=str(refusal))
        return Folded(generation.projection, "live", block=generation.block, moved=True, promoted=promoted)

    def _publish(self, tx: Connection, old: Generation, new: Generation, delta: Delta) -> None:
        if new.revision > old.revision:
            keys = [key for key, _, _ in delta.changed]
            Changes(tx, old.projection).mark(keys, new.revision)

    def _after(
        self,
        generation: Generation,
        delta: Delta,
        *,
        entry: int,
        block: int,
        error: str | None,
        timestamp: int | None = None,
        floor: int | None = None,
    ) -> Generation:
        digest = (int.from_bytes(generation.digest, "big") + delta.digest) % 2**256
        takes_revision = bool(delta.changed) and generation.state == "live"
        return replace(
            generation,
            entry=entry,
            block=block,
            timestamp=generation.timestamp if timestamp is None else timestamp,
            documents=generation.documents + delta.count,
            digest=digest.to_bytes(32, "big"),
            floor=generation.floor if floor is None else floor,
            revision=generation.revision + takes_revision,
            error=error,
        )

    # --- small ---

    def _create(self, generations: Generations) -> Generation:
        first = min(watch.first_block for watch in self._projection.watches)
        return generations.create(
            chain_id=self._projection.chain_id,
            fingerprint=self._projection.fingerprint,
            before=first - 1,
        )

    def _tracked(self, generation: Generation) -> TrackedDocuments:
        if generation.id not in self._documents:
            empty = generation.documents == 0
            self._documents[generation.id] = TrackedDocuments(self._shape, complete=empty)
        return self._documents[generation.id]

    def _horizon(self, finalized: int, block: int) -> int:
        """The block up to which no before-images are kept."""
        match self._projection.undo:
            case "finality":
                return finalized
            case "forever":
                return -1
            case blocks:
                return min(finalized, block - blocks)


def _decoded(route: Route, log: StoredLog, page: Page) -> Any:
    """The event, or the `ChainfoldError` that says why the log is none."""
    try:
        return route.decode(log, page.blocks[log.block_number, log.entry])
    except ChainfoldError as error:
        return error


def _escalate(error: ChainfoldError) -> bool:
    """A store that failed under a handler is not the event's fault: it goes up to the loop."""
    if error.retry:
        raise error
    return False


def _where(log: StoredLog) -> str:
    return f"block {log.block_number}, log {log.log_index}, transaction 0x{log.tx_hash.hex()}"


def _dead_letter(log: StoredLog, error: Exception) -> DeadLetter:
    stack = "".join(traceback.format_exception(error))
    return DeadLetter(log.block_number, log.log_index, log.entry, f"{type(error).__name__}: {error}", stack)


def _out_of_order(log: StoredLog, block: int, index: int) -> HistoryOutOfOrder:
    return HistoryOutOfOrder(
        f"After block {block}, log {index} the journal gave {_where(log)}: history does not rise.",
        hint="Run `chainfold verify events`; the projection stands where it was.",
    )
