"""Reads and writes the fold's state in SQL: documents, their index, before-images, dead letters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct
from sqlalchemy import Connection, Table

from eventstore.storage import bulk
from eventstore.storage.batches import batches
from eventstore.storage.planner import by_index, key_by_key
from eventstore.storage.sql import text
from projections import schema
from projections.fold.delta import Delta, Whole

CHUNK = 500
"""Keys in one IN list: below the limits of both engines."""


class DeadLetter(Struct, frozen=True, gc=False):
    """An event that could not be folded: where its raw log stands in the journal, and why not."""

    block: int
    log_index: int
    entry: int
    reason: str
    stack: str


class GenerationState:
    """One generation's documents, within the caller's transaction or snapshot."""

    def __init__(self, tx: Connection, generation: int) -> None:
        self._tx = tx
        self._generation = generation

    # --- reading ---

    def load(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The bodies under these keys; absent keys are absent."""
        wanted = sorted(keys)  # neighbours in the tree one after the other
        if self._tx.dialect.name == "postgresql":
            sql = (
                "SELECT d.key, d.body FROM unnest(?::text[]) AS wanted (key) CROSS JOIN LATERAL (SELECT key, "
                "body FROM documents WHERE generation = ? AND key = wanted.key OFFSET 0) d"
            )
            return dict(bulk.rows(self._tx, sql, (wanted, self._generation)))
        found: dict[str, bytes] = {}
        for chunk in batches(wanted, CHUNK):
            marks = ", ".join("?" * len(chunk))
            sql = f"SELECT key, body FROM documents WHERE generation = ? AND key IN ({marks})"
            found.update(bulk.rows(self._tx, sql, (self._generation, *chunk)))
        return found

    def find(self, field: str, value: str) -> list[str]:
        """The keys whose indexed field has this value, ascending. A fold asks it for single events, so it
        goes to the driver as it is: SQLAlchemy's share would be three times what the query takes."""
        sql = "SELECT key FROM document_index WHERE generation = ? AND name = ? AND value = ? ORDER BY key"
        return [key for (key,) in bulk.rows(self._tx, sql, (self._generation, field, value))]

    def find_all(self, field: str, values: Sequence[str], *, limit: int) -> dict[str, list[str]]:
        """What `find` gives for each of these values, asked in one go. Those whose keys would be more than
        `limit` in all are absent: how many keys a value has is not known beforehand."""
        found: dict[str, list[str]] = {}
        for some in batches(values, CHUNK):
            rows = self._found(field, some, limit)
            cut = len(rows) == limit
            answered: dict[str, list[str]] = {} if cut else {value: [] for value in some}
            for value, key in rows:
                answered.setdefault(value, []).append(key)
            if cut:
                del answered[rows[-1][0]]  # it may have more; of values that show no key nothing is known
            found |= answered
            limit -= len(rows)
            if not limit:
                break
        return found

    def _found(self, field: str, values: Sequence[str], limit: int) -> Sequence[tuple[str, str]]:
        """At most `limit` (value, key) of these values: all keys of each value but the last one shown."""
        if self._tx.dialect.name == "postgresql":
            sql = (
                "SELECT wanted.value, i.key FROM unnest(?::text[]) WITH ORDINALITY AS wanted (value, place) "
                "CROSS JOIN LATERAL (SELECT key FROM document_index WHERE generation = ? AND name = ? "
                "AND value = wanted.value ORDER BY key LIMIT ?) i ORDER BY wanted.place LIMIT ?"
            )
            return bulk.rows(self._tx, sql, (list(values), self._generation, field, limit, limit))
        sql = (
            "SELECT value, key FROM document_index WHERE generation = ? AND name = ? AND value "
            f"IN ({', '.join('?' * len(values))}) ORDER BY value, key LIMIT ?"
        )
        return bulk.rows(self._tx, sql, (self._generation, field, *values, limit))

    def page(
        self, where: tuple[str, str] | None, *, after: str | None = None, limit: int
    ) -> list[tuple[str, bytes]]:
        """The next (key, body) above `after`, ascending: all, or those whose indexed field has a value;
        without `after` from the first on, which may be under the empty key."""
        values = {"generation": self._generation, "after": after or "", "size": limit}
        beyond = ">=" if after is None else ">"
        query = (
            f"SELECT key, body FROM documents WHERE generation = :generation AND key {beyond} :after "
            "ORDER BY key LIMIT :size"
        )
        if where is not None:
            values |= {"name": where[0], "value": where[1]}
            documents = key_by_key(
                self._tx, "body", "documents", "d", "d.generation = :generation AND d.key = i.key"
            )
            query = (
                "SELECT i.key, d.body FROM (SELECT key FROM document_index WHERE generation = :generation "
                f"AND name = :name AND value = :value AND key {beyond} :after ORDER BY key LIMIT :size) i "
                f"{documents} ORDER BY i.key"
            )
        by_index(self._tx)
        return [(key, body) for key, body in self._tx.execute(text(query), values)]

    def at(self, key: str, block: int) -> bytes | None:
        """The body after `block`, which must not be below the floor: its earliest before-image above,
        else the body as it is."""
        row = self._tx.execute(
            text(
                "SELECT before FROM undo WHERE generation = :generation AND key = :key "
                "AND block > :block ORDER BY block LIMIT 1"
            ),
            {"generation": self._generation, "key": key, "block": block},
        ).first()
        if row is not None:
            return None if row.before is None else bytes(row.before)
        return self.load([key]).get(key)

    def before_images(self, *, above: int) -> dict[str, bytes | None]:
        """The bodies after block `above`, which must not be below the floor, of the keys that changed since:
        for each its earliest before-image above. None: there was no document."""
        before: dict[str, bytes | None] = {}
        by_index(self._tx)
        for key, body in bulk.rows(
            self._tx,
            "SELECT key, before FROM undo WHERE generation = ? AND block > ? ORDER BY block",
            (self._generation, above),
        ):
            before.setdefault(key, body)
        return before

    def scan(self, size: int = 5000) -> Iterator[tuple[str, bytes]]:
        """Every (key, body), ascending by key."""
        after: str | None = None
        while True:
            rows = self.page(None, after=after, limit=size)
            yield from rows
            if len(rows) < size:
                return
            after = rows[-1][0]

    # --- writing ---

    def load_whole(self, whole: Whole) -> None:
        """Writes all documents and their index, where there were none."""
        bulk.insert(self._tx, schema.documents, whole.documents(self._generation))
        bulk.insert(self._tx, schema.document_index, whole.index(self._generation))

    def apply(self, delta: Delta) -> None:
        """Writes a batch's documents, index rows and before-images."""
        gone: list[tuple[str]] = []
        made: list[tuple[str, bytes]] = []
        kept: list[tuple[str, bytes]] = []
        for key, before, body in delta.changed:
            if body is None:
                gone.append((key,))
            elif before is None:
                made.append((key, body))
            else:
                kept.append((key, body))
        by_index(self._tx)
        self._delete("documents", ("key",), gone)
        self._insert(schema.documents, made)
        self._update_documents(kept)
        self._delete("document_index", ("name", "value", "key"), delta.index_gone)
        self._insert(schema.document_index, delta.index_new)
        self._insert(schema.undo, delta.undo)

    def drop_undo(self, *, above: int | None = None, through: int | None = None) -> None:
        """Forgets before-images above a block (they were restored) or up to one (it is final)."""
        by_index(self._tx)
        for condition, block in (("block > :block", above), ("block <= :block", through)):
            if block is not None:
                self._tx.execute(
                    text(f"DELETE FROM undo WHERE generation = :generation AND {condition}"),
                    {"generation": self._generation, "block": block},
                )

    def bury(self, letters: Sequence[DeadLetter]) -> None:
        """Keeps the events that a quarantine passed over."""
        self._insert(
            schema.dead_letters,
            [(item.block, item.log_index, item.entry, item.reason, item.stack) for item in letters],
        )

    def dead_letters(self) -> list[DeadLetter]:
        """Every event that a quarantine passed over, ascending."""
        rows = self._tx.execute(
            text(
                "SELECT block, log_index, entry, reason, stack FROM dead_letters "
                "WHERE generation = :generation ORDER BY block, log_index"
            ),
            {"generation": self._generation},
        )
        return [DeadLetter(*row) for row in rows]

    def first_dead_letter(self) -> DeadLetter | None:
        """The lowest of them; None where there are none."""
        row = self._tx.execute(
            text(
                "SELECT block, log_index, entry, reason, stack FROM dead_letters "
                "WHERE generation = :generation ORDER BY block, log_index LIMIT 1"
            ),
            {"generation": self._generation},
        ).first()
        return None if row is None else DeadLetter(*row)

    def count_dead_letters(self) -> int:
        return int(
            self._tx.execute(
                text("SELECT count(*) FROM dead_letters WHERE generation = :generation"),
                {"generation": self._generation},
            ).scalar_one()
        )

    def exhume(self, above: int) -> None:
        """Forgets the dead letters above a block: its events are folded again."""
        by_index(self._tx)
        self._tx.execute(
            text("DELETE FROM dead_letters WHERE generation = :generation AND block > :block"),
            {"generation": self._generation, "block": above},
        )

    def drop(self) -> None:
        """Removes every row of this generation."""
        by_index(self._tx)
        for table in ("documents", "document_index", "undo", "dead_letters"):
            self._tx.execute(
                text(f"DELETE FROM {table} WHERE generation = :generation"),
                {"generation": self._generation},
            )

    def _update_documents(self, rows: Sequence[tuple[str, bytes]]) -> None:
        if not rows:
            return
        if self._tx.dialect.name == "postgresql":
            self._tx.exec_driver_sql(
                "INSERT INTO documents (generation, key, body) "
                "SELECT %s, key, body FROM unnest(%b::text[], %b::bytea[]) AS new (key, body) "
                "ON CONFLICT (generation, key) DO UPDATE SET body = excluded.body",
                (self._generation, [key for key, _ in rows], [body for _, body in rows]),
            )
            return
        bulk.insert(
            self._tx,
            schema.documents,
            [(self._generation, *row) for row in rows],
            over="ON CONFLICT (generation, key) DO UPDATE SET body = excluded.body",
        )

    def _insert(self, table: Table, rows: Sequence[tuple[object, ...]]) -> None:
        bulk.insert(self._tx, table, [(self._generation, *row) for row in rows])

    def _delete(self, table: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
        if not rows:
            return
        if self._tx.dialect.name == "postgresql":
            listed = ", ".join(columns)
            arrays = ", ".join(["%b::text[]"] * len(columns))
            match = " AND ".join(f"t.{column} = gone.{column}" for column in columns)
            self._tx.exec_driver_sql(
                f"DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT found.ctid "
                f"FROM unnest({arrays}) AS gone ({listed}) CROSS JOIN LATERAL (SELECT t.ctid FROM {table} t "
                f"WHERE t.generation = %s AND {match} OFFSET 0) found))",
                (*[list(values) for values in zip(*rows, strict=True)], self._generation),
            )
            return
        match = " AND ".join(f"{column} = ?" for column in ("generation", *columns))
        self._tx.exec_driver_sql(
            f"DELETE FROM {table} WHERE {match}",
            [(self._generation, *row) for row in rows],
        )
