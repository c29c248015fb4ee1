"""What of the store a backup holds beside history: small, mutable tables, as they were at that moment.

    ["coverage", {"chain_id": 1, "address": "0x...", ...}]

A line is a row: its table, and its values by column; bytes are hex. Columns are those of the store that wrote
it, so a table that grew a column since is read as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, Table, inspect
from sqlalchemy.types import TypeEngine

from eventstore.backup.line import hexed, unhex
from eventstore.errors import BackupError
from eventstore.storage import schema
from eventstore.storage.batches import batches
from eventstore.storage.legal import MOST, shown
from eventstore.storage.sql import text

TABLES = ("coverage", "finality", "tail", "progress", "proofs", "anchors", "disproofs")
"""Those of the event store; a caller that keeps other tables names them."""

OWN = [schema.metadata.tables[name] for name in TABLES]
"""The same as tables."""

_AT_ONCE = 1_000
"""Rows that are read, or inserted, together."""

_decode = msgspec.json.Decoder(tuple[str, dict[str, Any]]).decode


def written(tx: Connection, tables: Iterable[str]) -> Iterator[bytes]:
    """The rows of these tables, as far as the store has them, ordered by all their columns."""
    for table, columns in kept_in(tx, tables).items():
        listed = ", ".join(columns)
        query = text(f"SELECT {listed} FROM {table} ORDER BY {listed}").execution_options(yield_per=_AT_ONCE)
        for row in tx.execute(query):
            values = [hexed(bytes(value)) if isinstance(value, bytes) else value for value in row]
            yield msgspec.json.encode((table, dict(zip(columns, values, strict=True)))) + b"\n"


def rows(lines: Iterable[bytes], kept: Kept | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of these lines, by their table: the reader of a restore and of a check.

    Raises ValueError for a malformed line or one that holds what its column does not, and `BackupError`
    where it is of a table or a column that is not `kept`. Without `kept` every table is taken, and only its
    form is looked at."""
    for line in lines:
        table, row = _decode(line)
        if kept is None:
            yield table, row
            continue
        columns = kept.get(table, {})
        for name in row:
            if name not in columns:
                raise BackupError(
                    f"The backup holds {table}.{name}, which this chainfold does not know.",
                    hint="Restore it with the chainfold that wrote it, or a newer one.",
                )
        missing = sorted(name for name, column in columns.items() if column.wanted and name not in row)
        if missing or not columns:
            raise ValueError(f"a row of {table} has no {missing[0] if missing else 'column'}")
        yield table, {name: columns[name].value(value, f"{table}.{name}") for name, value in row.items()}


def restore(tx: Connection, lines: Iterable[bytes], tables: Iterable[str]) -> None:
    """Puts the rows into these tables. Raises as `rows`."""
    for some in batches(rows(lines, kept_in(tx, tables)), _AT_ONCE):
        for (table, names), alike in groupby(some, key=lambda item: (item[0], tuple(item[1]))):
            marks = ", ".join(f":{name}" for name in names)
            query = text(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})")
            tx.execute(query, [row for _, row in alike])


class Column(Struct, frozen=True):
    """A column that is kept: what its values are, and whether a row must have one."""

    kind: type
    null: bool
    wanted: bool
    length: int | None = None

    def value(self, said: Any, where: str) -> Any:
        """The value of a line as the column holds it; raises ValueError where it does not."""
        if said is None:
            if self.null:
                return None
            raise ValueError(f"{where} is null")
        if self.kind is bytes:
            if not isinstance(said, str):
                raise ValueError(f"{where} is not hex with 0x")
            return unhex(said)
        wanted = int | float if self.kind is float else self.kind
        if isinstance(said, bool) or not isinstance(said, wanted):
            raise ValueError(f"{where} is not {_NAMES[self.kind]}")  # noqa: TRY004 - as of every bad line
        if isinstance(said, int) and not -MOST - 1 <= said <= MOST:
            raise ValueError(f"{where} is {shown(said)}, which no column holds")
        if isinstance(said, str) and self.length is not None and len(said) > self.length:
            raise ValueError(f"{where} has more than {self.length} characters")
        return said


Kept = Mapping[str, Mapping[str, Column]]
"""By table its columns."""

_NAMES = {int: "an integer", str: "text", float: "a number"}


def kept_by(tables: Iterable[Table]) -> Kept:
    """What a store of this version keeps of these tables: for a check, which has no store."""
    return {
        table.name: {
            column.name: _column(
                column.type, null=bool(column.nullable), default=column.server_default is not None
            )
            for column in table.columns
        }
        for table in tables
    }


def kept_in(tx: Connection, tables: Iterable[str]) -> Kept:
    """What this store keeps of these tables, as far as it has them."""
    seen = inspect(tx)
    return {
        table: {
            str(column["name"]): _column(
                column["type"], null=bool(column["nullable"]), default=column["default"] is not None
            )
            for column in seen.get_columns(table)
        }
        for table in there(tx, tables)
    }


def _column(kind: TypeEngine[Any], *, null: bool, default: bool) -> Column:
    return Column(kind.python_type, null, not null and not default, getattr(kind, "length", None))


def filled(tx: Connection, tables: Iterable[str]) -> str | None:
    """The first of these tables that holds a row, None where all are empty."""
    for table in there(tx, tables):
        if tx.execute(text(f"SELECT 1 FROM {table} LIMIT 1")).first() is not None:
            return table
    return None


def there(tx: Connection, tables: Iterable[str]) -> list[str]:
    """Those of these tables that the store has."""
    names = set(inspect(tx).get_table_names())
    return [table for table in tables if table in names]
