"""What of the store a backup holds beside history: small, mutable tables, as they were at that moment.

    ["coverage", {"chain_id": 1, "address": "0x...", ...}]

A line is a row: its table, and its values by column; bytes are hex. Columns are those of the store that wrote
it, so a table that grew a column since is read as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from sqlalchemy import Connection, inspect, text
from sqlalchemy.types import LargeBinary

from eventstore.backup.line import hexed, unhex
from eventstore.errors import BackupError

TABLES = ("coverage", "finality", "tail", "progress", "proofs", "anchors", "disproofs")
"""Of the event store; whoever keeps other tables beside it names them."""

_decode = msgspec.json.Decoder(tuple[str, dict[str, Any]]).decode


def written(tx: Connection, tables: Iterable[str]) -> Iterator[bytes]:
    """The rows of these tables, as far as the store has them, ordered by all their columns."""
    for table, columns in _columns(tx, tables).items():
        listed = ", ".join(columns)
        for row in tx.execute(text(f"SELECT {listed} FROM {table} ORDER BY {listed}")):
            values = [hexed(bytes(value)) if isinstance(value, bytes) else value for value in row]
            yield msgspec.json.encode((table, dict(zip(columns, values, strict=True)))) + b"\n"


def restore(tx: Connection, lines: Iterable[bytes], tables: Iterable[str]) -> None:
    """Puts the rows into these tables. Raises ValueError where a line is none, and `BackupError` where it
    is of a table or a column that this store does not have."""
    known = _columns(tx, tables)
    for line in lines:
        table, row = _decode(line)
        columns = known.get(table, {})
        for name in row:
            if name not in columns:
                raise BackupError(
                    f"The backup holds {table}.{name}, which this chainfold does not know.",
                    hint="Restore it with the chainfold that wrote it, or a newer one.",
                )
        values = {
            name: unhex(value) if columns[name] and isinstance(value, str) else value
            for name, value in row.items()
        }
        marks = ", ".join(f":{name}" for name in row)
        tx.execute(text(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})"), values)


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


def _columns(tx: Connection, tables: Iterable[str]) -> dict[str, dict[str, bool]]:
    """By table that the store has, its columns, and whether they hold bytes."""
    seen = inspect(tx)
    return {
        table: {
            str(column["name"]): isinstance(column["type"], LargeBinary) for column in seen.get_columns(table)
        }
        for table in there(tx, tables)
    }
