"""The tables of the read side: the fold's state, its cursors, and what is to be published."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    text,
)

metadata = MetaData()

_KEY = Text().with_variant(Text(collation="C"), "postgresql")
"""Keys sort byte by byte, so that both engines give one order."""

_WIDE_ID = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite numbers the rows of a table only where its key is declared INTEGER."""


def _where(condition: str) -> dict[str, Any]:
    """An index over these rows only, on both engines."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


# One build of a projection. `state` is building, live or retired; at most one is live.
# (entry, block) is the cursor: all of the journal up to `entry` is folded up to `block`.
# `floor` is the block below which no before-images are kept; `digest` the sum of docs/laws.md, law 7.
generations = Table(
    "generations",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("projection", String(100), nullable=False),
    Column("chain_id", BigInteger, nullable=False),
    Column("state", String(8), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("entry", BigInteger, nullable=False),
    Column("block", BigInteger, nullable=False),
    Column("timestamp", BigInteger, nullable=False),  # of the last folded block with logs, seconds
    Column("documents", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("floor", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),  # microseconds since 1970
    Column("promoted_at", BigInteger),
    Column("error", Text),
    Column("promote", SmallInteger, nullable=False),
    Column("hold", BigInteger),
    Index("generations_by_projection", "projection", "state"),
)

documents = Table(
    "documents",
    metadata,
    Column("generation", Integer, primary_key=True, autoincrement=False),
    Column("key", _KEY, primary_key=True),
    Column("body", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

# The values of the declared indexes: which keys have this value in this field.
document_index = Table(
    "document_index",
    metadata,
    Column("generation", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, primary_key=True),
    Column("value", _KEY, primary_key=True),
    Column("key", _KEY, primary_key=True),
    sqlite_with_rowid=False,
)

# The body that a document had before block `block` first changed it; NULL: there was none.
undo = Table(
    "undo",
    metadata,
    Column("generation", Integer, primary_key=True, autoincrement=False),
    Column("block", BigInteger, primary_key=True, autoincrement=False),
    Column("key", _KEY, primary_key=True),
    Column("before", LargeBinary),
    sqlite_with_rowid=False,
)

# The newest revision of each key that was ever published or is to be; removals included.
changes = Table(
    "changes",
    metadata,
    Column("projection", String(100), primary_key=True),
    Column("key", _KEY, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Index("changes_by_revision", "projection", "revision", "key"),
    sqlite_with_rowid=False,
)

# Events that a quarantine passed over; the raw log stands in the journal under (block, index, entry).
dead_letters = Table(
    "dead_letters",
    metadata,
    Column("generation", Integer, primary_key=True, autoincrement=False),
    Column("block", BigInteger, primary_key=True, autoincrement=False),
    Column("log_index", BigInteger, primary_key=True, autoincrement=False),
    Column("entry", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("stack", Text, nullable=False),
)

# The newest send to each sink: a marker that is ahead of it belongs to a later state of this store. Before it
# the marker stood at (revision, key). `error` is why the sink takes nothing at all, NULL where it does.
publications = Table(
    "publications",
    metadata,
    Column("projection", String(100), primary_key=True),
    Column("sink", String(100), primary_key=True),
    Column("sends", BigInteger, nullable=False),
    Column("nonce", String(32), nullable=False),
    Column("revision", BigInteger, nullable=False, server_default=text("0")),
    Column("key", _KEY, nullable=False, server_default=text("''")),
    Column("error", Text),
)

# Documents that a sink did not take. Times are microseconds since 1970; `arrived` is the number of the send
# by which it took the document after all, NULL before.
set_aside = Table(
    "set_aside",
    metadata,
    Column("projection", String(100), primary_key=True),
    Column("sink", String(100), primary_key=True),
    Column("key", _KEY, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("attempts", BigInteger, nullable=False),
    Column("first_at", BigInteger, nullable=False),
    Column("tried_at", BigInteger, nullable=False),
    Column("next_at", BigInteger, nullable=False),
    Column("arrived", BigInteger),
    sqlite_with_rowid=False,
)

# A webhook's rule: the condition it began with, and its marker, which a receiver cannot hold.
notification_rules = Table(
    "notification_rules",
    metadata,
    Column("projection", String(100), primary_key=True),
    Column("rule", String(100), primary_key=True),
    Column("condition", Text, nullable=False),
    Column("marker", Text, nullable=False),
    Column("began_at", BigInteger, nullable=False),  # microseconds since 1970
)

# What a rule remembers of a key, where that differs from a key that was never seen; `state` is JSON.
notification_memory = Table(
    "notification_memory",
    metadata,
    Column("projection", String(100), primary_key=True),
    Column("rule", String(100), primary_key=True),
    Column("key", _KEY, primary_key=True),
    Column("state", Text, nullable=False),
    Column("fired", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# The outbox: what a receiver is or was to be sent. `state` is pending, delivered or dead.
notifications = Table(
    "notifications",
    metadata,
    Column("id", _WIDE_ID, primary_key=True),
    Column("projection", String(100), nullable=False),
    Column("rule", String(100), nullable=False),
    Column("key", _KEY, nullable=False),
    Column("occurrence", BigInteger, nullable=False),
    Column("idempotency_key", String(40), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("state", String(9), nullable=False),
    Column("attempts", BigInteger, nullable=False),
    Column("next_at", BigInteger, nullable=False),  # microseconds since 1970
    Column("created_at", BigInteger, nullable=False),
    Column("settled_at", BigInteger),
    Column("reason", Text, nullable=False),
    Index("notifications_once", "projection", "rule", "key", "occurrence", unique=True),
    Index("notifications_due", "projection", "rule", "next_at", "id", **_where("state = 'pending'")),
    Index("notifications_waiting", "projection", "rule", "key", "occurrence", **_where("state = 'pending'")),
)

# Decisions to pass an event over, by what it is and not where it lies: every rebuild honours them.
skips = Table(
    "skips",
    metadata,
    Column("projection", String(100), primary_key=True),
    Column("block_hash", LargeBinary, primary_key=True),
    Column("log_index", BigInteger, primary_key=True, autoincrement=False),
    Column("reason", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)
