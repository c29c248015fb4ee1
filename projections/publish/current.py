"""What is to be published of single keys: the state, the revision and the block of one snapshot."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct
from sqlalchemy import Connection

from eventstore.storage import bulk
from eventstore.storage.planner import key_by_key
from projections.fold.changes import Changed
from projections.fold.generation import Generation
from projections.sinks import Change


class Current(Struct, frozen=True, gc=False):
    """A key as it stands: its newest revision, and its body (None: it was removed)."""

    key: str
    revision: int
    body: bytes | None


def current(tx: Connection, projection: str, served: Generation, keys: Sequence[str]) -> dict[str, Current]:
    """The keys that ever had a document which was served; a key that never had is absent."""
    values = (projection, served.id)
    documents = key_by_key(tx, "body", "documents", "d", "d.generation = ? AND d.key = c.key", left=True)
    if tx.dialect.name == "postgresql":
        sql = (
            "SELECT c.key, c.revision, d.body FROM unnest(?::text[]) AS wanted (key) CROSS JOIN LATERAL "
            "(SELECT key, revision FROM changes WHERE projection = ? AND key = wanted.key OFFSET 0) c "
            f"{documents}"
        )
        rows = bulk.rows(tx, sql, (list(keys), *values))
    else:
        sql = f"SELECT c.key, c.revision, d.body FROM changes c {documents} "
        marks = ", ".join("?" * len(keys))
        sql += f"WHERE c.projection = ? AND c.key IN ({marks})"
        rows = bulk.rows(tx, sql, (served.id, projection, *keys))
    return {key: Current(key, revision, body) for key, revision, body in rows}


def as_change(item: Current | Changed, block: int) -> Change:
    """`item` as a sink is sent it."""
    return Change(
        item.key, item.revision, block, None if item.body is None else msgspec.json.decode(item.body)
    )
