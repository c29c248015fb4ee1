"""Ranges that a source would not give: written down, asked for again with growing patience.

Law: a failed range is a gap like any other. It only waits its turn, so that it holds up no other range;
only the transaction that covers it takes it off the list.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from sqlalchemy import Connection

from eventstore import clock
from eventstore.backoff import Backoff
from eventstore.records import BlockRange
from eventstore.storage.legible import legible
from eventstore.storage.sql import text

BACKOFF = Backoff(10.0, 3_600.0)
"""Seconds before a failed range is asked for again: doubled at each attempt, up to an hour."""


class FailedRange(Struct, frozen=True):
    """A range that could not be fetched `attempts` times. Times are microseconds since 1970."""

    range: BlockRange
    attempts: int
    since: int
    retry_at: int
    reason: str

    def probe(self) -> BlockRange:
        """What to ask for next: ever narrower parts, of the end and of the beginning in turn.

        The end of a pruned range comes back first; one bad block in the middle is cut out from both sides.
        """
        width = max(1, len(self.range) >> self.attempts)
        if self.attempts % 2:
            return BlockRange(self.range.last - width + 1, self.range.last)
        return BlockRange(self.range.first, self.range.first + width - 1)


class FailedRanges:
    """The failed ranges of one chain, within the caller's transaction or snapshot. They are disjoint."""

    def __init__(self, tx: Connection, chain_id: int) -> None:
        self._tx = tx
        self._chain = chain_id

    def all(self) -> list[FailedRange]:
        """Ascending by block."""
        rows = self._tx.execute(
            text(
                "SELECT first_block, last_block, attempts, since, retry_at, reason FROM failures "
                "WHERE chain_id = :chain ORDER BY first_block"
            ),
            {"chain": self._chain},
        )
        return [FailedRange(BlockRange(first, last), *rest) for first, last, *rest in rows]

    def add(self, failed: BlockRange, reason: str) -> None:
        """Writes a range down; within or beside one that is there, it counts as an attempt of that one."""
        now = clock.now()
        touching = [
            item
            for item in self.all()
            if item.range.first <= failed.last + 1 and item.range.last >= failed.first - 1
        ]
        repeated = any(item.range.first <= failed.first <= item.range.last for item in touching)
        attempts = max((item.attempts for item in touching), default=1) + repeated
        for item in touching:
            self._delete(item)
        self._insert(
            FailedRange(
                BlockRange(
                    min([failed.first, *(item.range.first for item in touching)]),
                    max([failed.last, *(item.range.last for item in touching)]),
                ),
                attempts,
                min([now, *(item.since for item in touching)]),
                now + int(BACKOFF.seconds(attempts) * 1_000_000),
                reason,
            )
        )

    def forget(self, gone: BlockRange) -> None:
        """Takes these blocks off the list: they are covered now, or no filter wants them any more."""
        for item in self.all():
            if item.range.last < gone.first or item.range.first > gone.last:
                continue
            self._delete(item)
            for first, last in (
                (item.range.first, min(item.range.last, gone.first - 1)),
                (max(item.range.first, gone.last + 1), item.range.last),
            ):
                if first <= last:
                    rest = BlockRange(first, last)
                    self._insert(
                        FailedRange(
                            rest, item.attempts, item.since, min(item.retry_at, clock.now()), item.reason
                        )
                    )

    def hurry(self) -> int:
        """Makes all of them due now, with as many attempts behind them as a new one; how many they are."""
        return self._tx.execute(
            text("UPDATE failures SET retry_at = 0, attempts = 1 WHERE chain_id = :chain"),
            {"chain": self._chain},
        ).rowcount

    def _delete(self, item: FailedRange) -> None:
        self._tx.execute(
            text("DELETE FROM failures WHERE chain_id = :chain AND first_block = :first"),
            {"chain": self._chain, "first": item.range.first},
        )

    def _insert(self, item: FailedRange) -> None:
        self._tx.execute(
            text("INSERT INTO failures VALUES (:chain, :first, :last, :attempts, :since, :at, :reason)"),
            {
                "chain": self._chain,
                "first": item.range.first,
                "last": item.range.last,
                "attempts": item.attempts,
                "since": item.since,
                "at": item.retry_at,
                "reason": legible(item.reason),
            },
        )


def outside(gap: BlockRange, failed: Sequence[FailedRange]) -> BlockRange | None:
    """The lowest part of a gap that holds no failed range; None where all of it failed."""
    first = gap.first
    for item in failed:
        if item.range.first <= first <= item.range.last:
            first = item.range.last + 1
        elif first < item.range.first <= gap.last:
            return BlockRange(first, item.range.first - 1)
    return BlockRange(first, gap.last) if first <= gap.last else None


def due(failed: Sequence[FailedRange]) -> FailedRange | None:
    """The lowest range whose pause is over."""
    now = clock.now()
    return next((item for item in failed if item.retry_at <= now), None)


def waits(failed: Sequence[FailedRange], block: int) -> bool:
    """Is this block of a range whose pause is not over?"""
    now = clock.now()
    return any(item.range.first <= block <= item.range.last and item.retry_at > now for item in failed)
