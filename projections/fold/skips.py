"""Events that every build of a projection passes over: the only file that speaks SQL to `skips`."""

from __future__ import annotations

from sqlalchemy import Connection, text

from eventstore import clock
from eventstore.storage.legible import legible


def skips_of(tx: Connection, projection: str) -> dict[tuple[bytes, int], str]:
    """The reason of each skip, by (block hash, log index)."""
    rows = tx.execute(
        text("SELECT block_hash, log_index, reason FROM skips WHERE projection = :projection"),
        {"projection": projection},
    )
    return {(block_hash, index): reason for block_hash, index, reason in rows}


def skip(tx: Connection, projection: str, *, block_hash: bytes, log_index: int, reason: str) -> None:
    """Adds a skip; of one that exists, replaces the reason."""
    tx.execute(
        text(
            "INSERT INTO skips VALUES (:projection, :hash, :index, :reason, :now) "
            "ON CONFLICT (projection, block_hash, log_index) DO UPDATE SET reason = excluded.reason"
        ),
        {
            "projection": projection,
            "hash": block_hash,
            "index": log_index,
            "reason": legible(reason),
            "now": clock.now(),
        },
    )
