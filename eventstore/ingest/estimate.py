"""What a sync would ask its node for, before it does: gaps and density, played through without the node."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from itertools import pairwise

from msgspec import Struct
from msgspec.structs import replace

from eventstore.errors import RangeTooLarge
from eventstore.ingest.branch import Follow
from eventstore.ingest.ingestor import IN_FLIGHT
from eventstore.ingest.plan import apart
from eventstore.ingest.ranges import AHEAD, query_of
from eventstore.ingest.window import Window
from eventstore.journal.coverage import Coverage
from eventstore.journal.tail import Tail
from eventstore.journal.waymarks import DENSE
from eventstore.records import BlockRange, Query, Watch
from eventstore.sources import Source
from eventstore.sources.checks import check
from eventstore.storage.store import Store

SAMPLES = 12
"""How many places of the missing blocks are looked at."""
SAMPLE = 2_000
"""Blocks asked for at each of them, at most."""

LOOK = Counter({"eth_getBlockByNumber": 2})
"""The head and what is final."""


class Estimate(Struct, frozen=True):
    """What is missing, and the calls by method that fetching it would take.

    `logs` is drawn from samples. Ranges that are narrowed, or read twice, cost some calls more.
    """

    blocks: int
    logs: int
    calls: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.calls.values())


class _Density(Struct, frozen=True):
    """Of one block, on average."""

    logs: float
    blocks: float  # that hold any


class _Part(Struct, frozen=True):
    """Missing blocks, and the questions in which their filters are asked for."""

    range: BlockRange
    queries: list[Query]


def estimate(
    store: Store,
    source: Source,
    *,
    chain_id: int,
    watches: Sequence[Watch],
    follow: Follow = "latest",
    window: Window | None = None,
) -> Estimate:
    """Looks at the node's head and at a few samples; writes nothing. Errors as the source's."""
    head, final = source.head(), source.finalized()
    with store.read() as tx:
        tail = Tail(tx, chain_id)
        known, finalized = tail.headers(), tail.finalized()
        finalized = max(finalized, -1 if final is None else final.number)
        tip = known[-1].number if known else -1
        last = min(finalized, head.number)
        parts = _parts(Coverage(tx, chain_id), watches, last)
    calls = Counter({"eth_chainId": 1, "eth_getBlockByNumber": 1}) + LOOK + LOOK
    density, window = _sampled(source, parts, window or Window())
    ranges = _ranges(parts, window, density)
    missing = sum(len(part.range) for part in parts)
    questions = len(apart([watch.filter for watch in watches]))
    calls["eth_getLogs"] += ranges
    # of each range its last block and the anchor, and of all the blocks that hold logs
    calls["eth_getBlockByNumber"] += 2 * ranges + round(density.blocks * missing)
    first = min((watch.first_block for watch in watches), default=0)
    below = max(tip, last) if finalized >= 0 or known else first - 1
    fresh = max(0, head.number - below) if follow == "latest" else 0
    if follow == "latest" and last > tip:
        calls["eth_getBlockByNumber"] += min(DENSE, last)  # right below the final block
    calls["eth_getBlockByNumber"] += fresh
    calls["eth_getBlockByHash"] += questions * fresh
    calls["eth_getLogs"] += questions * fresh
    return Estimate(
        blocks=missing + fresh,
        logs=round(density.logs * (missing + fresh)),
        calls={method: count for method, count in sorted(calls.items()) if count},
    )


def _ranges(parts: Sequence[_Part], window: Window, density: _Density) -> int:
    """How many ranges are asked for: as wide as the answers to earlier ones suggest, several ahead."""
    count, ahead = 0, deque[BlockRange]()
    most = 1  # until the first answer is here
    for part in parts:
        at, last = part.range.first, part.range.last
        while ahead or at <= last:
            while at <= last and len(ahead) < most:
                ahead.append(window.take(at, last))
                at = ahead[-1].last + 1
            asked = ahead.popleft()
            found = round(density.logs * len(asked))
            window = window.answered(asked, logs=found)
            most = max(1, min(IN_FLIGHT, AHEAD // max(1, found)))
            count += len(part.queries)
    return count


def _parts(coverage: Coverage, watches: Sequence[Watch], last: int) -> list[_Part]:
    """The missing blocks, cut wherever another filter begins or ends to miss them."""
    gaps = [(gap, watch.filter) for watch in watches for gap in coverage.gaps(watch, last)]
    cuts = sorted({gap.first for gap, _ in gaps} | {gap.last + 1 for gap, _ in gaps})
    parts = []
    for first, after in pairwise(cuts):
        filters = [item for gap, item in gaps if gap.first <= first <= gap.last]
        if filters:
            parts.append(_Part(BlockRange(first, after - 1), [query_of(group) for group in apart(filters)]))
    return parts


def _sampled(source: Source, parts: Sequence[_Part], window: Window) -> tuple[_Density, Window]:
    """The density in evenly spread samples, and the window as the node's own cap leaves it."""
    total = sum(len(part.range) for part in parts)
    blocks = logs = holding = 0
    tried = Window(size=max(1, min(SAMPLE, -(-total // SAMPLES))))
    for number in range(SAMPLES if total else 0):
        part, place = _at(parts, total * number // SAMPLES)
        while True:
            asked = tried.take(place, part.range.last)
            try:
                answers = [check(query, asked, source.logs(query, asked)) for query in part.queries]
            except RangeTooLarge as error:
                tried = tried.refused(asked, error)
                window = replace(window, size=min(window.size, tried.size), cap=tried.size)
                continue
            break
        found = [log for answer in answers for log in answer.logs]
        blocks += len(asked)
        logs += len(found)
        holding += len({log.block_number for log in found})
    return _Density(logs / max(1, blocks), holding / max(1, blocks)), window


def _at(parts: Sequence[_Part], place: int) -> tuple[_Part, int]:
    """The block at this place of all parts in a row, and the part that it is in."""
    for part in parts:
        if place < len(part.range):
            return part, part.range.first + place
        place -= len(part.range)
    return parts[-1], parts[-1].range.last
