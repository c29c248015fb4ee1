"""Up to where the history of a chain is proven, over all that is watched."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from eventstore.coverage import joined
from eventstore.legal import MOST
from eventstore.proof.ledger import Ledger
from eventstore.records import BlockRange, Watch, clipped


def proven(tx: Connection, chain_id: int, watches: Sequence[Watch]) -> list[BlockRange]:
    """The blocks that are proven for every watch that wants them, ascending, without touching ranges.

    A block that no watch wants counts as proven where it lies between others that are.
    """
    if not watches:
        return []
    lowest = min(watch.first_block for watch in watches)
    ends = [watch.last_block for watch in watches]
    highest = None if None in ends else max(end for end in ends if end is not None)
    ledger = Ledger(tx, chain_id)
    standing: list[BlockRange] | None = None
    for watch in watches:
        ranges = joined(item.range for item in ledger.proven(watch.filter))
        clips = [clipped(item, first=watch.first_block, last=watch.last_block) for item in ranges]
        ranges = [item for item in clips if item is not None]
        if watch.first_block > lowest:
            ranges = joined(_sorted([BlockRange(lowest, watch.first_block - 1), *ranges]))
        if watch.last_block is not None and watch.last_block < MOST:
            ranges = joined(_sorted([*ranges, BlockRange(watch.last_block + 1, MOST)]))
        standing = ranges if standing is None else _both(standing, ranges)
    clips = [clipped(item, first=lowest, last=highest) for item in standing or []]
    return [item for item in clips if item is not None]


def _sorted(ranges: list[BlockRange]) -> list[BlockRange]:
    return sorted(ranges, key=lambda item: item.first)


def _both(left: Sequence[BlockRange], right: Sequence[BlockRange]) -> list[BlockRange]:
    """The blocks that are in a range of both."""
    clips = (clipped(a, first=b.first, last=b.last) for a in left for b in right)
    return _sorted([item for item in clips if item is not None])
