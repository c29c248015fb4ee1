"""The first stage: from a source, through the reorg decision, into the journal.

Law: what is not proven to be there is not covered. A step asks for one thing (is the known end still
canonical? the lowest missing range? the next blocks?), checks the answer, and commits it with its
coverage in one fenced transaction. A step that dies is simply asked again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Literal

from msgspec import Struct
from sqlalchemy import Connection, text

from eventstore.answer import check
from eventstore.coverage import Coverage, Covered
from eventstore.creation import HasCode, created
from eventstore.errors import (
    BlockUnknown,
    ChainfoldError,
    Fenced,
    HistoryConflict,
    RangeTooLarge,
    SourceError,
    SourceUnavailable,
    Throttled,
    WrongChain,
)
from eventstore.failures import FailedRange, Failures, due
from eventstore.fetch import Window
from eventstore.journal import Journal
from eventstore.lease import Lease
from eventstore.lookout import Lookout
from eventstore.ranges import Fetched, Narrowed, Ranges, Unobtainable, query_of, read
from eventstore.records import BlockRange, Filter, Header, Log, Watch, clipped
from eventstore.reorg import Extend, Rewind, Wait, decide
from eventstore.resync import Resynced, compare, credible
from eventstore.sources import Source
from eventstore.store import Store
from eventstore.tail import Tail
from eventstore.wanted import Gap, Wanted, covered_by, filters_at, holes, lowest_gap, missing_in, only, wants

BLOCKS_PER_STEP = 32
"""How many unfinalised blocks one step asks for and commits together."""

IN_FLIGHT = 4
"""How many ranges are asked for before the first of them is committed."""

Follow = Literal["latest", "finalized"]


class Ingested(Struct, frozen=True):
    """What one step did. `idle`: the journal holds all that the source shows and would give.

    `appended` and `orphaned` count logs; `fetched` are the blocks that were asked for, `refused` those
    that the source found too many (the next step asks for fewer), `failed` those that it does not give,
    and `reason` why: they are a gap, and asked for again later. `rewound_to` is the block that a reorg
    left standing, `depth` how many blocks above it were known.
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

    @property
    def idle(self) -> bool:
        return not (self.fetched or self.refused or self.failed) and self.rewound_to is None


