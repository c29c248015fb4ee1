"""The branch of the chain that is followed: what the source shows of it now, and the way back from another.

Law: nothing is written for a step whose journal moved meanwhile. A reorg, however deep, is one `Orphaned`
entry and one cut of the tail, in one transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct
from sqlalchemy import Connection

from eventstore.errors import BlockUnknown, ChainfoldError, Fenced, HistoryConflict
from eventstore.ingest.failed_ranges import FailedRanges
from eventstore.ingest.head import HeadTracker
from eventstore.ingest.reorg import Rewind, Wait
from eventstore.journal import behind
from eventstore.journal.journal import Journal
from eventstore.journal.progress import SyncProgress
from eventstore.journal.tail import Tail
from eventstore.journal.waymarks import Waymarks
from eventstore.records import NO_END, BlockRange, Header
from eventstore.sources import Source
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store

Follow = Literal["latest", "finalized"]


class Ingested(Struct, frozen=True):
    """What one step did. `idle`: the journal holds all that the source shows and would give.

    `appended` and `orphaned` count logs; `fetched` are the blocks that were asked for, `refused` those
    that the source found too many (the next step asks for fewer), `failed` those that it does not give,
    and `reason` why: they are a gap, and asked for again later. `rewound_to` is the block that a reorg
    left standing, `depth` how many blocks above it were known. `behind` is the newest block that is known
    where the source's head is below it, and its headers do not compete with ours.
    """

    head: int
    finalized: int
    fetched: BlockRange | None = None
    refused: BlockRange | None = None
    failed: BlockRange | None = None
    reason: str = ""
    appended: int = 0
    orphaned: int = 0
    rewound_to: int | None = None
    depth: int = 0
    below_finality: bool = False
    behind: int | None = None

    @property
    def idle(self) -> bool:
        return not (self.fetched or self.refused or self.failed) and self.rewound_to is None


class View(Struct, frozen=True):
    """The source's head and finality, as of one moment."""

    head: Header
    finalized: int


class Retreated(Struct, frozen=True):
    """The source's head, our newest block, and the way back that was taken; None: there was none."""

    head: int
    known: int
    done: Ingested | None = None


