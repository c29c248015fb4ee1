"""The tables of the event store: those of history, and the operational ones, whose rows change.

Law: migrations make the tables, and these objects say what they made; a test compares the two on both
engines. Code that needs a column, its type or its place takes it from here.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    Text,
    text,
)

from eventstore.storage.history_tables import HISTORY, metadata

__all__ = ["HISTORY", "metadata"]

# The blocks that were fetched, by filter; an empty topic0 stands for all topics of the address.
coverage = Table(
    "coverage",
    metadata,
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("address", LargeBinary, primary_key=True),
    Column("topic0", LargeBinary, primary_key=True),
    Column("first_block", BigInteger, primary_key=True, autoincrement=False),
    Column("last_block", BigInteger, nullable=False),
    Column("entry", BigInteger, nullable=False),
    Column("checked", String(8), nullable=False),
)

store = Table(
    "store",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("created_at", BigInteger, nullable=False),
)

chains = Table(
    "chains",
    metadata,
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("genesis", LargeBinary, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("owner", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("expires_at", Float, nullable=False),  # the database's clock, seconds since 1970
)

tail = Table(
    "tail",
    metadata,
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False),
    Column("parent_hash", LargeBinary, nullable=False),
    Column("timestamp", BigInteger, nullable=False),
)

# Ancestors of the final block, fewer the deeper: a chain that moved back below finality shows by them.
waymarks = Table(
    "waymarks",
    metadata,
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False),
    Column("parent_hash", LargeBinary, nullable=False),
    Column("timestamp", BigInteger, nullable=False),
)

# A node whose head (`shown`) was below the newest block that we know, at every look since.
behind = Table(
    "behind",
    metadata,
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("shown", BigInteger, nullable=False),
    Column("known", BigInteger, nullable=False),
    Column("since", BigInteger, nullable=False),  # microseconds since 1970
)

finality = Table(
    "finality",
    metadata,
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)

# What the ingester last saw and did, for `status`: one row a chain.
progress = Table(
    "progress",
    metadata,
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("head", BigInteger, nullable=False),
    Column("last_sync_at", BigInteger),  # microseconds since 1970
    Column("error", Text),
)

# What commands ask of the process that holds a lease.
requests = Table(
    "requests",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("lease", String(200), nullable=False),
    Column("kind", Text, nullable=False),
    Column("arguments", Text, nullable=False),
    Column("state", String(8), nullable=False),
    Column("detail", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    Column("done", BigInteger),  # how far it has come, of `total`, in units of its kind
    Column("total", BigInteger),
    Index("requests_pending", "lease", "state"),
)

# Ranges that the source would not give, in turn of when they are asked for again; disjoint.
failures = Table(
    "failures",
    metadata,
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("first_block", BigInteger, primary_key=True, autoincrement=False),
    Column("last_block", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("since", BigInteger, nullable=False),  # microseconds since 1970, as is
    Column("retry_at", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
)

# How often each JSON-RPC method was called, in all.
calls = Table(
    "calls",
    metadata,
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("method", String(64), primary_key=True),
    Column("count", BigInteger, nullable=False),
)

# The blocks that the journal was proved to hold whole, by filter, and by what; as coverage otherwise.
proofs = Table(
    "proofs",
    metadata,
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("address", LargeBinary, primary_key=True),
    Column("topic0", LargeBinary, primary_key=True),
    Column("first_block", BigInteger, primary_key=True, autoincrement=False),
    Column("last_block", BigInteger, nullable=False),
    Column("by_bloom", BigInteger, nullable=False),  # so many of the blocks
    Column("by_receipts", BigInteger, nullable=False),
    Column("provider", Text, nullable=False),  # whose answers proved it last
    Column("proved_at", BigInteger, nullable=False),  # microseconds since 1970
)

# Hashes that recomputed headers link to a final block: where the next proof below may start.
anchors = Table(
    "anchors",
    metadata,
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False),
)

# Blocks where the journal was seen to be wrong, or which could not be proved, and why.
disproofs = Table(
    "disproofs",
    metadata,
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False),
    Column("kind", String(8), nullable=False),  # wrong, unproven
    Column("reason", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("found_at", BigInteger, nullable=False),  # microseconds since 1970
)

runs = Table(
    "runs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("command", Text, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    Column("outcome", SmallInteger),  # the exit code, -1 where it was interrupted; none while it runs
    Column("detail", Text, nullable=False, server_default=""),
    Column("origin", String(8), nullable=False, server_default="manual"),  # or schedule
    Column("due_at", BigInteger),  # when the schedule wanted it
    Column("owner", Text, nullable=False, server_default=""),  # as in `leases`
    Column("beat_at", BigInteger),  # when its process last said that it lives
    Index("runs_by_command", "command", "id"),
)

# What went wrong, from when to when, and whether it was reported. One of a kind and subject is open.
incidents = Table(
    "incidents",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", String(40), nullable=False),
    Column("subject", String(200), nullable=False),
    Column("detail", Text, nullable=False),
    Column("opened_at", BigInteger, nullable=False),  # microseconds since 1970, as is
    Column("closed_at", BigInteger),
    Column("outcome", Text, nullable=False, server_default=""),  # how it ended
    Column("told_at", BigInteger),
    Column("over_told_at", BigInteger),
    Column("claimed_until", BigInteger, nullable=False, server_default="0"),  # by the sending process
    Index(
        "incidents_open",
        "kind",
        "subject",
        unique=True,
        sqlite_where=text("closed_at IS NULL"),
        postgresql_where=text("closed_at IS NULL"),
    ),
    Index("incidents_by_key", "kind", "subject", "id"),
)

# Where alerts go, and since when they do not arrive there.
deliveries = Table(
    "deliveries",
    metadata,
    Column("target", String(100), primary_key=True),
    Column("failing_since", BigInteger),
    Column("attempts", BigInteger, nullable=False, server_default="0"),
    Column("reason", Text, nullable=False, server_default=""),
)
