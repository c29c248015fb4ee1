"""The first stage: from a source, through the reorg decision, into the journal.

Law: what is not proven to be there is not covered. A step asks for one thing (is the known end still
canonical? the lowest missing range? the next blocks?), checks the answer, and commits it with its
coverage in one fenced transaction. A step that dies is simply asked again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from msgspec import Struct
from sqlalchemy import Connection, text

from eventstore.answer import check, check_headers
from eventstore.coverage import Coverage, Covered
from eventstore.errors import (
    AnswerRefused,
    BlockUnknown,
    Fenced,
    HistoryConflict,
    RangeTooLarge,
    SourceError,
    WrongChain,
)
from eventstore.fetch import Window
from eventstore.journal import Journal
from eventstore.lease import Lease
from eventstore.records import BlockRange, Filter, Header, Log, Query, Watch
from eventstore.reorg import Extend, Halt, Older, Rewind, Wait, decide
from eventstore.sources import Source
from eventstore.store import Store
from eventstore.tail import Tail

BLOCKS_PER_STEP = 32
"""How many unfinalised blocks one step asks for and commits together."""

ADDRESSES_PER_QUERY = 500
"""Nodes refuse longer lists (1,000 to 5,000 by provider); the rest waits for the next step."""


class Ingested(Struct, frozen=True):
    """What one step did. `idle`: the journal holds all that the source shows.

    `appended` and `orphaned` count logs; `fetched` are the blocks that were asked for, `refused` those
    that the source found too many (the next step asks for fewer); `rewound_to` is the block that a
    reorg left standing, `depth` how many blocks above it were known.
    """

    head: int
    finalized: int
    fetched: BlockRange | None = None
    refused: BlockRange | None = None
    appended: int = 0
    orphaned: int = 0
    rewound_to: int | None = None
    depth: int = 0
    below_finality: bool = False

    @property
    def idle(self) -> bool:
        return self.fetched is None and self.refused is None and self.rewound_to is None


class _View(Struct, frozen=True):
    """The source's head and finality, as of one moment."""

    head: Header
    finalized: int