class _View(Struct, frozen=True):
    """The source's head and finality, as of one moment."""

    head: Header
    finalized: int


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
        self._follow = follow
        self._view: _View | None = None
        self._workers = workers or ThreadPoolExecutor(2 * IN_FLIGHT, thread_name_prefix="logs")
        self._lookout = Lookout(store, source, chain_id)
        self._ranges = Ranges(source, self._workers, window=window or Window(), in_flight=IN_FLIGHT)

    def open(self) -> None:
        """Refuses (`WrongChain`) a source that is not the chain of the configuration and the store."""
        self._ranges.forget()
        identity = self._source.identity()
        if identity.chain_id != self._chain:
            raise WrongChain(
                f"The node serves chain {identity.chain_id}, the configuration says {self._chain}.",
                hint="Mend chain_id or rpc; nothing was read.",
            )
        with self._lease.commit() as tx:
            known = tx.execute(
                text("SELECT genesis FROM chains WHERE chain_id = :chain"), {"chain": self._chain}
            ).scalar()
            if known is None:
                tx.execute(
                    text("INSERT INTO chains VALUES (:chain, :genesis)"),
                    {"chain": self._chain, "genesis": identity.genesis},
                )
            elif known != identity.genesis:
                raise WrongChain(
                    f"The node's chain {self._chain} begins with block 0x{identity.genesis.hex()}, the "
                    f"store holds one that begins with 0x{known.hex()}.",
                    hint="It is another network of the same id; use another store for it.",
                )

    def begin(self, wanted: Filter, has_code: HasCode) -> int | None:
        """Covers all blocks below the one that created the contract: without code there were no logs.

        The block that created it; None where its beginning is covered already. Errors as `step`.
        """
        with self._store.read() as tx:
            if Coverage(tx, self._chain).through(Watch(wanted)) >= 0:
                return None
            entry = Journal(tx, self._chain).head()
        first = created(has_code, wanted.address, head=self._source.head().number)
        with self._lease.commit() as tx:
            self._unmoved(tx, entry)
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
        return self._resync(asked, tuple(watches) or self._watches)

    def _step(self) -> Ingested:
        view, looked = self._view, self._view is None
        if view is None:
            seen = self._look()
            if isinstance(seen, Ingested):
                return seen
            view = self._view = seen
        with self._store.read() as tx:
            known = Tail(tx, self._chain).headers()
            entry = Journal(tx, self._chain).head()
            final = self._final(view, known)
            coverage, failed = Coverage(tx, self._chain), Failures(tx, self._chain).all()
            gap = lowest_gap(coverage, self._watches, final, failed)
            unseen = (
                []
                if gap
                else holes(coverage, self._watches, known, above=view.finalized, limit=BLOCKS_PER_STEP)
            )
        if gap is not None:
            return self._fetch_range(view, gap, entry=entry, known=known)
        if unseen:
            return self._fetch_blocks(view, unseen, entry=entry, extend=False)
        fresh = self._next_headers(view, known)
        if fresh:
            return self._fetch_blocks(view, fresh, entry=entry, extend=True)
        waiting = due([item for item in failed if item.range.first <= final])
        if waiting is not None:
            return self._fetch_failed(view, waiting, entry=entry, known=known)
        self._view = None
        if not looked:  # all that was seen some steps ago is done: what is there now?
            return self._step()
        self._note(view)
        return Ingested(view.head.number, view.finalized)

    # --- is the known end still canonical? ---

    def _look(self) -> Ingested | _View:
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
        decision = self._lookout.compare(known, head) if known else Wait()
        if isinstance(decision, Rewind):
            return self._rewind(_View(head, finalized), decision.to, entry=entry, known=known)
        final = self._source.finalized() if self._follow == "latest" else head
        final = self._lookout.final(final, head, known, finalized)
        if final is not None:
            self._ranges.forget()
            with self._lease.commit() as tx:
                self._unmoved(tx, entry)
                Tail(tx, self._chain).finalize(final)
        return _View(head, max(finalized, final.number if final else -1))

    def _rewind(self, view: _View, to: int, *, entry: int, known: Sequence[Header]) -> Ingested:
        with self._lease.commit() as tx:
            self._unmoved(tx, entry)
            journal, tail = Journal(tx, self._chain), Tail(tx, self._chain)
            orphaned = journal.orphan(to + 1)
            tail.cut_above(to)
            if not tail.headers():  # what stays below is held to the chain by the newest of it
                tail.extend(journal.canonical_blocks_below(to + 1, 1))
        self._view = None
        self._ranges.forget()
        return Ingested(
            view.head.number,
            view.finalized,
            orphaned=orphaned.log_count if orphaned else 0,
            rewound_to=to,
            depth=known[-1].number - to if known else 0,
            below_finality=to < view.finalized,
        )

    def _final(self, view: _View, known: Sequence[Header]) -> int:
        """Up to where blocks may be asked for by range: they are final, and the tail stands above them."""
        return min(view.finalized, view.head.number, known[-1].number if known else view.head.number)

    # --- the finalised part: wide ranges ---

    def _fetch_range(self, view: _View, gap: Gap, *, entry: int, known: Sequence[Header]) -> Ingested:
        match self._ranges.next(gap.filters, gap.range, known):
            case Narrowed(asked):
                return Ingested(view.head.number, view.finalized, refused=asked)
            case Unobtainable(asked, error):
                return self._write_down(view, asked, error)
            case fetched:
                return self._keep(view, gap.filters, fetched, entry=entry)

    def _fetch_failed(
        self, view: _View, failed: FailedRange, *, entry: int, known: Sequence[Header]
    ) -> Ingested:
        """Asks once more for a part of a range that failed before, if anybody still misses it."""
        with self._store.read() as tx:
            gap = missing_in(Coverage(tx, self._chain), self._watches, failed.range)
        if gap is None:
            with self._lease.commit() as tx:
                Failures(tx, self._chain).forget(failed.range)
            return self._step()
        part = clipped(failed.probe(), first=gap.range.first, last=self._final(view, known))
        part = part or BlockRange(gap.range.first, gap.range.first)
        try:
            fetched = read(self._source, query_of(gap.filters), part, known)
        except SourceError as error:
            return self._write_down(view, part, error)
        return self._keep(view, gap.filters, fetched, entry=entry)

    def _keep(self, view: _View, filters: Sequence[Filter], fetched: Fetched, *, entry: int) -> Ingested:
        asked = fetched.asked
        try:
            with self._lease.commit() as tx:
                self._unmoved(tx, entry)
                appended = Journal(tx, self._chain).append(
                    only(filters, fetched.logs), fetched.blocks, [Covered(item, asked) for item in filters]
                )
                Failures(tx, self._chain).forget(asked)
        except HistoryConflict as conflict:
            return self._resolve(view, conflict, asked, entry=entry)
        return Ingested(
            view.head.number,
            view.finalized,
            fetched=asked,
            appended=appended.log_count if appended else 0,
        )

    def _write_down(self, view: _View, asked: BlockRange, error: ChainfoldError) -> Ingested:
        with self._lease.commit() as tx:
            Failures(tx, self._chain).add(asked, str(error))
        return Ingested(view.head.number, view.finalized, failed=asked, reason=str(error))

    def _resolve(self, view: _View, conflict: HistoryConflict, asked: BlockRange, *, entry: int) -> Ingested:
        """A finalised block has another hash than history says: a reorg below finality. Where the node's
        own headers agree with history and only its logs do not, one of the two lied: the range is a gap
        until somebody fetches it again by force."""
        to = self._lookout.deep_ancestor(asked.last + 1)
        with self._store.read() as tx:
            above = Journal(tx, self._chain).canonical_blocks_below(asked.last + 1, 1)
        if to >= asked.last or not above or above[0].number <= to:
            return self._write_down(view, asked, conflict)
        return self._rewind(view, to, entry=entry, known=above)

    # --- the unfinalised part: block by block, by hash ---

    def _next_headers(self, view: _View, known: Sequence[Header]) -> list[Wanted]:
        if known:
            tip = known[-1].number
        else:
            tip = (
                view.finalized
                if view.finalized >= 0
                else min((watch.first_block for watch in self._watches), default=0) - 1
            )
        if tip >= view.head.number:
            return []
        last = min(view.head.number, tip + BLOCKS_PER_STEP)
        numbers = range(tip + 1, last + (view.head.number > last))
        headers = self._lookout.headers(numbers)
        if last == view.head.number:
            headers.append(view.head)
        match decide(known, headers):
            case Extend(fresh):
                return [Wanted(header, filters_at(self._watches, header.number)) for header in fresh]
            case _:
                raise BlockUnknown(
                    f"The chain moved between the headers {tip + 1} and {last}.",
                    hint="It will be asked again.",
                )

    def _fetch_blocks(self, view: _View, wanted: Sequence[Wanted], *, entry: int, extend: bool) -> Ingested:
        wanted, logs = self._logs_of(wanted)
        headers = [item.header for item in wanted]
        with self._lease.commit() as tx:
            self._unmoved(tx, entry)
            appended = Journal(tx, self._chain).append(
                logs, {header.number: header for header in headers}, covered_by(wanted)
            )
            if extend:
                Tail(tx, self._chain).extend(headers)
        return Ingested(
            view.head.number,
            view.finalized,
            fetched=BlockRange(headers[0].number, headers[-1].number),
            appended=appended.log_count if appended else 0,
        )

    def _logs_of(self, wanted: Sequence[Wanted]) -> tuple[Sequence[Wanted], list[Log]]:
        """The logs of these blocks, each asked for by its hash, several at once; of those before the first
        that failed, so that a source which often fails is not asked for the same ones again."""

        def ask(item: Wanted) -> list[Log]:
            if not item.filters:
                return []
            query = query_of(item.filters)
            return only(item.filters, check(query, item.header, self._source.logs(query, item.header)))

        logs: list[Log] = []
        for place, found in enumerate([self._workers.submit(ask, item) for item in wanted]):
            try:
                logs += found.result()
            except SourceError:
                if place == 0:
                    raise
                return wanted[:place], logs
        return wanted, logs

    # --- once more, by force ---

    def _resync(self, asked: BlockRange, chosen: tuple[Watch, ...]) -> tuple[Resynced, int]:
        view = self._look()
        if isinstance(view, Ingested):
            return Resynced(rewound=1), asked.first - 1
        with self._store.read() as tx:
            known = Tail(tx, self._chain).headers()
            entry = Journal(tx, self._chain).head()
        final, filters = self._final(view, known), [watch.filter for watch in chosen]
        if asked.first <= final:
            part = self._ranges.window.take(asked.first, min(asked.last, final))
            try:
                fetched = read(self._source, query_of(filters), part, known)
            except RangeTooLarge as error:
                self._ranges.window = self._ranges.window.refused(part, error)
                return Resynced(), asked.first - 1
            logs, blocks = fetched.logs, fetched.blocks
        else:
            seen = [item for item in known if asked.first <= item.number <= asked.last][:BLOCKS_PER_STEP]
            if not seen:
                return Resynced(), asked.last  # nothing is known there yet: steps will fetch it
            done, logs = self._logs_of([Wanted(header, filters) for header in seen])
            part = BlockRange(asked.first, done[-1].header.number)
            blocks = {item.header.number: item.header for item in done}
        return self._repair(view, part, chosen, logs, blocks, entry=entry), part.last

    def _repair(
        self,
        view: _View,
        part: BlockRange,
        chosen: Sequence[Watch],
        logs: Sequence[Log],
        blocks: dict[int, Header],
        *,
        entry: int,
    ) -> Resynced:
        with self._store.read() as tx:
            living = [
                item.log
                for item in Journal(tx, self._chain).history(first=part.first, last=part.last, limit=2**31)
            ]
        logs = [log for log in logs if wants(chosen, log)]
        found = compare([log for log in living if wants(chosen, log)], logs)
        fresh, wrong, doubted = list(found.missing), list(found.wrong), []
        for number in found.wrong:
            of_block = [log for log in living if log.block_number == number]
            header = self._lookout.header(number)
            if header.hash != of_block[0].block_hash:
                moved = HistoryConflict(f"Block {number} has another hash on the node's chain.")
                self._resolve(view, moved, part, entry=entry)
                return Resynced(rewound=1)
            _, told = self._logs_of([Wanted(header, filters_at(self._watches, number))])
            if credible(header, of_block, told):
                fresh += told
                blocks[number] = header
            else:
                wrong.remove(number)
                doubted.append(number)
        fresh.sort(key=lambda log: (log.block_number, log.log_index))
        try:
            with self._lease.commit() as tx:
                self._unmoved(tx, entry)
                journal = Journal(tx, self._chain)
                for number in wrong:
                    journal.orphan(number, number)
                covered = [
                    Covered(watch.filter, item)
                    for watch in chosen
                    if (item := clipped(part, first=watch.first_block, last=watch.last_block)) is not None
                ]
                journal.append(fresh, blocks, covered if not doubted else ())
                Failures(tx, self._chain).forget(part)
        except HistoryConflict as conflict:
            self._resolve(view, conflict, part, entry=entry)
            return Resynced(rewound=1)
        before, after = set(living), set(fresh)
        return Resynced(
            blocks=len(part),
            logs=len(logs),
            missing=len(after - before),
            orphaned=sum(log.block_number in wrong and log not in after for log in living),
            missing_in=tuple(sorted({log.block_number for log in after - before})),
            orphaned_in=tuple(wrong),
            doubted_in=tuple(doubted),
        )

    # --- small ---

    def _unmoved(self, tx: Connection, entry: int) -> None:
        """Compares the cursor: what was read before this transaction must still be the newest entry."""
        if Journal(tx, self._chain).head() != entry:
            raise Fenced("The journal moved under this step; nothing was written.")

    def retry_failed(self) -> int:
        """Makes all failed ranges due now; how many there are."""
        with self._lease.commit() as tx:
            return Failures(tx, self._chain).hurry()

    def note_failure(self, reason: str) -> None:
        """Writes down, for `status`, why the source could not be read; the next look that ends well
        takes it back."""
        with self._lease.commit() as tx:
            tx.execute(
                text("UPDATE progress SET error = :reason WHERE chain_id = :chain"),
                {"chain": self._chain, "reason": reason},
            )

    def _note(self, view: _View) -> None:
        """Writes down, for `status`, that all is fetched as of now."""
        with self._lease.commit() as tx:
            tx.execute(
                text(
                    "INSERT INTO progress VALUES (:chain, :head, :now, NULL) "
                    "ON CONFLICT (chain_id) DO UPDATE SET head = excluded.head, "
                    "last_sync_at = excluded.last_sync_at, error = NULL"
                ),
                {"chain": self._chain, "head": view.head.number, "now": time.time_ns() // 1000},
            )
