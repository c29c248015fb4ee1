"""What is to be fetched next: the lowest gap, blocks that some filter has not seen, and who wants a block."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from eventstore.ingest.failed_ranges import FailedRange, outside
from eventstore.ingest.ranges import order
from eventstore.journal.coverage import Coverage, Covered
from eventstore.records import BlockRange, CheckedLogs, Filter, Header, Log, Watch
from eventstore.sources.checks import those

FILTERS_PER_QUERY = 500
"""Nodes refuse longer lists of addresses or topics (1,000 to 5,000 by provider); the rest is asked apart."""


class Gap(Struct, frozen=True):
    """Blocks that all of these filters miss."""

    filters: list[Filter]
    range: BlockRange


class BlockRequest(Struct, frozen=True):
    """A block of the tail, and the filters that have not seen it."""

    header: Header
    filters: list[Filter]


def lowest_gap(
    coverage: Coverage, watches: Sequence[Watch], last: int, failed: Sequence[FailedRange]
) -> Gap | None:
    """The lowest range up to `last` that some filters miss, outside of what failed."""
    first_gaps = [
        (part, watch.filter)
        for watch in watches
        if (part := _first(coverage.gaps(watch, last), failed)) is not None
    ]
    if not first_gaps:
        return None
    first = min(part.first for part, _ in first_gaps)
    missing = sorted({item for part, item in first_gaps if part.first == first}, key=order)
    missing = missing[:FILTERS_PER_QUERY]
    ends = [part.last for part, item in first_gaps if item in missing and part.first == first]
    starts = [part.first - 1 for part, _ in first_gaps if part.first > first]
    return Gap(missing, BlockRange(first, min(ends + starts)))


def missing_in(coverage: Coverage, watches: Sequence[Watch], part: BlockRange) -> Gap | None:
    """What of `part` is still missed, from the first block that any filter misses; None where nothing is."""
    found = [
        (max(gap.first, part.first), watch.filter)
        for watch in watches
        for gap in coverage.gaps(watch, part.last)
        if gap.last >= part.first
    ]
    if not found:
        return None
    filters = sorted({item for _, item in found}, key=order)[:FILTERS_PER_QUERY]
    return Gap(filters, BlockRange(min(first for first, _ in found), part.last))


def holes(
    coverage: Coverage, watches: Sequence[Watch], known: Sequence[Header], *, above: int, limit: int
) -> list[BlockRequest]:
    """Known blocks above finality that some filter (of a contract added late) has not asked for; `known`
    may have holes."""
    headers = {header.number: header for header in known if header.number > above}
    missing: dict[int, list[Filter]] = {}
    for watch in watches if headers else ():
        for gap in coverage.gaps(watch, max(headers)):
            for number in range(max(gap.first, min(headers)), gap.last + 1):
                if number in headers:
                    missing.setdefault(number, []).append(watch.filter)
    return [BlockRequest(headers[number], missing[number]) for number in sorted(missing)][:limit]


def filters_at(watches: Sequence[Watch], number: int) -> list[Filter]:
    """The filters that want this block."""
    wanted = {
        watch.filter
        for watch in watches
        if watch.first_block <= number and (watch.last_block is None or number <= watch.last_block)
    }
    return sorted(wanted, key=order)


def only(filters: Sequence[Filter], logs: CheckedLogs) -> CheckedLogs:
    """Those of `logs` that a filter asked for: one question for several filters brings more than they want,
    and no coverage, proof or repair would look after the rest."""
    if all(item.topic0 is None for item in filters):
        return logs
    asked = set(filters)
    return those(
        logs,
        lambda log: (
            Filter(log.address) in asked or (log.topics and Filter(log.address, log.topics[0]) in asked)
        ),
    )


def apart(filters: Sequence[Filter]) -> list[list[Filter]]:
    """Filters in groups that one question each may carry."""
    ordered = sorted(set(filters), key=order)
    return [ordered[at : at + FILTERS_PER_QUERY] for at in range(0, len(ordered), FILTERS_PER_QUERY)]


def wants(watches: Sequence[Watch], log: Log) -> bool:
    """Does any of these want this log?"""
    return any(
        watch.filter.matches(log)
        and watch.first_block <= log.block_number
        and (watch.last_block is None or log.block_number <= watch.last_block)
        for watch in watches
    )


def covered_by(blocks: Sequence[BlockRequest]) -> list[Covered]:
    """One range per filter and run of blocks, so that a step of 32 blocks writes few rows."""
    runs: dict[Filter, list[BlockRange]] = {}
    for wanted in blocks:
        for item in wanted.filters:
            number, ranges = wanted.header.number, runs.setdefault(item, [])
            if ranges and ranges[-1].last == number - 1:
                ranges[-1] = BlockRange(ranges[-1].first, number)
            else:
                ranges.append(BlockRange(number, number))
    return [Covered(item, part) for item, ranges in runs.items() for part in ranges]


def _first(gaps: Sequence[BlockRange], failed: Sequence[FailedRange]) -> BlockRange | None:
    return next((part for gap in gaps if (part := outside(gap, failed)) is not None), None)
