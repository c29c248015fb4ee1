"""Blocks of the tail, asked for by their hash, several at once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor

from eventstore.errors import SourceError
from eventstore.ingest.plan import BlockRequest, apart, only
from eventstore.ingest.ranges import query_of
from eventstore.records import CheckedLogs
from eventstore.sources import Source
from eventstore.sources.checks import check, merged


def read_blocks(
    source: Source, workers: Executor, wanted: Sequence[BlockRequest]
) -> tuple[Sequence[BlockRequest], CheckedLogs]:
    """The logs of these blocks, checked, and which blocks they are of: those before the first that failed, so
    that a source which often fails is not asked for the same ones again. Raises where the first did."""

    def ask(item: BlockRequest) -> list[CheckedLogs]:
        found = []
        for filters in apart(item.filters):
            query = query_of(filters)
            found.append(only(filters, check(query, item.header, source.logs(query, item.header)).logs))
        return found

    logs: list[CheckedLogs] = []
    for place, found in enumerate([workers.submit(ask, item) for item in wanted]):
        try:
            logs += found.result()
        except SourceError:
            if place == 0:
                raise
            return wanted[:place], merged(logs)
    return wanted, merged(logs)
