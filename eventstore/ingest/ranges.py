"""Finalised ranges: fetched and checked in worker threads, several in flight, handed over in order.

Law: what is handed over was checked whole: its logs, their headers, and that they stand on the chain whose
end is known. What cannot be had is narrowed down to the blocks at fault, and those are named.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from operator import attrgetter

from msgspec import Struct

from eventstore.errors import (
    AnswerRefused,
    BlockUnknown,
    RangeTooLarge,
    SourceError,
    SourceUnavailable,
    Throttled,
    Unreadable,
    WrongChain,
)
from eventstore.ingest.window import Window
from eventstore.records import BlockRange, CheckedLogs, Filter, Header, Query
from eventstore.sources import Source
from eventstore.sources.checks import check, check_headers

TRIES = 3
"""How often what only times out is asked for, once it cannot be narrowed, before it is given up for now."""

AHEAD = 40_000
"""Logs that are read ahead, if the ranges ahead are as full as the last one was; one range always is."""

HEADERS = 1_000
"""How many headers are asked for before they are decoded."""


class Fetched(Struct, frozen=True):
    """A range whose logs are all here, with the headers of the blocks that hold them."""

    asked: BlockRange
    logs: CheckedLogs
    blocks: dict[int, Header]


class Narrowed(Struct, frozen=True):
    """The source would not give so many blocks at once: fewer are asked for next."""

    asked: BlockRange


class Unobtainable(Struct, frozen=True):
    """The source does not give these blocks, however they are asked for."""

    asked: BlockRange
    error: SourceError


class _Flight(Struct):
    asked: BlockRange
    future: Future[Fetched]


class Ranges:
    """Reads ahead of who asks for one range after the other, at most `in_flight` ranges."""

    def __init__(self, source: Source, workers: Executor, *, window: Window, in_flight: int) -> None:
        self.window = window
        self._source = source
        self._workers = workers
        self._most = in_flight
        self._ahead: deque[_Flight] = deque()
        self._query = Query(())
        self._doubted: BlockRange | None = None  # a range that was not believed once: narrowed within
        self._width = 1
        self._lost: BlockRange | None = None  # the blocks given up last
        self._timeouts = 0
        self._full = AHEAD  # logs in the last range; before the first one is here, it may be full

    def forget(self) -> None:
        """Drops what was read ahead: the chain, or who else writes, may have moved on."""
        self._ahead.clear()

    def next(
        self, filters: Sequence[Filter], gap: BlockRange, known: Sequence[Header]
    ) -> Fetched | Narrowed | Unobtainable:
        """The next range from the beginning of `gap`, as wide as the source bears.

        `known` is the tail that the range must stand under. Raises `SourceError` where waiting, or another
        look at the chain's end, may help.
        """
        query = query_of(filters)
        if query != self._query or (self._ahead and self._ahead[0].asked.first != gap.first):
            self._ahead.clear()
        self._query = query
        self._fill(gap, known)
        flight = self._ahead.popleft()
        try:
            fetched = flight.future.result()
        except SourceError as error:
            self._ahead.clear()
            return self._refused(flight.asked, error, known)
        self._answered(fetched)
        if flight.asked.last < gap.last:  # while this one is committed
            self._fill(BlockRange(flight.asked.last + 1, gap.last), known)
        return fetched

    def _fill(self, gap: BlockRange, known: Sequence[Header]) -> None:
        first = self._ahead[-1].asked.last + 1 if self._ahead else gap.first
        most = max(1, min(self._most, AHEAD // max(1, self._full)))
        while first <= gap.last and len(self._ahead) < most:
            asked, sure = self._next_range(first, gap.last)
            self._ahead.append(
                _Flight(asked, self._workers.submit(read, self._source, self._query, asked, known))
            )
            if not sure:
                return
            first = asked.last + 1

    def _next_range(self, first: int, last: int) -> tuple[BlockRange, bool]:
        """The next range, and whether what follows it may be asked for before its answer is here."""
        if self._lost is not None and self._lost.last + 1 == first:
            return BlockRange(first, min(last, first + 2 * len(self._lost) - 1)), False
        if self._is_doubted(first):
            width = min(self._width, self.window.size)
            return BlockRange(first, min(last, first + width - 1)), False
        return self.window.take(first, last), True

    def _answered(self, fetched: Fetched) -> None:
        self._lost, self._timeouts, self._full = None, 0, len(fetched.logs)
        if self._doubted is None:
            self.window = self.window.answered(fetched.asked, logs=len(fetched.logs))
        elif fetched.asked.last >= self._doubted.last:
            self._doubted = None
        else:
            self._width = 2 * len(fetched.asked)

    def _refused(
        self, asked: BlockRange, error: SourceError, known: Sequence[Header]
    ) -> Narrowed | Fetched | Unobtainable:
        """A smaller question, another method, or the name of what cannot be had; raises what may heal.

        Once is chance (a lagging node, a chain that moved): it is raised. Twice is narrowed down to the
        blocks at fault, and from a lost block on the steps grow again: a pruned range is not searched.
        """
        single = len(asked) == 1
        match error:
            case Throttled() | WrongChain():
                raise error
            case RangeTooLarge() if not single:
                self.window = self.window.refused(asked, error)
                self._lost = None
                return Narrowed(asked)
            case RangeTooLarge():
                return self._by_hash(asked, known)
            case SourceUnavailable():
                self.window = self.window.refused(asked, error)
                self._timeouts += single or self._follows_lost(asked)
                if self._timeouts < TRIES:
                    raise error
                return self._by_hash(asked, known) if single else self._give_up(asked, error)
            case Unreadable():  # it says itself that the next attempt will not do
                if single:
                    return self._by_hash(asked, known)
                if not self._is_doubted(asked.first):
                    self._doubted = asked
                self._width, self._lost = len(asked) // 2, None
                return Narrowed(asked)
            case BlockUnknown() | AnswerRefused() if self._follows_lost(asked):
                return self._give_up(asked, error)
            case BlockUnknown() | AnswerRefused() if self._is_doubted(asked.first):
                if single:
                    return self._by_hash(asked, known)
                self._width = len(asked) // 2
                return Narrowed(asked)
            case BlockUnknown() | AnswerRefused():
                self._doubted, self._width = asked, len(asked)
                raise error
            case _:
                raise error

    def _by_hash(self, asked: BlockRange, known: Sequence[Header]) -> Fetched | Unobtainable:
        """One block that is not given by its number may still be given by its hash, or by its receipts."""
        try:
            fetched = read_block(self._source, self._query, asked.first, known)
        except (Throttled, WrongChain):
            raise
        except SourceError as error:
            return self._give_up(asked, error)
        self._answered(fetched)
        return fetched

    def _give_up(self, asked: BlockRange, error: SourceError) -> Unobtainable:
        first = self._lost.first if self._lost is not None and self._follows_lost(asked) else asked.first
        self._lost, self._timeouts = BlockRange(first, asked.last), 0
        if self._doubted is not None and asked.last >= self._doubted.last:
            self._doubted = None
        return Unobtainable(asked, error)

    def _follows_lost(self, asked: BlockRange) -> bool:
        return self._lost is not None and self._lost.last + 1 == asked.first

    def _is_doubted(self, block: int) -> bool:
        return self._doubted is not None and self._doubted.first <= block <= self._doubted.last


def read(source: Source, query: Query, asked: BlockRange, known: Sequence[Header]) -> Fetched:
    """A range with all that proves it: raises `SourceError` where anything is missing or contradicts."""
    answer = check(query, asked, source.logs(query, asked))
    return _whole(source, asked, answer.logs, known={answer.last.number: answer.last}, tail=known)


def read_block(source: Source, query: Query, number: int, known: Sequence[Header]) -> Fetched:
    """The same for one block, asked for by its hash."""
    [header] = source.headers([number])
    if header is None:
        raise BlockUnknown(
            f"The node does not give block {number}.",
            hint="It has pruned it, or lags; another endpoint may have it.",
        )
    logs = check(query, header, source.logs(query, header)).logs
    return _whole(source, BlockRange(number, number), logs, known={number: header}, tail=known)


def _whole(
    source: Source,
    asked: BlockRange,
    logs: CheckedLogs,
    *,
    known: dict[int, Header],
    tail: Sequence[Header],
) -> Fetched:
    """Adds the headers of these logs, of a chain on which the known end above them still stands: else they
    would be of one branch and what is stored beside them of another, and no later look would tell."""
    anchor = next((header for header in tail if header.number >= asked.last), None)
    numbers = list(dict.fromkeys(map(attrgetter("block_number"), logs)))
    wanted = numbers if anchor is None else [*numbers, anchor.number]
    missing = [number for number in dict.fromkeys(wanted) if number not in known]
    blocks = dict(known)
    for start in range(0, len(missing), HEADERS):  # answers in JSON are ten times as large as what is kept
        found = source.headers(missing[start : start + HEADERS])
        blocks |= {header.number: header for header in found if header is not None}
    if anchor is not None:
        above = blocks.get(anchor.number)
        if above is None or above.hash != anchor.hash:
            raise BlockUnknown(
                f"Block {anchor.number} is no longer the block that was final: the chain moved below it.",
                hint="It will be asked again.",
            )
    check_headers(numbers, [blocks.get(number) for number in numbers], logs)
    return Fetched(asked, logs, blocks)


def order(item: Filter) -> tuple[bytes, bytes]:
    """What filters are sorted by, so that the same ones make the same query."""
    return item.address, item.topic0 or b""


def query_of(filters: Sequence[Filter]) -> Query:
    """One question for several filters; it may be answered with more than they want."""
    topics = {item.topic0 for item in filters}
    return Query(
        tuple(sorted({item.address for item in filters})),
        () if None in topics else tuple(sorted(topic for topic in topics if topic is not None)),
    )
