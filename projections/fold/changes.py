"""What of a projection is to be published, in SQL: each key once, at its newest revision."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from sqlalchemy import Connection

from eventstore.storage import bulk
from eventstore.storage.planner import by_index, key_by_key, merging
from eventstore.storage.sql import text
from projections.fold.pairs import DIFFERENT, Pairs


class Changed(Struct, frozen=True, gc=False):
    """A key to publish: its newest revision and its body; None when the document was removed."""

    key: str
    revision: int
    body: bytes | None


class Changes:
    """What of a projection is to be published: one row per key, at its newest revision."""

    def __init__(self, tx: Connection, projection: str) -> None:
        self._tx = tx
        self._projection = projection

    def mark(self, keys: Sequence[str], revision: int) -> None:
        """Gives these keys a new revision."""
        if not keys:
            return
        if self._tx.dialect.name == "postgresql":
            self._tx.exec_driver_sql(
                "INSERT INTO changes (projection, key, revision) "
                "SELECT %s, unnest(%b::text[]), %s "
                "ON CONFLICT (projection, key) DO UPDATE SET revision = excluded.revision",
                (self._projection, list(keys), revision),
            )
            return
        self._tx.exec_driver_sql(
            "INSERT INTO changes (projection, key, revision) VALUES (?, ?, ?) "
            "ON CONFLICT (projection, key) DO UPDATE SET revision = excluded.revision",
            [(self._projection, key, revision) for key in keys],
        )

    def mark_differing(self, old: int | None, new: int, revision: int, *, since: int = 0) -> int:
        """Gives a new revision to each key whose body differs between two generations, or, where nothing
        was served before, to each of the new one; returns how many.

        `since` is the revision at which `new` was served last, 0 where it never was. Then only those keys
        are looked at that were published since or that it changed itself, which before-images name.
        """
        if old is None:
            differing = "SELECT key FROM documents WHERE generation = :new"
        else:
            found = Pairs(self._tx)
            sql = found.touched(undone=True) if since else found.all()
            differing = f"SELECT key FROM ({sql}) pairs WHERE {DIFFERENT}"
        first = not bulk.rows(
            self._tx, "SELECT 1 FROM changes WHERE projection = ? LIMIT 1", (self._projection,)
        )
        # A first promotion meets nothing: to be ready for it costs PostgreSQL twice the time.
        conflict = "ON CONFLICT (projection, key) DO UPDATE SET revision = excluded.revision"
        with merging(self._tx):
            result = self._tx.execute(
                text(
                    "INSERT INTO changes (projection, key, revision) "
                    f"SELECT :projection, key, :revision FROM ({differing}) differing WHERE true "
                    f"{'' if first else conflict}"
                ),
                {
                    "projection": self._projection,
                    "revision": revision,
                    "old": old,
                    "new": new,
                    "since": since,
                },
            )
        return int(result.rowcount)

    def mark_all(self, revision: int) -> None:
        """Gives every key that was ever published a new revision: all of it is sent again."""
        self._tx.execute(
            text("UPDATE changes SET revision = :revision WHERE projection = :projection"),
            {"projection": self._projection, "revision": revision},
        )

    def after(self, revision: int, key: str | None, *, generation: int, limit: int) -> list[Changed]:
        """The next changes above (revision, key), in that order, with bodies of this generation; without a
        key all of this revision, that of the document under the empty key among them."""
        beyond = ">=" if key is None else ">"
        by_index(self._tx)
        documents = key_by_key(
            self._tx, "body", "documents", "d", "d.generation = ? AND d.key = c.key", left=True
        )
        rows = bulk.rows(
            self._tx,
            "SELECT c.key, c.revision, d.body FROM (SELECT key, revision FROM changes "
            f"  WHERE projection = ? AND (revision, key) {beyond} (?, ?) ORDER BY revision, key LIMIT ?) c "
            f"{documents} ORDER BY c.revision, c.key",
            (self._projection, revision, key or "", limit, generation),
        )
        return [Changed(key, of, body) for key, of, body in rows]
