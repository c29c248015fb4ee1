"""The blocks that come next above the known end of the chain, which is not final yet."""

from __future__ import annotations

from collections.abc import Sequence

from eventstore.errors import BlockUnknown, Unreadable
from eventstore.ingest.branch import View
from eventstore.ingest.head import HeadTracker
from eventstore.ingest.plan import BlockRequest, filters_at
from eventstore.ingest.reorg import Extend, decide
from eventstore.records import Header, Watch

BLOCKS_PER_STEP = 32
"""How many unfinalised blocks one step asks for and commits together."""


def next_blocks(
    tracker: HeadTracker, view: View, known: Sequence[Header], watches: Sequence[Watch]
) -> list[BlockRequest]:
    """The blocks right above the known end, `BLOCKS_PER_STEP` at most, with the filters that want them.

    At the head the list is empty. Raises `BlockUnknown` where the chain moved while its headers were read.
    """
    if known:
        tip = known[-1].number
    else:
        tip = (
            view.finalized
            if view.finalized >= 0
            else min((watch.first_block for watch in watches), default=0) - 1
        )
    if tip >= view.head.number:
        return []
    last = min(view.head.number, tip + BLOCKS_PER_STEP)
    numbers = range(tip + 1, last + (view.head.number > last))
    headers = _headers_below(tracker, numbers)
    if last == view.head.number and len(headers) == len(numbers):
        headers.append(view.head)
    match decide(known, headers):
        case Extend(fresh):
            return [BlockRequest(header, filters_at(watches, header.number)) for header in fresh]
        case _:
            raise BlockUnknown(
                f"The chain moved between the headers {tip + 1} and {last}.",
                hint="It will be asked again.",
            )


def _headers_below(tracker: HeadTracker, numbers: range) -> list[Header]:
    """The headers of these blocks, or of the first of them, up to one that cannot be taken."""
    while True:
        try:
            return tracker.headers(numbers)
        except Unreadable:
            if len(numbers) == 1:
                raise
            numbers = numbers[: len(numbers) // 2]
