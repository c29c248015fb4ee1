"""The blocks that were fetched, by filter. A gap is what is missing; no row marks one.

Law: a range is covered only by the transaction that stores its logs (`Journal.append`), and an orphaning
voids coverage from its first block on, for every filter (`Journal.orphan`). Both call this file.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct
from sqlalchemy import Connection

from eventstore.records import BlockRange, Filter, Watch
from eventstore.storage.legal import MOST
from eventstore.storage.sql import text


class Covered(Struct, frozen=True, gc=False):
    """A range of one filter that a transaction is about to cover, and how well it was checked."""

    filter: Filter
    range: BlockRange
    checked: str = "linked"


class Coverage:
    """The coverage of one chain, seen within the caller's transaction or snapshot."""

    def __init__(self, tx: Connection, chain_id: int) -> None:
        self._tx = tx
        self._chain = chain_id

    def ranges(self, wanted: Filter) -> list[BlockRange]:
        """What is covered of a filter, ascending, touching ranges joined.

        A filter with a topic0 is covered by its own ranges and by those of all topics of its address.
        """
        rows = self._tx.execute(
            text(
                "SELECT first_block, last_block FROM coverage WHERE chain_id = :chain "
                "AND address = :address AND topic0 IN (:every, :topic0) ORDER BY first_block"
            ),
            {
                "chain": self._chain,
                "address": wanted.address,
                "every": b"",
                "topic0": wanted.topic0 or b"",
            },
        )
        return joined(BlockRange(first, last) for first, last in rows)

    def through(self, watch: Watch) -> int:
        """The last block before the first gap of `watch`; one below its first block if all is gap."""
        for covered in self.ranges(watch.filter):
            if covered.first <= watch.first_block <= covered.last:
                return covered.last
        return watch.first_block - 1

    def gaps(self, watch: Watch, last: int) -> list[BlockRange]:
        """What is missing of `watch` up to block `last`, ascending."""
        if watch.last_block is not None:
            last = min(last, watch.last_block)
        missing, at = [], watch.first_block
        for covered in self.ranges(watch.filter):
            if covered.first > last:
                break
            if covered.first > at:
                missing.append(BlockRange(at, covered.first - 1))
            at = max(at, covered.last + 1)
        if at <= last:
            missing.append(BlockRange(at, last))
        return missing

    def add(self, covered: Covered, *, entry: int) -> None:
        """Marks a range as covered, joined with the ranges of the same filter that it touches."""
        key = {
            "chain": self._chain,
            "address": covered.filter.address,
            "topic0": covered.filter.topic0 or b"",
            "checked": covered.checked,
            "first": covered.range.first,
            "last": covered.range.last,
            "above": min(covered.range.last + 1, MOST),
        }
        touching = (
            "FROM coverage WHERE chain_id = :chain AND address = :address AND topic0 = :topic0 "
            "AND first_block <= :above AND last_block >= :first - 1"
        )
        rows = self._tx.execute(
            text(f"SELECT first_block, last_block {touching}"),
            key,
        ).all()
        self._tx.execute(text(f"DELETE {touching}"), key)
        self._tx.execute(
            text("INSERT INTO coverage VALUES (:chain, :address, :topic0, :low, :high, :entry, :checked)"),
            {
                **key,
                "low": min([covered.range.first, *(first for first, _ in rows)]),
                "high": max([covered.range.last, *(last for _, last in rows)]),
                "entry": entry,
            },
        )

    def void_from(self, block: int) -> None:
        """Nothing is covered from `block` on, for any filter."""
        key = {"chain": self._chain, "block": block}
        self._tx.execute(text("DELETE FROM coverage WHERE chain_id = :chain AND first_block >= :block"), key)
        self._tx.execute(
            text(
                "UPDATE coverage SET last_block = :block - 1 WHERE chain_id = :chain AND last_block >= :block"
            ),
            key,
        )


def joined(ranges: Iterable[BlockRange]) -> list[BlockRange]:
    """`ranges`, which ascend, with those that touch or overlap as one."""
    joined: list[BlockRange] = []
    for item in ranges:
        if joined and item.first <= joined[-1].last + 1:
            joined[-1] = BlockRange(joined[-1].first, max(joined[-1].last, item.last))
        else:
            joined.append(item)
    return joined
