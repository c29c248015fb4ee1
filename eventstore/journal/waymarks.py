"""Headers of final blocks, kept to compare with a chain whose head moved back below them.

Law: each is an ancestor of the newest final block, as parent hashes showed when it was kept. The journal
knows only blocks that hold logs; without these a shorter branch that holds none of ours looks like
a node that lags.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from eventstore.records import Header
from eventstore.storage.sql import text

DENSE = 64
"""So many blocks right below the final one are all kept; below them about as many in each doubling of the
distance."""

MOST = 2_500
"""Rows after which they are thinned; fewer than 1,200 stay."""

_COLUMNS = "number, hash, parent_hash, timestamp"


class Waymarks:
    """The waymarks of one chain, within the caller's transaction or snapshot."""

    def __init__(self, tx: Connection, chain_id: int) -> None:
        self._tx = tx
        self._chain = chain_id

    def below(self, block: int, limit: int) -> list[Header]:
        """The `limit` newest of them below `block`, descending."""
        rows = self._tx.execute(
            text(
                f"SELECT {_COLUMNS} FROM waymarks WHERE chain_id = :chain AND number < :block "
                "ORDER BY number DESC LIMIT :limit"
            ),
            {"chain": self._chain, "block": block, "limit": limit},
        )
        return [Header(*row) for row in rows]

    def missing(self, final: int) -> range:
        """The blocks right below `final`, up to it, that should be kept and are not; empty where all are."""
        first = max(0, final - DENSE)
        at = final - 1
        for header in self.below(final, DENSE):
            if header.number != at:
                break
            at -= 1
        return range(first, final) if at >= first else range(0)

    def add(self, headers: Sequence[Header]) -> None:
        """Keeps these; the caller has checked that they are ancestors of the final block."""
        for header in headers:
            self._tx.execute(
                text(
                    "INSERT INTO waymarks VALUES (:chain, :number, :hash, :parent, :timestamp) "
                    "ON CONFLICT (chain_id, number) DO UPDATE SET hash = excluded.hash, "
                    "parent_hash = excluded.parent_hash, timestamp = excluded.timestamp"
                ),
                {
                    "chain": self._chain,
                    "number": header.number,
                    "hash": header.hash,
                    "parent": header.parent_hash,
                    "timestamp": header.timestamp,
                },
            )
        self._thin()

    def cut_above(self, block: int) -> None:
        """Forgets every one above `block`."""
        self._tx.execute(
            text("DELETE FROM waymarks WHERE chain_id = :chain AND number > :block"),
            {"chain": self._chain, "block": block},
        )

    def _thin(self) -> None:
        numbers = [
            int(number)
            for (number,) in self._tx.execute(
                text("SELECT number FROM waymarks WHERE chain_id = :chain ORDER BY number DESC"),
                {"chain": self._chain},
            )
        ]
        if len(numbers) <= MOST:
            return
        kept = thinned(numbers)
        for number in numbers:
            if number not in kept:
                self._tx.execute(
                    text("DELETE FROM waymarks WHERE chain_id = :chain AND number = :number"),
                    {"chain": self._chain, "number": number},
                )


def thinned(numbers: Sequence[int]) -> set[int]:
    """Those of these block numbers, descending, that stay: all within `DENSE` of the first, and below them
    one of each part of a doubling of the distance."""
    kept: dict[tuple[int, int], int] = {}
    for number in numbers:
        distance = numbers[0] - number
        width = 1 << max(0, distance.bit_length() - DENSE.bit_length())
        kept.setdefault((width, number // width), number)
    return set(kept.values())
