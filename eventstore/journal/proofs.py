"""What was proved, written down: by filter the proven blocks, hashes to go on from, blocks that failed.

Law: a proof speaks of what the journal holds. What is orphaned or appended later takes the proof of those
blocks with it, in its own transaction: `Journal` calls `void_from` and `void`.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from typing import Literal

from msgspec import Struct
from sqlalchemy import Connection

from eventstore import clock
from eventstore.records import NO_END, BlockRange, Filter
from eventstore.storage.legal import MOST
from eventstore.storage.legible import legible
from eventstore.storage.sql import text

_MARK = -1
"""No block: the anchor of this number is the mark that changes with every branch that is left."""


class Anchor(Struct, frozen=True, gc=False):
    """A block whose hash (32 bytes) recomputed headers link to a final one."""

    number: int
    hash: bytes


class ProvenRange(Struct, frozen=True):
    """Blocks of one filter that are proven, and what proved them; `proved_at` in microseconds since 1970."""

    filter: Filter
    range: BlockRange
    by_bloom: int
    by_receipts: int
    provider: str
    proved_at: int


class Disproof(Struct, frozen=True):
    """A block where the journal is `wrong`, or that is `unproven`: the reason, and when it was seen. One
    that is `unlinked` is unproven with all below it: its header does not come out."""

    number: int
    hash: bytes
    kind: Literal["wrong", "unproven", "unlinked"]
    reason: str
    provider: str
    found_at: int = 0


class Ledger:
    """The proofs of one chain, within the caller's transaction or snapshot."""

    def __init__(self, tx: Connection, chain_id: int) -> None:
        self._tx = tx
        self._chain = chain_id

    # --- reading ---

    def proven(self, wanted: Filter) -> list[ProvenRange]:
        """Ascending; those of all topics of an address prove each of its topics."""
        rows = self._tx.execute(
            text(
                "SELECT address, topic0, first_block, last_block, by_bloom, by_receipts, provider, proved_at "
                "FROM proofs WHERE chain_id = :chain AND address = :address AND topic0 IN (:every, :topic0) "
                "ORDER BY first_block"
            ),
            {
                "chain": self._chain,
                "address": wanted.address,
                "every": b"",
                "topic0": wanted.topic0 or b"",
            },
        )
        return [
            ProvenRange(Filter(address, topic0 or None), BlockRange(first, last), *rest)
            for address, topic0, first, last, *rest in rows
        ]

    def anchor_above(self, block: int) -> Anchor | None:
        """The lowest anchor that is not below `block`."""
        row = self._tx.execute(
            text(
                "SELECT number, hash FROM anchors WHERE chain_id = :chain AND number >= :block "
                "ORDER BY number LIMIT 1"
            ),
            {"chain": self._chain, "block": block},
        ).first()
        return None if row is None else Anchor(row.number, row.hash)

    def disproofs(self) -> list[Disproof]:
        """Every block that failed and was neither proven nor orphaned since, ascending."""
        rows = self._tx.execute(
            text(
                "SELECT number, hash, kind, reason, provider, found_at FROM disproofs "
                "WHERE chain_id = :chain ORDER BY number"
            ),
            {"chain": self._chain},
        )
        return [Disproof(*row) for row in rows]

    def mark(self) -> bytes:
        """Another one whenever blocks left the chain: a proof that was begun before speaks of another branch.

        It is needed because a branch without logs leaves it without an entry in the journal.
        """
        found = self._tx.execute(
            text("SELECT hash FROM anchors WHERE chain_id = :chain AND number = :mark"),
            {"chain": self._chain, "mark": _MARK},
        ).scalar()
        return b"" if found is None else bytes(found)

    # --- writing ---

    def add(self, wanted: Filter, proven: BlockRange, *, by_receipts: int, provider: str) -> None:
        """Marks a range, which was not proven yet, as proven; it joins the ranges that it touches."""
        key = {
            "chain": self._chain,
            "address": wanted.address,
            "topic0": wanted.topic0 or b"",
            "first": proven.first,
            "last": proven.last,
            "above": min(proven.last + 1, MOST),
        }
        touching = (
            "FROM proofs WHERE chain_id = :chain AND address = :address AND topic0 = :topic0 "
            "AND first_block <= :above AND last_block >= :first - 1"
        )
        rows = self._tx.execute(
            text(f"SELECT first_block, last_block, by_bloom, by_receipts {touching}"), key
        ).all()
        self._tx.execute(text(f"DELETE {touching}"), key)
        self._tx.execute(
            text(
                "INSERT INTO proofs VALUES (:chain, :address, :topic0, :low, :high, :bloom, :receipts, "
                ":provider, :now)"
            ),
            {
                **key,
                "low": min([proven.first, *(row.first_block for row in rows)]),
                "high": max([proven.last, *(row.last_block for row in rows)]),
                "bloom": len(proven) - by_receipts + sum(row.by_bloom for row in rows),
                "receipts": by_receipts + sum(row.by_receipts for row in rows),
                "provider": provider,
                "now": clock.now(),
            },
        )
        self._tx.execute(
            text("DELETE FROM disproofs WHERE chain_id = :chain AND number BETWEEN :first AND :last"), key
        )

    def anchor(self, anchor: Anchor) -> None:
        """Remembers where a further proof may start."""
        self._tx.execute(
            text(
                "INSERT INTO anchors VALUES (:chain, :number, :hash) "
                "ON CONFLICT (chain_id, number) DO UPDATE SET hash = excluded.hash"
            ),
            {"chain": self._chain, "number": anchor.number, "hash": anchor.hash},
        )

    def refute(self, found: Disproof) -> None:
        """Writes a block down that failed; what was said of it before is replaced."""
        self._tx.execute(
            text(
                "INSERT INTO disproofs VALUES (:chain, :number, :hash, :kind, :reason, :provider, :now) "
                "ON CONFLICT (chain_id, number) DO UPDATE SET hash = excluded.hash, kind = excluded.kind, "
                "reason = excluded.reason, provider = excluded.provider, found_at = excluded.found_at"
            ),
            {
                "chain": self._chain,
                "number": found.number,
                "hash": found.hash,
                "kind": found.kind,
                "reason": legible(found.reason),
                "provider": found.provider,
                "now": clock.now(),
            },
        )

    def linked(self, blocks: BlockRange) -> None:
        """The headers of these blocks came out after all."""
        self._tx.execute(
            text(
                "DELETE FROM disproofs WHERE chain_id = :chain AND kind = 'unlinked' "
                "AND number BETWEEN :first AND :last"
            ),
            {"chain": self._chain, "first": blocks.first, "last": blocks.last},
        )

    def forget_disproofs(self, within: BlockRange) -> None:
        """These blocks are tried again."""
        self._tx.execute(
            text("DELETE FROM disproofs WHERE chain_id = :chain AND number BETWEEN :first AND :last"),
            {"chain": self._chain, "first": within.first, "last": within.last},
        )

    def void_from(self, block: int) -> None:
        """Nothing is proven from `block` on, for any filter: something there left the chain."""
        self._cut(block, NO_END)
        key = {"chain": self._chain, "block": block}
        self._tx.execute(text("DELETE FROM anchors WHERE chain_id = :chain AND number >= :block"), key)
        self._tx.execute(text("DELETE FROM disproofs WHERE chain_id = :chain AND number >= :block"), key)
        self.anchor(Anchor(_MARK, secrets.token_bytes(32)))

    def void(self, first: int, last: int, *, addresses: Collection[bytes]) -> None:
        """These blocks are no longer proven for these addresses, nor wrong: logs were added."""
        self._cut(first, last, addresses)
        self.forget_disproofs(BlockRange(first, last))

    def _cut(self, first: int, last: int, addresses: Collection[bytes] | None = None) -> None:
        """Takes blocks out of the proven ranges. What is left of a range keeps its counts in proportion."""
        rows = self._tx.execute(
            text(
                "SELECT address, topic0, first_block, last_block, by_bloom, by_receipts, provider, proved_at "
                "FROM proofs WHERE chain_id = :chain AND first_block <= :last AND last_block >= :first"
            ),
            {"chain": self._chain, "first": first, "last": last},
        ).all()
        for row in rows:
            if addresses is not None and row.address not in addresses:
                continue
            self._tx.execute(
                text(
                    "DELETE FROM proofs WHERE chain_id = :chain AND address = :address "
                    "AND topic0 = :topic0 AND first_block = :low"
                ),
                {"chain": self._chain, "address": row.address, "topic0": row.topic0, "low": row.first_block},
            )
            for low, high in ((row.first_block, first - 1), (last + 1, row.last_block)):
                if low > high:
                    continue
                kept = (high - low + 1) * row.by_receipts // (row.last_block - row.first_block + 1)
                self._tx.execute(
                    text(
                        "INSERT INTO proofs VALUES (:chain, :address, :topic0, :low, :high, :bloom, "
                        ":receipts, :provider, :at)"
                    ),
                    {
                        "chain": self._chain,
                        "address": row.address,
                        "topic0": row.topic0,
                        "low": low,
                        "high": high,
                        "bloom": high - low + 1 - kept,
                        "receipts": kept,
                        "provider": row.provider,
                        "at": row.proved_at,
                    },
                )
