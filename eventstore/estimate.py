"""What a sync would ask its node for, before it does: gaps and density, played through without the node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from msgspec import Struct

from eventstore.answer import check
from eventstore.coverage import Coverage
from eventstore.errors import RangeTooLarge
from eventstore.fetch import Window
from eventstore.ranges import order, query_of
from eventstore.records import BlockRange, Watch
from eventstore.sources import Source
from eventstore.store import Store
from eventstore.tail import Tail

SAMPLES = 12
"""How many places of the missing blocks are looked at."""
SAMPLE = 200
"""Blocks asked for at each of them, at most."""

LOOK = Counter({"eth_getBlockByNumber": 2})
"""The head and what is final."""


class Estimate(Struct, frozen=True):
    """What is missing, and the calls by method that fetching it would take.

    `logs` is drawn from samples; `spent` are the calls that the estimate itself took.
    """

    blocks: int
    logs: int
    calls: dict[str, int]
    spent: int

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
    follow_latest: bool = True,
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
    spent = 2
    density, window, used = _sampled(source, watches, parts, window or Window())
    spent += used
    logs = 0.0
    for part in parts:
        at = part.first
        while at <= part.last:
            asked = window.take(at, part.last)
            found = density.logs * len(asked)
            window = window.answered(asked, logs=round(found))
            calls["eth_getLogs"] += 1
            calls["eth_getBlockByNumber"] += 2 + round(density.blocks * len(asked))  # its end, the anchor
            logs += found
            at = asked.last + 1
    fresh = max(0, head.number - max(tip, last, 0)) if follow_latest else 0
    calls += Counter(
        {"eth_getBlockByNumber": fresh, "eth_getBlockByHash": fresh, "eth_getLogs": fresh if watches else 0}
    )
    return Estimate(
        blocks=sum(len(part) for part in parts) + fresh,
        logs=round(logs + density.logs * fresh),
        calls={method: count for method, count in sorted(calls.items()) if count},
        spent=spent,
    )


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
) -> tuple[_Density, Window, int]:
    """The density in evenly spread samples, the window as the node's own cap leaves it, the calls spent."""
    total = sum(len(part) for part in parts)
    if not total:
        return _Density(0, 0), window, 0
    query = query_of(sorted({watch.filter for watch in watches}, key=order))
    spent = blocks = logs = holding = 0
    for number in range(SAMPLES):
        place = _at(parts, total * number // SAMPLES)
        part = next(item for item in parts if item.first <= place <= item.last)
        while True:
            asked = BlockRange(place, min(part.last, place + min(SAMPLE, window.size) - 1))
            spent += 2
            try:
                answer = source.logs(query, asked)
            except RangeTooLarge as error:
                window = window.refused(asked, error)
                continue
            break
        found = check(query, asked, answer)
        blocks += len(asked)
        logs += len(found)
        holding += len({log.block_number for log in found})
    return _Density(logs / blocks, holding / blocks), window, spent


def _at(parts: Sequence[BlockRange], place: int) -> int:
    """The block at this place of all parts in a row."""
    for part in parts:
        if place < len(part):
            return part.first + place
        place -= len(part)
    return parts[-1].last
