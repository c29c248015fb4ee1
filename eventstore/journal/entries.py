"""The journal entry by entry, each with all its rows: how it goes into backups and checks.

Law: other rows in the blocks that an entry spans are read with it and passed over, so entries are
read in groups whose spans lie close together; the memory is that of one group.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, Row

from eventstore.journal import digest
from eventstore.records import Appended, Header, Log, Orphaned
from eventstore.storage.legal import legal
from eventstore.storage.planner import by_index
from eventstore.storage.sql import text

PAGE = 1_000
"""Entries that are read together, at most."""

LOGS = 20_000
"""Logs that are read together, unless one entry has more."""

_SLACK = 1_000
"""Blocks between two entries that are worth reading over, rather than asking once more."""

Kinds = dict[int, tuple[bytes, tuple[bytes, ...]]]
"""By kind its address, and its topic0 if it has one."""

_UNKNOWN: tuple[bytes, tuple[bytes, ...]] = (b"", ())
"""Of a kind that is not there: then the digest does not hold."""

_ENTRIES = (
    "SELECT entry, kind, first_block, last_block, log_count, head_hash, recorded_at, previous_digest, digest "
    "FROM entries WHERE chain_id = :chain AND entry > :since ORDER BY entry LIMIT :page"
)
_SPAN = "chain_id = :chain AND {0} BETWEEN :low AND :high AND {1} BETWEEN :first AND :last"
_BLOCKS = (
    "SELECT entry, number, hash, parent_hash, timestamp FROM blocks WHERE "
    f"{_SPAN.format('number', 'entry')} ORDER BY entry, number"
)
_LOGS = (  # along the primary key, which PostgreSQL sees by the order, and then in ours
    "SELECT entry, block_number, log_index, kind, topic1, topic2, topic3, data, tx_hash, tx_index FROM "
    f"(SELECT * FROM logs WHERE {_SPAN.format('block_number', 'entry')} "
    "ORDER BY block_number, log_index, entry) span ORDER BY entry, block_number, log_index"
)
_GONE = (
    "SELECT orphaned_by, block_number, entry FROM orphans WHERE "
    f"{_SPAN.format('block_number', 'orphaned_by')} ORDER BY orphaned_by, block_number, entry"
)


class EntryRecord(Struct, frozen=True):
    """An entry, what was recorded with it, and its rows, each kind ascending.

    `recorded_at` is in microseconds since 1970. `gone` are the (block number, entry) that an orphaned entry
    takes off the chain. The logs of a `EntryRecord` carry no block hash: it is that of their block.
    """

    entry: Appended | Orphaned
    head_hash: bytes
    recorded_at: int
    previous_digest: bytes
    digest: bytes
    blocks: list[Header]
    logs: list[Log]
    gone: list[tuple[int, int]]

    def recomputed(self, chain_id: int) -> bytes:
        """The digest that the rows give; another than `digest` where something was changed, and empty where
        a number is one that no digest speaks for."""
        try:
            rows = (
                digest.of_logs(self.blocks, self.logs)
                if isinstance(self.entry, Appended)
                else digest.of_orphans(self.gone)
            )
            return digest.of_entry(
                chain_id,
                self.entry,
                head_hash=self.head_hash,
                recorded_at=self.recorded_at,
                previous=self.previous_digest,
                rows=rows,
            )
        except struct.error:
            return b""

    def illegal(self) -> str | None:
        """The first number of this entry that no chain gives, in words; None where all are in range."""
        for log in self.logs:
            for what, number in (("index", log.log_index), ("transaction index", log.tx_index)):
                if not legal(number):
                    return f"a log of block {log.block_number} has the {what} {number}"
        for block in self.blocks:
            for what, number in (("number", block.number), ("timestamp", block.timestamp)):
                if not legal(number):
                    return f"block {block.number} has the {what} {number}"
        return None


def digest_at(tx: Connection, chain_id: int, entry: int) -> bytes:
    """The digest of an entry; where there is no such entry, the digest before the first."""
    found = tx.execute(
        text("SELECT digest FROM entries WHERE chain_id = :chain AND entry = :entry"),
        {"chain": chain_id, "entry": entry},
    ).scalar()
    return digest.START if found is None else bytes(found)


def chronicle(tx: Connection, chain_id: int, *, since: int = 0) -> Iterator[EntryRecord]:
    """Every entry after `since`, ascending, within this snapshot."""
    kinds: Kinds = {
        kind: (address, (topic0,) if topic0 else ())
        for kind, address, topic0 in tx.execute(text("SELECT kind, address, topic0 FROM log_kinds"))
    }
    by_index(tx)
    while True:
        rows = tx.execute(text(_ENTRIES), {"chain": chain_id, "since": since, "page": PAGE}).all()
        for group in _groups(rows):
            yield from _told(tx, chain_id, group, kinds)
        if len(rows) < PAGE:
            return
        since = rows[-1].entry


def _groups(rows: Sequence[Row[Any]]) -> Iterator[list[Row[Any]]]:
    """Runs of entries that are read together: not too many logs, and not far apart."""
    group: list[Row[Any]] = []
    low = high = logs = blocks = 0
    for row in rows:
        wide = max(high, row.last_block) - min(low, row.first_block)
        own = row.last_block - row.first_block + _SLACK
        if group and (logs + row.log_count > LOGS or wide > blocks + own):
            yield group
            group = []
        if not group:
            low, high, logs, blocks = row.first_block, row.last_block, 0, 0
        group.append(row)
        low, high = min(low, row.first_block), max(high, row.last_block)
        logs, blocks = logs + row.log_count, blocks + own
    if group:
        yield group


def _told(tx: Connection, chain_id: int, group: list[Row[Any]], kinds: Kinds) -> Iterator[EntryRecord]:
    span = {
        "chain": chain_id,
        "first": group[0].entry,
        "last": group[-1].entry,
        "low": min(row.first_block for row in group),
        "high": max(row.last_block for row in group),
    }
    blocks, logs, gone = (_by_entry(tx, query, span) for query in (_BLOCKS, _LOGS, _GONE))
    for row in group:
        make = Appended if row.kind == "appended" else Orphaned
        yield EntryRecord(
            make(row.entry, row.first_block, row.last_block, row.log_count),
            row.head_hash,
            row.recorded_at,
            row.previous_digest,
            row.digest,
            [Header(*item[1:]) for item in blocks.get(row.entry, ())],
            [_log(item, kinds) for item in logs.get(row.entry, ())],
            [(number, entry) for _, number, entry in gone.get(row.entry, ())],
        )


def _by_entry(tx: Connection, query: str, span: dict[str, int]) -> dict[int, list[Any]]:
    found: Any = tx.execute(text(query), span)
    return {entry: list(rows) for entry, rows in groupby(found, key=itemgetter(0))}


def _log(row: Any, kinds: Kinds) -> Log:
    _, number, index, kind, topic1, topic2, topic3, data, tx_hash, tx_index = row
    address, topics = kinds.get(kind, _UNKNOWN)
    if topic1 is not None:
        topics = (*topics, topic1)
    if topic2 is not None:
        topics = (*topics, topic2)
    if topic3 is not None:
        topics = (*topics, topic3)
    return Log(number, index, address, topics, data, tx_hash, tx_index, b"")
