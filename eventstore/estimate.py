"""What a sync would ask its node for, before it does: gaps and density, played through without the node."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from itertools import pairwise

from msgspec import Struct
from msgspec.structs import replace

from eventstore.answer import check
from eventstore.branch import Follow
from eventstore.coverage import Coverage
from eventstore.errors import RangeTooLarge
from eventstore.fetch import Window
from eventstore.ingest import IN_FLIGHT
from eventstore.ranges import order, query_of
from eventstore.records import BlockRange, Watch
from eventstore.sources import Source
from eventstore.store import Store
from eventstore.tail import Tail

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
    density, window = _sampled(source, watches, parts, window or Window())
    ranges = [asked for part in parts for asked in _asked(part, window, density)]
    missing = sum(len(part) for part in parts)
    calls["eth_getLogs"] += len(ranges)
    # of each range its last block and the anchor, and of all the blocks that hold logs
    calls["eth_getBlockByNumber"] += 2 * len(ranges) + round(density.blocks * missing)
    first = min((watch.first_block for watch in watches), default=0)
    below = max(tip, last) if finalized >= 0 or known else first - 1
    fresh = max(0, head.number - below) if follow == "latest" else 0
    calls += Counter({"eth_getBlockByNumber": fresh, "eth_getBlockByHash": fresh, "eth_getLogs": fresh})
    return Estimate(
        blocks=missing + fresh,
        logs=round(density.logs * (missing + fresh)),
        calls={method: count for method, count in sorted(calls.items()) if count},
    )


def _asked(part: BlockRange, window: Window, density: _Density) -> Iterator[BlockRange]:
    """The ranges that a missing part is asked for in: as wide as the answers to earlier ones suggest."""
    ahead: deque[BlockRange] = deque()
    at = part.first
    while ahead or at <= part.last:
        while at <= part.last and len(ahead) < IN_FLIGHT:
            ahead.append(window.take(at, part.last))
            at = ahead[-1].last + 1
        asked = ahead.popleft()
        window = window.answered(asked, logs=round(density.logs * len(asked)))
        yield asked


def _parts(coverage: Coverage, watches: Sequence[Watch], last: int) -> list[BlockRange]:
    """The missing blocks, cut wherever another filter begins or ends to miss them."""
    gaps = [gap for watch in watches for gap in coverage.gaps(watch, last)]
    cuts = sorted({gap.first for gap in gaps} | {gap.last + 1 for gap in gaps})
    return [
        BlockRange(first, after - 1)
        for first, after in pairwise(cuts)
        if any(gap.first <= first <= gap.last for gap in gaps)
    ]


def _sampled(
    source: Source, watches: Sequence[Watch], parts: Sequence[BlockRange], window: Window
) -> tuple[_Density, Window]:
    """The density in evenly spread samples, and the window as the node's own cap leaves it."""
    total = sum(len(part) for part in parts)
    if not total:
        return _Density(0, 0), window
    query = query_of(sorted({watch.filter for watch in watches}, key=order))
    blocks = logs = holding = 0
    tried = Window(size=min(SAMPLE, -(-total // SAMPLES)))
    for number in range(SAMPLES):
        place = _at(parts, total * number // SAMPLES)
        part = next(item for item in parts if item.first <= place <= item.last)
        while True:
            asked = tried.take(place, part.last)
            try:
                answer = source.logs(query, asked)
            except RangeTooLarge as error:
                tried = tried.refused(asked, error)
                window = replace(window, size=min(window.size, tried.size), cap=tried.size)
                continue
            break
        found = check(query, asked, answer)
        blocks += len(asked)
        logs += len(found)
        holding += len({log.block_number for log in found})
    return _Density(logs / blocks, holding / blocks), window


def _at(parts: Sequence[BlockRange], place: int) -> int:
    """The block at this place of all parts in a row."""
    for part in parts:
        if place < len(part):
            return part.first + place
        place -= len(part)
    return parts[-1].last
