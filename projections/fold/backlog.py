"""How far a projection can be folded now, and how many events lie between here and there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct
from sqlalchemy import Connection

from eventstore.journal.coverage import Coverage
from eventstore.journal.journal import Journal
from eventstore.journal.progress import SyncProgress
from eventstore.journal.tail import Tail
from eventstore.storage.store import Store
from projections.fold.fold import Projection, events_of
from projections.fold.generation import Generation
from projections.routing.ways import Way

PAGE = 10_000


def reach(tx: Connection, projection: Projection, *, finalized: int, hold: int | None) -> int:
    """The last block that may be folded: before the first gap in the coverage of any own filter."""
    coverage = Coverage(tx, projection.chain_id)
    reached = []
    for watch in projection.watches:
        through = coverage.through(watch)
        if watch.last_block is None or through < watch.last_block:
            reached.append(through)
    if not reached:  # every contract has ended, and all of each is covered
        reached = [max(watch.last_block or 0 for watch in projection.watches)]
    if projection.follow == "finalized":
        reached.append(finalized)
    if hold is not None:
        reached.append(hold)
    return min(reached)


def is_whole(tx: Connection, projection: Projection, *, limit: int, finalized: int, hold: int | None) -> bool:
    """Has the ingester been at the head once, and does `limit` reach finality? A build that is folded up to
    `limit` is then not half of history."""
    if hold is not None and limit >= hold:
        return True
    progress = SyncProgress(tx, projection.chain_id).read()
    if progress is None:
        return False
    end = finalized if finalized >= 0 else progress.head
    lasts = [watch.last_block for watch in projection.watches]
    if all(last is not None for last in lasts):
        end = min(end, max(last for last in lasts if last is not None))
    return limit >= end


def has_events(tx: Connection, projection: Projection, routes: Mapping[int, Way], *, to: int) -> bool:
    """Does the journal hold an event of the projection up to block `to`? Not each log of its kinds is one."""
    journal, after = Journal(tx, projection.chain_id), -1
    while after < to:
        page = journal.read(routes, after=after, to=to, limit=PAGE)
        if any(event is not None for event in events_of(routes, page)):
            return True
        after = page.through
    return False


def horizon_of(projection: Projection, generation: Generation, finalized: int, block: int) -> int:
    """The block up to which no before-images are kept.

    A build that was served before keeps all that it has: they name what it changed since.
    """
    if generation.state == "building" and generation.revision:
        return generation.floor
    match projection.undo:
        case "finality":
            return finalized
        case "forever":
            return -1
        case blocks:
            return min(finalized, block - blocks)


class Backlog:
    """The events that are left, counted by index; no block is counted more than twice on the way.

    For people, not for the fold: what a reorg changes below the end shows at the next beginning.
    """

    def __init__(self) -> None:
        self._after = self._to = self._left = 0

    def left(
        self,
        journal: Journal,
        kinds: Iterable[int],
        *,
        after: int,
        to: int,
        read: tuple[int, int] | None = None,
    ) -> int:
        """How many events lie in the blocks `after` + 1 to `to`. `read` are a block and the number of events
        that were read from above it up to `after`, where that is known: these need not be counted."""
        kinds = list(kinds)
        if self._after <= after <= self._to <= to:
            self._left += journal.count(kinds, after=self._to, to=to)
            if read is not None and read[0] == self._after:
                self._left -= read[1]
            else:
                self._left -= journal.count(kinds, after=self._after, to=after)
        else:
            self._left = journal.count(kinds, after=after, to=to)
        self._after, self._to = after, to
        return max(0, self._left)


class Distance(Struct, frozen=True):
    """How far a generation is: `events` of `of` up to block `to_block`, the last that may be folded now."""

    to_block: int
    events: int
    of: int

    @property
    def percent(self) -> float:
        """0 to 100, rounded down to a tenth: 100 is all of it."""
        return 1000 * self.events // self.of / 10 if self.of else 100.0


def distance(store: Store, projection: Projection, generation: Generation) -> Distance:
    """How far `generation` is, counted in one snapshot."""
    with store.read() as tx:
        journal = Journal(tx, projection.chain_id)
        end = reach(tx, projection, finalized=Tail(tx, projection.chain_id).finalized(), hold=generation.hold)
        kinds = list(projection.routed(journal.kinds(watch.filter for watch in projection.watches)))
        done = journal.count(kinds, after=projection.first_block - 1, to=generation.block)
        left = journal.count(kinds, after=generation.block, to=end)
    return Distance(max(end, generation.block), done, done + left)
