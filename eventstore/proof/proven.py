"""Up to where the history of a chain is proven, over all that is watched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection

from eventstore.journal.coverage import Coverage, joined
from eventstore.journal.proofs import Ledger
from eventstore.journal.tail import Tail
from eventstore.records import NO_END, BlockRange, Watch, clipped


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
        if watch.last_block is not None and watch.last_block < NO_END:
            ranges = joined(_sorted([*ranges, BlockRange(watch.last_block + 1, NO_END)]))
        standing = ranges if standing is None else _both(standing, ranges)
    clips = [clipped(item, first=lowest, last=highest) for item in standing or []]
    return [item for item in clips if item is not None]


def unproven(
    tx: Connection, chain_id: int, watches: Sequence[Watch], *, within: BlockRange
) -> list[BlockRange]:
    """The blocks of `within` that are final and fetched for some watch and not proven for it, ascending."""
    ledger, coverage = Ledger(tx, chain_id), Coverage(tx, chain_id)
    found: list[BlockRange] = []
    for watch, part in _final(tx, chain_id, watches, within):
        done = joined(item.range for item in ledger.proven(watch.filter))
        for covered in coverage.ranges(watch.filter):
            fetched = clipped(covered, first=part.first, last=part.last)
            found += [] if fetched is None else without(fetched, done)
    return joined(_sorted(found))


def unfetched(
    tx: Connection, chain_id: int, watches: Sequence[Watch], *, within: BlockRange
) -> list[BlockRange]:
    """The blocks of `within` that are final and that some watch wants and lacks, ascending."""
    coverage = Coverage(tx, chain_id)
    found: list[BlockRange] = []
    for watch, part in _final(tx, chain_id, watches, within):
        found += without(part, coverage.ranges(watch.filter))
    return joined(_sorted(found))


def _final(
    tx: Connection, chain_id: int, watches: Sequence[Watch], within: BlockRange
) -> Iterator[tuple[Watch, BlockRange]]:
    """What is final of each watch within some blocks."""
    final = Tail(tx, chain_id).finalized()
    for watch in watches:
        last = min(item for item in (final, within.last, watch.last_block) if item is not None)
        part = clipped(within, first=watch.first_block, last=last)
        if part is not None:
            yield watch, part


def without(whole: BlockRange, parts: Sequence[BlockRange]) -> list[BlockRange]:
    """What of `whole` is in none of `parts`, which ascend by their first block."""
    found, at = [], whole.first
    for part in parts:
        if part.last < at:
            continue
        if part.first > whole.last:
            break
        if part.first > at:
            found.append(BlockRange(at, part.first - 1))
        at = max(at, part.last + 1)
    if at <= whole.last:
        found.append(BlockRange(at, whole.last))
    return found


def _sorted(ranges: list[BlockRange]) -> list[BlockRange]:
    return sorted(ranges, key=lambda item: item.first)


def _both(left: Sequence[BlockRange], right: Sequence[BlockRange]) -> list[BlockRange]:
    """The blocks that are in a range of both."""
    clips = (clipped(a, first=b.first, last=b.last) for a in left for b in right)
    return _sorted([item for item in clips if item is not None])
