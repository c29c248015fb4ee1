"""How often each JSON-RPC method was called, in all: what a provider's bill is made of."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection

from eventstore.storage.sql import text


def add_calls(tx: Connection, chain_id: int, made: Mapping[str, int]) -> None:
    """Adds calls, by method, to those of all times."""
    for method, count in made.items():
        tx.execute(
            text(
                "INSERT INTO calls VALUES (:chain, :method, :count) ON CONFLICT (chain_id, method) "
                "DO UPDATE SET count = calls.count + excluded.count"
            ),
            {"chain": chain_id, "method": method, "count": count},
        )


def calls_of(tx: Connection, chain_id: int) -> dict[str, int]:
    """All calls made for a chain so far, by method."""
    rows = tx.execute(
        text("SELECT method, count AS count_ FROM calls WHERE chain_id = :chain ORDER BY method"),
        {"chain": chain_id},
    )
    return {row.method: int(row.count_) for row in rows}
