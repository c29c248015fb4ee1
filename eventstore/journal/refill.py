"""Entries that were kept elsewhere, back into an empty journal: the only writer beside `Journal`.

Law: the caller has checked each entry against its digest; nothing is checked here.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from eventstore.journal.entries import EntryRecord
from eventstore.records import Appended
from eventstore.storage import bulk
from eventstore.storage.history_tables import HISTORY, metadata

BATCH = 20_000
"""Rows that are inserted together."""

_GONE_KINDS = (
    "INSERT INTO entry_kinds (chain_id, kind, entry, first_block) "
    "SELECT o.chain_id, l.kind, o.orphaned_by, min(l.block_number) FROM orphans o JOIN logs l "
    "ON l.chain_id = o.chain_id AND l.block_number = o.block_number AND l.entry = o.entry "
    "WHERE o.chain_id = :chain GROUP BY o.chain_id, l.kind, o.orphaned_by"
)


class Refill:
    """Puts whole entries, as `chronicle` gives them, into an empty store, many rows at once."""

    def __init__(self, tx: Connection) -> None:
        self._tx = tx
        self._kinds: dict[tuple[bytes, bytes], int] = {}
        self._new: list[tuple[int, bytes, bytes]] = []
        self._rows: dict[str, list[tuple[object, ...]]] = {table: [] for table in HISTORY}
        self._waiting = 0

    def add(self, chain: int, told: EntryRecord) -> None:
        """Adds one entry; they ascend, chain by chain."""
        entry = told.entry
        number = entry.entry
        rows = self._rows
        rows["entries"].append(
            (
                chain,
                number,
                "appended" if isinstance(entry, Appended) else "orphaned",
                entry.first_block,
                entry.last_block,
                entry.log_count,
                told.head_hash,
                told.recorded_at,
                told.previous_digest,
                told.digest,
            )
        )
        rows["blocks"] += [(chain, b.number, number, b.hash, b.parent_hash, b.timestamp) for b in told.blocks]
        rows["orphans"] += [(chain, block, of_entry, number) for block, of_entry in told.gone]
        touched: dict[int, int] = {}
        add = rows["logs"].append
        for log in told.logs:
            topics = (*log.topics, None, None, None, None)
            pair = (log.address, topics[0] or b"")
            kind = self._kinds.get(pair) or self._intern(pair)
            touched.setdefault(kind, log.block_number)  # logs ascend
            add(
                (
                    chain,
                    log.block_number,
                    log.log_index,
                    number,
                    kind,
                    log.tx_index,
                    log.tx_hash,
                    *topics[1:4],
                    log.data,
                )
            )
        rows["entry_kinds"] += [(chain, kind, number, first) for kind, first in touched.items()]
        self._waiting += 1 + len(told.blocks) + len(told.logs) + len(told.gone)
        if self._waiting >= BATCH:
            self._flush()

    def finish(self, chain: int) -> None:
        """Inserts what is left of a chain, and notes which kinds its reorgs touched."""
        self._flush()
        self._tx.execute(text(_GONE_KINDS), {"chain": chain})

    def _flush(self) -> None:
        for table, rows in self._rows.items():
            bulk.insert(self._tx, metadata.tables[table], rows)
            self._rows[table] = []
        self._waiting = 0

    def _intern(self, pair: tuple[bytes, bytes]) -> int:
        kind = self._kinds[pair] = len(self._kinds) + 1
        self._rows["log_kinds"].append((kind, *pair))
        return kind
