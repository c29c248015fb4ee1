"""What the ingester of a chain saw last, for `status`: the only file that speaks SQL to `progress`."""

from __future__ import annotations

from msgspec import Struct
from sqlalchemy import Connection, text

from eventstore import clock
from eventstore.storage.legible import legible


class SyncState(Struct, frozen=True):
    """The newest block that the node showed, when all up to it was fetched last (microseconds since 1970),
    and why the node could not be read since."""

    head: int
    synced_at: int | None
    error: str | None


class SyncProgress:
    """The progress of one chain, within the caller's transaction or snapshot."""

    def __init__(self, tx: Connection, chain_id: int) -> None:
        self._tx = tx
        self._chain = chain_id

    def read(self) -> SyncState | None:
        """The last note; None before the first."""
        row = self._tx.execute(
            text("SELECT head, last_sync_at, error FROM progress WHERE chain_id = :chain"),
            {"chain": self._chain},
        ).first()
        return None if row is None else SyncState(*row)

    def synced(self, head: int, *, at: int | None = None) -> None:
        """All up to `head` is fetched, as of `at` (microseconds since 1970; None: now); clears the error."""
        self._tx.execute(
            text(
                "INSERT INTO progress VALUES (:chain, :head, :now, NULL) "
                "ON CONFLICT (chain_id) DO UPDATE SET head = excluded.head, "
                "last_sync_at = excluded.last_sync_at, error = NULL"
            ),
            {"chain": self._chain, "head": head, "now": clock.now() if at is None else at},
        )

    def moved(self, head: int) -> None:
        """The node's head is `head` after a reorg; not all up to it is fetched yet."""
        self._tx.execute(
            text("UPDATE progress SET head = :head WHERE chain_id = :chain"),
            {"chain": self._chain, "head": head},
        )

    def failed(self, reason: str) -> None:
        """The node could not be read; the next `synced` clears it."""
        self._tx.execute(
            text("UPDATE progress SET error = :reason WHERE chain_id = :chain"),
            {"chain": self._chain, "reason": legible(reason)},
        )
