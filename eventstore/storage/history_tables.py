"""The tables of history: triggers refuse UPDATE, DELETE and TRUNCATE on them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

metadata = MetaData()

_NARROW = BigInteger().with_variant(Integer(), "postgresql")
"""SQLite stores each number in as few bytes as it needs."""

HISTORY = ("entries", "entry_kinds", "blocks", "log_kinds", "logs", "orphans")
"""The tables that accept INSERT only."""

entries = Table(
    "entries",
    metadata,
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("entry", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", String(8), nullable=False),
    Column("first_block", BigInteger, nullable=False),
    Column("last_block", BigInteger, nullable=False),
    Column("log_count", BigInteger, nullable=False),
    Column("head_hash", LargeBinary, nullable=False),
    Column("recorded_at", BigInteger, nullable=False),  # microseconds since 1970
    Column("previous_digest", LargeBinary, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

# The lowest block that an entry touched, by kind of log: the answer to `Journal.lowest_change`.
entry_kinds = Table(
    "entry_kinds",
    metadata,
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", Integer, primary_key=True, autoincrement=False),
    Column("entry", BigInteger, primary_key=True, autoincrement=False),
    Column("first_block", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

blocks = Table(
    "blocks",
    metadata,
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("entry", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False),
    Column("parent_hash", LargeBinary, nullable=False),
    Column("timestamp", BigInteger, nullable=False),  # seconds
    sqlite_with_rowid=False,
)

# Address and topic0 are interned: they repeat in every log. No topics at all is an empty topic0.
log_kinds = Table(
    "log_kinds",
    metadata,
    Column("kind", Integer, primary_key=True, autoincrement=False),
    Column("address", LargeBinary, nullable=False),
    Column("topic0", LargeBinary, nullable=False),
    UniqueConstraint("address", "topic0", name="log_kinds_once"),
)

# Fixed widths first, wide ones before narrow ones: PostgreSQL fills no gaps. Its index pages are full: rows
# are only ever added at the end, but for a reorg's or a resync's few.
logs = Table(
    "logs",
    metadata,
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("block_number", BigInteger, primary_key=True, autoincrement=False),
    Column("log_index", BigInteger, primary_key=True, autoincrement=False),
    Column("entry", _NARROW, primary_key=True, autoincrement=False),
    Column("kind", Integer, nullable=False),
    Column("tx_index", BigInteger, nullable=False),
    Column("tx_hash", LargeBinary, nullable=False),
    Column("topic1", LargeBinary),
    Column("topic2", LargeBinary),
    Column("topic3", LargeBinary),
    Column("data", LargeBinary, nullable=False),
    Index("logs_by_kind", "chain_id", "kind", "block_number"),
    sqlite_with_rowid=False,
)

orphans = Table(
    "orphans",
    metadata,
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("block_number", BigInteger, primary_key=True, autoincrement=False),
    Column("entry", BigInteger, primary_key=True, autoincrement=False),
    Column("orphaned_by", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