class Branch:
    """Takes views of a source, and moves the journal and its tail back to where a source's chain is."""

    def __init__(
        self, store: Store, source: Source, lease: Lease, *, chain_id: int, follow: Follow = "latest"
    ) -> None:
        self.tracker = HeadTracker(store, source, chain_id)
        self._store = store
        self._source = source
        self._lease = lease
        self._chain = chain_id
        self._follow = follow
        self._unkept = -1

    def look(self) -> Ingested | View:
        """What the source shows now; a reorg among it is followed at once, and returned instead."""
        head = self._source.head() if self._follow == "latest" else self._source.finalized()
        with self._store.read() as tx:
            tail = Tail(tx, self._chain)
            known, finalized = tail.headers(), tail.finalized()
            entry = Journal(tx, self._chain).head()
        if head is None:
            raise BlockUnknown(
                "The node calls no block final yet, and only final blocks are to be read.",
                hint='It is asked again; or set follow = "latest" for this chain.',
            )
        if known and finalized > known[-1].number:  # as older versions left it, and backups of theirs
            finalized = self._settled(known[0], entry=entry)
        decision = self.tracker.compare(known, head) if known else Wait()
        if isinstance(decision, Rewind):
            return self.rewind(View(head, finalized), decision.to, entry=entry, known=known)
        final = self._source.finalized() if self._follow == "latest" else head
        final = self.tracker.final(final, head, known, finalized)
        if final is not None:
            with self._lease.commit() as tx:
                self.unmoved(tx, entry)
                Tail(tx, self._chain).finalize(final)
        return View(head, max(finalized, final.number if final else -1))

    def rewind(self, view: View, to: int, *, entry: int, known: Sequence[Header]) -> Ingested:
        with self._lease.commit() as tx:
            self.unmoved(tx, entry)
            orphaned = Journal(tx, self._chain).orphan(to + 1)
            Tail(tx, self._chain).cut_above(to, self.tracker.newest(tx, to))
            failures = FailedRanges(tx, self._chain)
            failures.forget(BlockRange(to + 1, NO_END))
            failures.hurry()  # why the others failed may have been the branch that was left
            behind.forget(tx, self._chain)
            SyncProgress(tx, self._chain).moved(view.head.number)
        return Ingested(
            view.head.number,
            view.finalized,
            orphaned=orphaned.log_count if orphaned else 0,
            rewound_to=to,
            depth=known[-1].number - to if known else 0,
            below_finality=to < view.finalized,
        )

    def retreat(self) -> Retreated:
        """Follows the source back to its head, although nothing competes with what is known above it: the
        operator's word that its chain moved back. Refused, with both heights, where the source shows more."""
        head = self._source.head() if self._follow == "latest" else self._source.finalized()
        with self._store.read() as tx:
            tail = Tail(tx, self._chain)
            known, finalized = tail.headers(), tail.finalized()
            entry = Journal(tx, self._chain).head()
        if head is None or not known:
            return Retreated(-1 if head is None else head.number, -1)
        tip, view = known[-1].number, View(head, finalized)
        decision = self.tracker.compare(known, head)
        if isinstance(decision, Rewind):
            return Retreated(head.number, tip, self.rewind(view, decision.to, entry=entry, known=known))
        if head.number >= tip:
            return Retreated(head.number, tip)
        on_ours = next((item.number for item in known if item.number == head.number), None)
        to = self.tracker.deep_ancestor(head.number + 1) if on_ours is None else on_ours
        return Retreated(head.number, tip, self.rewind(view, to, entry=entry, known=known))

    def keep_waymarks(self, known: Sequence[Header], *, entry: int) -> None:
        """Asks for the headers right below the final block, where finality rose by a leap and they were not
        seen one by one: a chain that moves back a little below it shows by them."""
        if self._follow == "finalized" or not known or self._unkept == known[0].number:
            return
        final = known[0]
        with self._store.read() as tx:
            missing = Waymarks(tx, self._chain).missing(final.number)
            if not missing or Tail(tx, self._chain).finalized() != final.number:
                return
        headers = self.tracker.ancestors(final, missing)
        if not headers:
            self._unkept = final.number  # this node does not give them: it is not asked at each poll
            return
        with self._lease.commit() as tx:
            self.unmoved(tx, entry)
            if Tail(tx, self._chain).headers()[:1] == [final]:
                Waymarks(tx, self._chain).add(headers)

    def _settled(self, final: Header, *, entry: int) -> int:
        with self._lease.commit() as tx:
            self.unmoved(tx, entry)
            Tail(tx, self._chain).lower(final)
        return final.number

    def reach(self, view: View, known: Sequence[Header]) -> int:
        """Up to where blocks may be asked for by range: they are final, and the tail stands above them."""
        return min(view.finalized, view.head.number, known[-1].number if known else view.head.number)

    def resolve(self, view: View, conflict: HistoryConflict, asked: BlockRange, *, entry: int) -> Ingested:
        """A finalised block has another hash than history says: a reorg below finality. Where the node's
        own headers agree with history and only its logs do not, one of the two lied: the range is a gap
        until somebody fetches it again by force."""
        to = self.tracker.deep_ancestor(asked.last + 1)
        with self._store.read() as tx:
            above = Journal(tx, self._chain).canonical_blocks_below(asked.last + 1, 1)
        if to >= asked.last or not above or above[0].number <= to:
            return self.write_down(view, asked, conflict)
        return self.rewind(view, to, entry=entry, known=above)

    def write_down(self, view: View, asked: BlockRange, error: ChainfoldError) -> Ingested:
        with self._lease.commit() as tx:
            FailedRanges(tx, self._chain).add(asked, str(error))
        return Ingested(view.head.number, view.finalized, failed=asked, reason=str(error))

    def unmoved(self, tx: Connection, entry: int) -> None:
        """Compares the cursor: what was read before this transaction must still be the newest entry."""
        if Journal(tx, self._chain).head() != entry:
            raise Fenced("The journal moved under this step; nothing was written.")
