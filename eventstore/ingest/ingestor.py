"""The first stage: from a source, through the reorg decision, into the journal.

Law: what is not proven to be there is not covered. A step asks for one thing (is the known end still
canonical? the lowest missing range? the next blocks?), checks the answer, and commits it with its
coverage in one fenced transaction. A step that dies is simply asked again.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

from eventstore.errors import (
    HistoryConflict,
    SourceError,
    SourceUnavailable,
    Throttled,
    Unreadable,
)
from eventstore.ingest.blocks import read_blocks
from eventstore.ingest.branch import Branch, Follow, Ingested, Retreated, View
from eventstore.ingest.creation import HasCode, created
from eventstore.ingest.failed_ranges import FailedRange, FailedRanges, due, waits
from eventstore.ingest.next_blocks import BLOCKS_PER_STEP, next_blocks
from eventstore.ingest.plan import BlockRequest, Gap, covered_by, holes, lowest_gap, missing_in, only
from eventstore.ingest.ranges import Fetched, Narrowed, Ranges, Unobtainable, query_of, read
from eventstore.ingest.resync import Resync, Resynced
from eventstore.ingest.window import Window
from eventstore.journal import behind, chains
from eventstore.journal.coverage import Coverage, Covered
from eventstore.journal.journal import Journal
from eventstore.journal.progress import SyncProgress
from eventstore.journal.tail import Tail
from eventstore.records import BlockRange, Filter, Header, Watch, clipped
from eventstore.sources import Source
from eventstore.sources.chain_id import refusal
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store

IN_FLIGHT = 4
"""How many ranges are asked for before the first of them is committed."""


class Ingestor:
    """Brings the journal of one chain up to its source, one bounded `step()` at a time.

    `follow="finalized"` reads no block that is not final. `workers` do what may overlap.
    """

    def __init__(
        self,
        store: Store,
        source: Source,
        lease: Lease,
        *,
        chain_id: int,
        watches: Sequence[Watch],
        window: Window | None = None,
        follow: Follow = "latest",
        workers: Executor | None = None,
    ) -> None:
        self._store = store
        self._source = source
        self._lease = lease
        self._chain = chain_id
        self._watches = tuple(watches)
        self._view: View | None = None
        self._workers = workers or ThreadPoolExecutor(2 * IN_FLIGHT, thread_name_prefix="logs")
        self._branch = Branch(store, source, lease, chain_id=chain_id, follow=follow)
        window = window or Window()
        self._ranges = Ranges(source, self._workers, window=window, in_flight=IN_FLIGHT)
        self._resync = Resync(
            store,
            source,
            lease,
            self._branch,
            self._workers,
            chain_id=chain_id,
            watches=self._watches,
            window=window,
        )

    def open(self) -> None:
        """Refuses (`WrongChain`) a source that is not the chain of the configuration and the store."""
        self._view = None
        self._ranges.forget()
        identity = self._source.identity()
        with self._lease.commit() as tx:
            known = chains.genesis_of(tx, self._chain)
            wrong = refusal(identity, chain_id=self._chain, genesis=known)
            if wrong is not None:
                raise wrong
            if known is None:
                chains.remember(tx, self._chain, identity.genesis)

    def begin(self, wanted: Filter, has_code: HasCode) -> int | None:
        """Covers all blocks below that in which the contract was created: without code there were no logs.

        The block that created it; None where its beginning is covered already. Errors as `step`.
        """
        with self._store.read() as tx:
            if Coverage(tx, self._chain).through(Watch(wanted)) >= 0:
                return None
            entry = Journal(tx, self._chain).head()
        first = created(has_code, wanted.address, head=self._source.head().number)
        with self._lease.commit() as tx:
            self._branch.unmoved(tx, entry)
            if first:
                Coverage(tx, self._chain).add(Covered(wanted, BlockRange(0, first - 1)), entry=entry)
        return first

    def close(self) -> None:
        self._workers.shutdown(wait=False, cancel_futures=True)

    def step(self) -> Ingested:
        """Does the next bounded piece of work, commits it, and says what it was.

        Raises `SourceError` where the source failed or was not believed, `Fenced` where the lease is
        lost. Either way nothing was written, and the next step starts from what is committed.
        """
        try:
            return self._step()
        except (SourceUnavailable, Throttled):
            raise  # what was seen is as good as before
        except Exception:
            self._view = None
            self._ranges.forget()
            raise

    def resync(self, asked: BlockRange, watches: Sequence[Watch] = ()) -> tuple[Resynced, int]:
        """Fetches the first part of `asked` again (for these watches; none: for all), compares, and commits
        what differs: what was found, and the last block of the part. Errors as `step`."""
        self._view = None
        self._ranges.forget()
        return self._resync.part(asked, watches or self._watches)

    def retreat(self) -> Retreated:
        """Follows the source back to a lower head, at the operator's word. Errors as `step`."""
        self._view = None
        self._ranges.forget()
        return self._branch.retreat()

    def _step(self) -> Ingested:
        view, looked = self._view, self._view is None
        if view is None:
            self._ranges.forget()
            seen = self._branch.look()
            if isinstance(seen, Ingested):
                return seen
            view = self._view = seen
        with self._store.read() as tx:
            known = Tail(tx, self._chain).headers()
            entry = Journal(tx, self._chain).head()
            final = self._branch.reach(view, known)
            coverage, failed = Coverage(tx, self._chain), FailedRanges(tx, self._chain).all()
            gap = lowest_gap(coverage, self._watches, final, failed)
            shown = [header for header in known if header.number <= view.head.number]
            unseen = (
                []
                if gap
                else holes(
                    coverage,
                    self._watches,
                    [header for header in shown if not waits(failed, header.number)],
                    above=view.finalized,
                    limit=BLOCKS_PER_STEP,
                )
            )
        if gap is not None:
            return self._fetch_range(view, gap, entry=entry, known=known)
        if unseen:
            return self._fetch_blocks(view, unseen, entry=entry, extend=False)
        fresh = next_blocks(self._branch.tracker, view, known, self._watches)
        if fresh:
            return self._fetch_blocks(view, fresh, entry=entry, extend=True)
        waiting = due([item for item in failed if item.range.first <= final])
        if waiting is not None:
            return self._fetch_failed(view, waiting, entry=entry, known=known)
        self._view = None
        if not looked:  # all that was seen some steps ago is done: what is there now?
            return self._step()
        self._branch.keep_waymarks(known, entry=entry)
        tip = known[-1].number if known else -1
        self._note(view, tip)
        return Ingested(view.head.number, view.finalized, behind=tip if tip > view.head.number else None)

    # --- the finalised part: wide ranges ---

    def _fetch_range(self, view: View, gap: Gap, *, entry: int, known: Sequence[Header]) -> Ingested:
        match self._ranges.next(gap.filters, gap.range, known):
            case Narrowed(asked):
                return Ingested(view.head.number, view.finalized, refused=asked)
            case Unobtainable(asked, error):
                return self._branch.write_down(view, asked, error)
            case fetched:
                return self._keep(view, gap.filters, fetched, entry=entry)

    def _fetch_failed(
        self, view: View, failed: FailedRange, *, entry: int, known: Sequence[Header]
    ) -> Ingested:
        """Asks once more for a part of a range that failed before, if anybody still misses it."""
        with self._store.read() as tx:
            gap = missing_in(Coverage(tx, self._chain), self._watches, failed.range)
        if gap is None:
            with self._lease.commit() as tx:
                FailedRanges(tx, self._chain).forget(failed.range)
            return self._step()
        part = clipped(failed.probe(), first=gap.range.first, last=self._branch.reach(view, known))
        part = part or BlockRange(gap.range.first, gap.range.first)
        try:
            fetched = read(self._source, query_of(gap.filters), part, known)
        except SourceError as error:
            return self._branch.write_down(view, part, error)
        return self._keep(view, gap.filters, fetched, entry=entry)

    def _keep(self, view: View, filters: Sequence[Filter], fetched: Fetched, *, entry: int) -> Ingested:
        asked = fetched.asked
        try:
            with self._lease.commit() as tx:
                self._branch.unmoved(tx, entry)
                appended = Journal(tx, self._chain).append(
                    only(filters, fetched.logs), fetched.blocks, [Covered(item, asked) for item in filters]
                )
                FailedRanges(tx, self._chain).forget(asked)
        except HistoryConflict as conflict:
            self._view = None
            return self._branch.resolve(view, conflict, asked, entry=entry)
        return Ingested(
            view.head.number,
            view.finalized,
            fetched=asked,
            appended=appended.log_count if appended else 0,
        )

    # --- the unfinalised part: block by block, by hash ---

    def _fetch_blocks(
        self, view: View, wanted: Sequence[BlockRequest], *, entry: int, extend: bool
    ) -> Ingested:
        try:
            wanted, logs = read_blocks(self._source, self._workers, wanted)
        except Unreadable as error:
            return self._leave_out(view, wanted[0].header, error, entry=entry, extend=extend)
        headers = [item.header for item in wanted]
        with self._lease.commit() as tx:
            self._branch.unmoved(tx, entry)
            appended = Journal(tx, self._chain).append(
                logs, {header.number: header for header in headers}, covered_by(wanted)
            )
            if extend:
                Tail(tx, self._chain).extend(headers)
            FailedRanges(tx, self._chain).forget(BlockRange(headers[0].number, headers[-1].number))
        return Ingested(
            view.head.number,
            view.finalized,
            fetched=BlockRange(headers[0].number, headers[-1].number),
            appended=appended.log_count if appended else 0,
        )

    def _leave_out(
        self, view: View, header: Header, error: Unreadable, *, entry: int, extend: bool
    ) -> Ingested:
        """A block of the tail that cannot be taken is a gap, and holds up nothing above it."""
        with self._lease.commit() as tx:
            self._branch.unmoved(tx, entry)
            if extend:
                Tail(tx, self._chain).extend([header])
        return self._branch.write_down(view, BlockRange(header.number, header.number), error)

    # --- small ---

    def retry_failed(self) -> int:
        """Makes all failed ranges due now; how many there are."""
        with self._lease.commit() as tx:
            return FailedRanges(tx, self._chain).hurry()

    def note_failure(self, reason: str) -> None:
        """Writes down, for `status`, why the source could not be read; the next look that ends well
        takes it back."""
        with self._lease.commit() as tx:
            SyncProgress(tx, self._chain).failed(reason)

    def _note(self, view: View, tip: int) -> None:
        """Writes down, for `status`, that all is fetched as of now, and whether the source shows less than
        the `tip` that is known."""
        with self._lease.commit() as tx:
            behind.note(tx, self._chain, shown=view.head.number, known=tip)
            SyncProgress(tx, self._chain).synced(view.head.number)