class Ingestor:
    """Brings the journal of one chain up to its source, one bounded `step()` at a time."""

    def __init__(
        self,
        store: Store,
        source: Source,
        lease: Lease,
        *,
        chain_id: int,
        watches: Sequence[Watch],
        window: Window | None = None,
    ) -> None:
        self._store = store
        self._source = source
        self._lease = lease
        self._chain = chain_id
        self._watches = tuple(watches)
        self._window = window or Window()
        self._view: _View | None = None
        self._workers = ThreadPoolExecutor(4, thread_name_prefix="logs")

    def open(self) -> None:
        """Refuses (`WrongChain`) a source that is not the chain of the configuration and the store."""
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

    def close(self) -> None:
        self._workers.shutdown(wait=False, cancel_futures=True)

    def step(self) -> Ingested:
        """Does the next bounded piece of work, commits it, and says what it was.

        Raises `SourceError` where the source failed or was not believed, `Fenced` where the lease is
        lost. Either way nothing was written, and the next step starts from what is committed.
        """
        try:
            return self._step()
        except Exception:
            self._view = None
            raise

    def _step(self) -> Ingested:
        looked = self._view is None
        if self._view is None:
            head = self._source.head()
            with self._store.read() as tx:
                tail = Tail(tx, self._chain)
                known, finalized = tail.headers(), tail.finalized()
                entry = Journal(tx, self._chain).head()
            decision = self._compare(known, head) if known else Wait()
            if isinstance(decision, Rewind):
                view = _View(head, finalized)
                return self._rewind(view, decision.to, entry=entry, known=known)
            self._view = _View(head, self._let_finality_rise(head, known, finalized, entry))
        view = self._view
        with self._store.read() as tx:
            known = Tail(tx, self._chain).headers()
            entry = Journal(tx, self._chain).head()
            final = min(view.finalized, known[-1].number if known else view.head.number)
            gap = self._lowest_gap(tx, min(final, view.head.number))
            holes = [] if gap else self._holes(tx, known, view.finalized)
        if gap is not None:
            return self._fetch_range(view, *gap, entry=entry, known=known)
        if holes:
            return self._fetch_blocks(view, holes, entry=entry, extend=False)
        fresh = self._next_headers(view, known)
        if fresh:
            return self._fetch_blocks(view, fresh, entry=entry, extend=True)
        self._view = None
        if not looked:  # all that was seen some steps ago is done: what is there now?
            return self._step()
        self._note(view)
        return Ingested(view.head.number, view.finalized)

    # --- is the known end still canonical? ---

    def _let_finality_rise(self, head: Header, known: Sequence[Header], finalized: int, entry: int) -> int:
        """Accepts what the source calls final, after the known end was found to be on its chain."""
        final = self._source.finalized()
        if final is None or final.number > head.number:
            return finalized  # no tag, or two nodes behind one name: it is from the one ahead
        if known and final.number <= min(finalized, known[-1].number):
            return finalized
        for header in known:
            if header.number == final.number and header.hash != final.hash:
                raise AnswerRefused(
                    f"The node calls block {final.number} 0x{final.hash.hex()} final, and shows another "
                    "chain at the same height.",
                    hint="Trying again may reach a node that agrees with itself.",
                )
        with self._lease.commit() as tx:
            self._unmoved(tx, entry)
            Tail(tx, self._chain).finalize(final)
        return max(final.number, finalized)

    def _compare(self, known: Sequence[Header], head: Header) -> Rewind | Extend | Wait:
        tip = known[-1]
        start = head if head.number <= tip.number + 1 else self._header(tip.number + 1)
        branch = [start]
        while True:
            match decide(known, branch):
                case Older(number):
                    if number < known[0].number:
                        return Rewind(self._deep_ancestor(known[0].number))
                    low = max(number - len(branch), known[0].number)
                    branch = [*self._headers(range(low, number + 1)), *branch]
                case Halt(reason):
                    raise AnswerRefused(
                        f"The node's headers do not form a chain: {reason}.",
                        hint="It was reorganising or is several nodes; it will be asked again.",
                    )
                case decided:
                    return decided

    def _deep_ancestor(self, below: int) -> int:
        """The newest block under finality that the source still shares; -1 where it shares none."""
        while True:
            with self._store.read() as tx:
                known = Journal(tx, self._chain).canonical_blocks_below(below, 64)
            if not known:
                return -1
            theirs = self._source.headers([header.number for header in known])
            for ours, other in zip(known, theirs, strict=True):
                if other is not None and other.hash == ours.hash:
                    return ours.number
            below = known[-1].number

    def _rewind(self, view: _View, to: int, *, entry: int, known: Sequence[Header]) -> Ingested:
        with self._lease.commit() as tx:
            self._unmoved(tx, entry)
            journal, tail = Journal(tx, self._chain), Tail(tx, self._chain)
            orphaned = journal.orphan(to + 1)
            tail.cut_above(to)
            if not tail.headers():  # what stays below is held to the chain by the newest of it
                tail.extend(journal.canonical_blocks_below(to + 1, 1))
        self._view = None
        return Ingested(
            view.head.number,
            view.finalized,
            orphaned=orphaned.log_count if orphaned else 0,
            rewound_to=to,
            depth=known[-1].number - to if known else 0,
            below_finality=to < view.finalized,
        )

    # --- the finalised part: wide ranges ---

    def _lowest_gap(self, tx: Connection, last: int) -> tuple[list[Filter], BlockRange] | None:
        """The lowest range up to `last` that some filters miss, and which filters miss all of it."""
        coverage = Coverage(tx, self._chain)
        first_gaps = [
            (gaps[0], watch.filter) for watch in self._watches if (gaps := coverage.gaps(watch, last))
        ]
        if not first_gaps:
            return None
        first = min(gap.first for gap, _ in first_gaps)
        missing = sorted({item for gap, item in first_gaps if gap.first == first}, key=_order)
        missing = missing[:ADDRESSES_PER_QUERY]
        ends = [gap.last for gap, item in first_gaps if item in missing and gap.first == first]
        starts = [gap.first - 1 for gap, _ in first_gaps if gap.first > first]
        return missing, BlockRange(first, min(ends + starts))

    def _fetch_range(
        self,
        view: _View,
        filters: Sequence[Filter],
        gap: BlockRange,
        *,
        entry: int,
        known: Sequence[Header],
    ) -> Ingested:
        query = _query(filters)
        asked = self._window.take(gap.first, gap.last)
        try:
            answer = self._source.logs(query, asked)
        except SourceError as refusal:
            self._window = self._window.refused(asked, refusal)  # raises where one block is too much
            if isinstance(refusal, RangeTooLarge):
                return Ingested(view.head.number, view.finalized, refused=asked)
            raise
        logs = check(query, asked, answer)
        self._window = self._window.answered(asked, logs=len(logs))
        anchor = next((header for header in known if header.number >= asked.last), None)
        blocks = self._blocks_of(logs, known={answer.last.number: answer.last}, anchor=anchor)
        try:
            with self._lease.commit() as tx:
                self._unmoved(tx, entry)
                journal = Journal(tx, self._chain)
                appended = journal.append(logs, blocks, [Covered(item, asked) for item in filters])
        except HistoryConflict as conflict:
            return self._resolve(view, conflict, asked, entry=entry)
        return Ingested(
            view.head.number,
            view.finalized,
            fetched=asked,
            appended=appended.log_count if appended else 0,
        )

    def _resolve(self, view: _View, conflict: HistoryConflict, asked: BlockRange, *, entry: int) -> Ingested:
        """A finalised block has another hash than history says: a reorg below finality, unless the
        node's own headers agree with history and only its logs do not."""
        to = self._deep_ancestor(asked.last + 1)
        if to >= asked.last:
            raise conflict
        with self._store.read() as tx:
            above = Journal(tx, self._chain).canonical_blocks_below(asked.last + 1, 1)
        if not above or above[0].number <= to:
            raise conflict
        return self._rewind(view, to, entry=entry, known=above)

    # --- the unfinalised part: block by block, by hash ---

    def _holes(
        self, tx: Connection, known: Sequence[Header], finalized: int
    ) -> list[tuple[Header, list[Filter]]]:
        """Known unfinalised blocks that some filter (of a contract added late) has not asked for."""
        coverage = Coverage(tx, self._chain)
        headers = {header.number: header for header in known if header.number > finalized}
        missing: dict[int, list[Filter]] = {}
        for watch in self._watches if headers else ():
            for gap in coverage.gaps(watch, max(headers)):
                for number in range(max(gap.first, min(headers)), gap.last + 1):
                    missing.setdefault(number, []).append(watch.filter)
        return [(headers[number], missing[number]) for number in sorted(missing)][:BLOCKS_PER_STEP]

    def _next_headers(self, view: _View, known: Sequence[Header]) -> list[tuple[Header, list[Filter]]]:
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
        headers = self._headers(numbers)
        if last == view.head.number:
            headers.append(view.head)
        match decide(known, headers):
            case Extend(fresh):
                return [(header, self._filters_at(header.number)) for header in fresh]
            case _:
                raise BlockUnknown(
                    f"The chain moved between the headers {tip + 1} and {last}.",
                    hint="It will be asked again.",
                )

    def _fetch_blocks(
        self,
        view: _View,
        wanted: Sequence[tuple[Header, list[Filter]]],
        *,
        entry: int,
        extend: bool,
    ) -> Ingested:
        def ask(pair: tuple[Header, list[Filter]]) -> list[Log]:
            header, filters = pair
            if not filters:
                return []
            query = _query(filters)
            return check(query, header, self._source.logs(query, header))

        logs = [log for found in self._workers.map(ask, wanted) for log in found]
        headers = [header for header, _ in wanted]
        with self._lease.commit() as tx:
            self._unmoved(tx, entry)
            appended = Journal(tx, self._chain).append(
                logs, {header.number: header for header in headers}, _covered(wanted)
            )
            if extend:
                Tail(tx, self._chain).extend(headers)
        return Ingested(
            view.head.number,
            view.finalized,
            fetched=BlockRange(headers[0].number, headers[-1].number),
            appended=appended.log_count if appended else 0,
        )

    # --- small ---

    def _filters_at(self, number: int) -> list[Filter]:
        wanted = {
            watch.filter
            for watch in self._watches
            if watch.first_block <= number and (watch.last_block is None or number <= watch.last_block)
        }
        return sorted(wanted, key=_order)

    def _blocks_of(
        self, logs: Sequence[Log], known: dict[int, Header], *, anchor: Header | None
    ) -> dict[int, Header]:
        """The headers of these logs, of a chain on which the `anchor` above them still stands: else they
        would be of one branch and what is stored beside them of another, and no later look would tell."""
        numbers = list(dict.fromkeys(log.block_number for log in logs))
        wanted = numbers if anchor is None else [*numbers, anchor.number]
        missing = [number for number in dict.fromkeys(wanted) if number not in known]
        headers = self._source.headers(missing) if missing else []
        blocks = known | {header.number: header for header in headers if header is not None}
        if anchor is not None:
            above = blocks.get(anchor.number)
            if above is None or above.hash != anchor.hash:
                raise BlockUnknown(
                    f"Block {anchor.number} is no longer the one that was final: the chain moved below it.",
                    hint="It will be asked again.",
                )
        check_headers(numbers, [blocks.get(number) for number in numbers], logs)
        return blocks

    def _header(self, number: int) -> Header:
        return self._headers(range(number, number + 1))[0]

    def _headers(self, numbers: range) -> list[Header]:
        found = []
        for number, header in zip(numbers, self._source.headers(list(numbers)), strict=True):
            if header is None:
                raise BlockUnknown(
                    f"The node does not give block {number}, though it shows a head above it.",
                    hint="It lags or is several nodes; it will be asked again.",
                )
            if header.number != number:
                raise AnswerRefused(f"Asked for block {number}, the node gave {header.number}.")
            found.append(header)
        return found

    def _unmoved(self, tx: Connection, entry: int) -> None:
        """Compares the cursor: what was read before this transaction must still be the newest entry."""
        if Journal(tx, self._chain).head() != entry:
            raise Fenced("The journal moved under this step; nothing was written.")

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


def _order(item: Filter) -> tuple[bytes, bytes]:
    return item.address, item.topic0 or b""


def _query(filters: Sequence[Filter]) -> Query:
    topics = {item.topic0 for item in filters}
    return Query(
        tuple(sorted({item.address for item in filters})),
        () if None in topics else tuple(sorted(topic for topic in topics if topic is not None)),
    )


def _covered(wanted: Sequence[tuple[Header, list[Filter]]]) -> list[Covered]:
    """One range per filter and run of blocks, so that a step of 32 blocks writes few rows."""
    runs: dict[Filter, list[BlockRange]] = {}
    for header, filters in wanted:
        for item in filters:
            ranges = runs.setdefault(item, [])
            if ranges and ranges[-1].last == header.number - 1:
                ranges[-1] = BlockRange(ranges[-1].first, header.number)
            else:
                ranges.append(BlockRange(header.number, header.number))
    return [Covered(item, part) for item, ranges in runs.items() for part in ranges]
