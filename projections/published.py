"""What is to be published of single keys: the state, the revision and the block of one snapshot."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, bindparam, text

from projections.changes import Changed
from projections.generation import Generation
from projections.sinks import Change


class Current(Struct, frozen=True, gc=False):
    """A key as it stands: its newest revision, and its body (None: it was removed)."""

    key: str
    revision: int
    body: bytes | None


def current(tx: Connection, projection: str, served: Generation, keys: Sequence[str]) -> dict[str, Current]:
    """The keys that ever had a document which was served; a key that never had is absent."""
    rows = tx.execute(
        text(
            "SELECT c.key, c.revision, d.body FROM changes c LEFT JOIN documents d "
            "ON d.generation = :generation AND d.key = c.key "
            "WHERE c.projection = :projection AND c.key IN :keys"
        ).bindparams(bindparam("keys", expanding=True)),
        {"projection": projection, "generation": served.id, "keys": list(keys)},
    )
    return {
        row.key: Current(row.key, row.revision, None if row.body is None else bytes(row.body)) for row in rows
    }


def as_change(item: Current | Changed, block: int) -> Change:
    """`item` as a sink is sent it."""
    return Change(
        item.key, item.revision, block, None if item.body is None else msgspec.json.decode(item.body)
    )
