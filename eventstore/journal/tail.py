"""The known end of a chain: its finality, and the headers above it that the reorg check compares.

Operational and mutable, unlike history: it says what we follow now, not what was believed.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from eventstore.journal.waymarks import Waymarks
from eventstore.records import Header
from eventstore.storage.sql import text


class Tail:
    """The tail of one chain, seen within the caller's transaction or snapshot.

    `headers()` ascends without holes. Its first header may be the finalised one (the anchor).
    """

    def __init__(self, tx: Connection, chain_id: int) -> None:
        self._tx = tx
        self._chain = chain_id

    def headers(self) -> list[Header]:
        rows = self._tx.execute(
            text(
                "SELECT number, hash, parent_hash, timestamp FROM tail "
                "WHERE chain_id = :chain ORDER BY number"
            ),
            {"chain": self._chain},
        )
        return [Header(*row) for row in rows]

    def extend(self, headers: Sequence[Header]) -> None:
        """Adds headers above the tail, ascending; the caller has checked that they link."""
        for header in headers:
            self._tx.execute(
                text("INSERT INTO tail VALUES (:chain, :number, :hash, :parent, :timestamp)"),
                {
                    "chain": self._chain,
                    "number": header.number,
                    "hash": header.hash,
                    "parent": header.parent_hash,
                    "timestamp": header.timestamp,
                },
            )

    def cut_above(self, block: int, anchor: Header | None = None) -> None:
        """Forgets every header above `block`, and a finality above it.

        Where nothing of the tail stays, `anchor` is all of it: the newest block up to `block` that is known.
        What was final above left the chain, so that the anchor is the newest that still is; without one
        nothing is.
        """
        key = {"chain": self._chain, "block": block}
        self._tx.execute(text("DELETE FROM tail WHERE chain_id = :chain AND number > :block"), key)
        Waymarks(self._tx, self._chain).cut_above(block)
        if anchor is not None and not self.headers():
            self.extend([anchor])
        if self.finalized() > block:
            self.lower(anchor)

    def lower(self, final: Header | None) -> None:
        """Sets finality back to `final`, a block of the chain that we follow; None: no block is final."""
        self._tx.execute(text("DELETE FROM finality WHERE chain_id = :chain"), {"chain": self._chain})
        if final is not None:
            self.finalize(final)

    def finalized(self) -> int:
        """The highest block ever accepted as final on the chain that is followed; -1 before the first."""
        found = self._tx.execute(
            text("SELECT number FROM finality WHERE chain_id = :chain"), {"chain": self._chain}
        ).scalar()
        return -1 if found is None else int(found)

    def finalize(self, header: Header) -> None:
        """Accepts `header` as final. The number only rises, but for `lower`; at the same number the newer
        hash stays.

        The tail is cut to start at the finalised header, and what is cut off becomes waymarks; where the
        tail ended below it, that header is the whole tail, the anchor that commits to all underneath.
        """
        key = {
            "chain": self._chain,
            "number": header.number,
            "hash": header.hash,
        }
        self._tx.execute(
            text(
                "INSERT INTO finality VALUES (:chain, :number, :hash) ON CONFLICT (chain_id) DO UPDATE "
                "SET number = excluded.number, hash = excluded.hash "
                "WHERE finality.number <= excluded.number"
            ),
            key,
        )
        retired = [item for item in self.headers() if item.number < header.number]
        if retired:
            Waymarks(self._tx, self._chain).add(retired)
            self._tx.execute(text("DELETE FROM tail WHERE chain_id = :chain AND number < :number"), key)
        first = self._tx.execute(text("SELECT min(number) FROM tail WHERE chain_id = :chain"), key).scalar()
        if first is None:
            self.extend([header])
