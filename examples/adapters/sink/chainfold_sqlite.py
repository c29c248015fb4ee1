"""A sink for chainfold: one table of a SQLite file for each projection, one row for each document.

    [projections.users]
    sqlite = { file = "published.db", table = "users" }

Law: one statement compares the revision and writes. A removed document keeps its row without fields, so
that an older write cannot bring it back.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock

import msgspec

from chainfold import ConfigurationError
from chainfold.sinks import (
    Change,
    Marker,
    MarkerLost,
    Sink,
    SinkError,
    SinkKind,
    SinkRequest,
    SinkTable,
    SinkUnavailable,
)

READ = 500
"""Rows of one statement."""


class SqliteTable(SinkTable, frozen=True):
    """A projection's `sqlite`: a file, relative to the configuration, and a table in it."""

    table: str
    file: str = "published.db"


class SqliteKind(SinkKind):
    """Documents as rows of SQLite."""

    name = "sqlite"
    table = SqliteTable

    def checked(self, table: SqliteTable, where: str) -> SqliteTable:
        if not re.fullmatch(r"[A-Za-z_]\w{0,62}", table.table) or table.table == MARKERS:
            raise ConfigurationError(
                f"{where}.table: {table.table!r} cannot be the name of a table.",
                hint="Write a letter, then letters, digits and _.",
            )
        return table

    def place(self, settings: SqliteTable) -> tuple[str, str]:
        return "table", f"{settings.table} in {settings.file}"

    def make(self, settings: SqliteTable, request: SinkRequest) -> Sink:
        return SqliteSink(
            request.folder / settings.file,
            settings.table,
            request.fields,
            patience=60 if request.patience is None else request.patience,
        )


MARKERS = "chainfold_markers"


class SqliteSink:
    """One projection's documents in one table, with its marker in `chainfold_markers` next to it.

    `fields` holds a document as JSON, null for a removed one.
    """

    name = "sqlite"

    def __init__(self, file: Path, table: str, fields: Sequence[str], *, patience: float = 60) -> None:
        self._file = file
        self._table = table
        self._fields = frozenset(fields)
        self._patience = patience
        self._lock = RLock()
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        with self._connected():
            pass

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def marker(self) -> Marker | None:
        with self._connected() as db:
            row = db.execute(f"SELECT marker FROM {MARKERS} WHERE name = ?", [self._table]).fetchone()
        return None if row is None else msgspec.json.decode(row[0], type=Marker)

    def mark(self, new: Marker, *, old: Marker | None) -> None:
        with self._connected() as db:
            if old is None:
                done = db.execute(f"INSERT OR IGNORE INTO {MARKERS} VALUES (?, ?)", [self._table, _text(new)])
            else:
                done = db.execute(
                    f"UPDATE {MARKERS} SET marker = ? WHERE name = ? AND marker = ?",
                    [_text(new), self._table, _text(old)],
                )
        if not done.rowcount:
            raise MarkerLost(
                f"The marker of the table {self._table} in {self._file} is not the one this publisher left.",
                hint="It reads the sink's marker again.",
            )

    def write(self, changes: Sequence[Change]) -> int:
        newest = {change.key: change for change in sorted(changes, key=lambda change: change.revision)}
        rows = [(change.key, change.revision, change.block, self._json(change)) for change in newest.values()]
        with self._connected() as db:
            before = db.total_changes
            db.execute("BEGIN IMMEDIATE")
            try:
                db.executemany(
                    f"INSERT INTO {self._table} VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
                    "revision = excluded.revision, block = excluded.block, fields = excluded.fields "
                    "WHERE excluded.revision > revision",
                    rows,
                )
                db.execute("COMMIT")
            except BaseException:
                db.execute("ROLLBACK")
                raise
            return db.total_changes - before

    def read(self, keys: Sequence[str]) -> dict[str, Change]:
        found: dict[str, Change] = {}
        with self._connected() as db:
            for start in range(0, len(keys), READ):
                some = list(keys[start : start + READ])
                marks = ", ".join("?" * len(some))
                rows = db.execute(
                    f"SELECT key, revision, block, fields FROM {self._table} WHERE key IN ({marks})", some
                )
                found |= {row[0]: _change(*row) for row in rows}
        return found

    def scan(self) -> Iterator[Change]:
        after = 0
        while True:
            with self._connected() as db:
                rows = db.execute(
                    f"SELECT rowid, key, revision, block, fields FROM {self._table} "
                    "WHERE rowid > ? ORDER BY rowid LIMIT ?",
                    [after, READ],
                ).fetchall()
            for after, *row in rows:  # noqa: B007  # the place of the next page
                yield _change(*row)
            if len(rows) < READ:
                return

    def as_held(self, change: Change) -> Change:
        return _change(change.key, change.revision, change.block, self._json(change))

    def trial(self) -> list[str]:
        """Tries to write, and takes it back. No remark is needed: what works here works."""
        with self._connected() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                db.execute(f"INSERT INTO {MARKERS} VALUES ('a trial of chainfold', '')")
            finally:
                db.execute("ROLLBACK")
        return []

    def _json(self, change: Change) -> str | None:
        if change.fields is None:
            return None
        ours = {name: value for name, value in change.fields.items() if name in self._fields}
        return msgspec.json.encode(ours).decode()

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """The connection, made when it is first used: readers of several threads may be the first."""
        try:
            with self._lock:
                if self._connection is None:
                    self._connection = self._connect()
                yield self._connection
        except sqlite3.OperationalError as error:
            raise SinkUnavailable(f"SQLite at {self._file} failed: {error}") from error
        except (sqlite3.Error, UnicodeError) as error:
            raise SinkError(f"SQLite at {self._file} refused: {error}") from error

    def _connect(self) -> sqlite3.Connection:
        made = sqlite3.connect(
            self._file, timeout=self._patience, isolation_level=None, check_same_thread=False
        )
        made.execute(f"CREATE TABLE IF NOT EXISTS {MARKERS} (name TEXT PRIMARY KEY, marker TEXT NOT NULL)")
        made.execute(
            f"CREATE TABLE IF NOT EXISTS {self._table} (key TEXT PRIMARY KEY, revision INTEGER NOT NULL, "
            "block INTEGER NOT NULL, fields TEXT)"
        )
        return made


def _text(marker: Marker) -> str:
    return msgspec.json.encode(marker).decode()


def _change(key: str, revision: int, block: int, fields: str | None) -> Change:
    return Change(key, revision, block, None if fields is None else msgspec.json.decode(fields))
