"""Events that every build of a projection passes over: the only file that speaks SQL to `skips`."""

from __future__ import annotations

from sqlalchemy import Connection

from eventstore import clock
from eventstore.records import Log
from eventstore.storage.legible import legible
from eventstore.storage.sql import text


def add_skip(tx: Connection, projection: str, log: Log, reason: str) -> None:
    """Has every build of this projection pass over this log, in this very block."""
    tx.execute(
        text(
            "INSERT INTO skips VALUES (:projection, :hash, :index, :reason, :now) "
            "ON CONFLICT (projection, block_hash, log_index) DO UPDATE SET reason = excluded.reason"
        ),
        {
            "projection": projection,
            "hash": log.block_hash,
            "index": log.log_index,
            "reason": legible(reason),
            "now": clock.now(),
        },
    )


def skips_of(tx: Connection, projection: str) -> dict[tuple[bytes, int], str]:
    """The events that every build of this projection passes over, and why."""
    rows = tx.execute(
        text("SELECT block_hash, log_index, reason FROM skips WHERE projection = :projection"),
        {"projection": projection},
    )
    return {(block_hash, index): reason for block_hash, index, reason in rows}
