"""The totals of a journal, kept while a process lives: history is append-only, so what is new is counted."""

from __future__ import annotations

from threading import Lock

from msgspec import Struct
from sqlalchemy import Connection

from eventstore.storage.identity import identity_of
from eventstore.storage.sql import text


class JournalTotals(Struct, frozen=True):
    """Of the entries up to `entry`: canonical logs, reorgs, and when the last one was recorded, in
    microseconds since 1970."""

    entry: int = 0
    logs: int = 0
    reorgs: int = 0
    last_reorg: int | None = None


class Extent(Struct, frozen=True):
    """How far a journal reaches: its newest `entry`, and the `logs` that were ever appended."""

    entry: int
    logs: int


def extents(tx: Connection) -> dict[int, Extent]:
    """How far the journal of each chain reaches, by chain id; without the chains that have no entry."""
    rows = tx.execute(
        text(
            "SELECT chain_id, max(entry), sum(CASE kind WHEN 'appended' THEN log_count ELSE 0 END) "
            "FROM entries GROUP BY chain_id"
        )
    )
    return {chain_id: Extent(int(entry), int(logs)) for chain_id, entry, logs in rows}


def heads(tx: Connection) -> dict[int, int]:
    """The newest entry of each chain, by chain id; without the chains that have none."""
    rows = tx.execute(text("SELECT chain_id, max(entry) FROM entries GROUP BY chain_id"))
    return {chain_id: int(entry) for chain_id, entry in rows}


class Tally:
    """The totals of every chain, each counted once from the beginning; for any number of threads."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], JournalTotals] = {}
        self._lock = Lock()

    def totals(self, tx: Connection, chain_id: int) -> JournalTotals:
        """All of the journal as the snapshot has it; of a snapshot that is older than what is known, too."""
        where = str(identity_of(tx)), chain_id  # another store in the place of the former has another history
        with self._lock:
            known = self._known.get(where, JournalTotals())
        found = _extended(tx, chain_id, known)
        if found.entry < known.entry:
            return _extended(tx, chain_id, JournalTotals())
        with self._lock:
            self._known[where] = found
        return found


def _extended(tx: Connection, chain_id: int, known: JournalTotals) -> JournalTotals:
    """`known`, with the entries above it."""
    newest, logs, reorgs, last = tx.execute(
        text(
            "SELECT (SELECT max(entry) FROM entries WHERE chain_id = :chain), "
            "coalesce(sum(CASE kind WHEN 'appended' THEN log_count ELSE -log_count END), 0), "
            "coalesce(sum(CASE kind WHEN 'orphaned' THEN 1 ELSE 0 END), 0), "
            "max(CASE kind WHEN 'orphaned' THEN recorded_at END) "
            "FROM entries WHERE chain_id = :chain AND entry > :known"
        ),
        {"chain": chain_id, "known": known.entry},
    ).one()
    return JournalTotals(
        int(newest or 0),
        known.logs + int(logs),
        known.reorgs + int(reorgs),
        known.last_reorg if last is None else int(last),
    )
