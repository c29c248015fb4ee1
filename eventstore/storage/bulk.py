"""Many rows into one table and out of it by the fastest road of each engine, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

from sqlalchemy import Connection

from eventstore.errors import DataRefused
from eventstore.storage.batches import batches
from eventstore.storage.legal import MOST, shown
from eventstore.storage.refused_values import unfit, values_of_python

LOG_COLUMNS = (
    "chain_id",
    "block_number",
    "log_index",
    "entry",
    "kind",
    "tx_hash",
    "tx_index",
    "topic1",
    "topic2",
    "topic3",
    "data",
)

_TYPES = {
    "kind": "int4",
    "generation": "int4",
    "tx_hash": "bytea",
    "topic1": "bytea",
    "topic2": "bytea",
    "topic3": "bytea",
    "data": "bytea",
    "entries.kind": "text",
    "logs.entry": "int4",
    "address": "bytea",
    "topic0": "bytea",
    "head_hash": "bytea",
    "previous_digest": "bytea",
    "digest": "bytea",
    "hash": "bytea",
    "parent_hash": "bytea",
    "body": "bytea",
    "before": "bytea",
    "key": "text",
    "name": "text",
    "value": "text",
    "reason": "text",
    "stack": "text",
}
"""The column types that binary COPY must be told, by name, or table and name where two tables differ; every
other column is int8."""

_NARROWEST, _WIDEST = -(2**31), 2**31 - 1
"""Of an int4. The driver writes a wider number as another one, and says nothing; of an int8 it refuses it."""


_VALUES = 14_300
"""The most values that one statement carries into SQLite, which takes 32,766: 1,300 logs."""


def insert(
    tx: Connection,
    table: str,
    columns: Sequence[str],
    rows: Iterable[tuple[Any, ...]],
    *,
    over: str = "",
) -> None:
    """Inserts the rows: binary COPY on PostgreSQL, statements of many rows on SQLite.

    Rows that are made one after the other need no room at once, and PostgreSQL writes some while the next
    are made. `over` says what becomes of a row that is there already, on SQLite only: COPY has no such thing.
    """
    if isinstance(rows, Sequence) and not rows:
        return
    with values_of_python():
        if tx.dialect.name == "postgresql":
            _copy(tx, table, columns, rows)
        else:
            _insert_many(tx, table, columns, rows, over)


def rows(tx: Connection, sql: str, values: Sequence[object]) -> Sequence[Any]:
    """The driver's own rows, bytes as bytes: making SQLAlchemy's of them costs more than reading them."""
    if tx.dialect.name == "sqlite":
        cursor: Any = tx.exec_driver_sql(sql, tuple(values)).cursor
        return cursor.fetchall()  # type: ignore[no-any-return]  # the driver's
    driver: Any = tx.connection.driver_connection
    with driver.cursor(binary=True) as cursor:
        found: Sequence[Any] = cursor.execute(sql.replace("?", "%s"), values).fetchall()
        return found


def _copy(tx: Connection, table: str, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    """Binary COPY, bytes by psycopg's own C: the dumper it would take, for the DB-API's `Binary`, is Python,
    and makes three times the work of a log."""
    from psycopg.types.string import BytesBinaryDumper  # an extra: not there where SQLite is all one needs

    driver: Any = tx.connection.driver_connection
    with driver.cursor() as cursor:
        cursor.adapters.register_dumper(bytes, BytesBinaryDumper)
        with cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)") as copy:
            types = [_TYPES.get(f"{table}.{column}") or _TYPES.get(column, "int8") for column in columns]
            narrow = [place for place, kind in enumerate(types) if kind == "int4"]
            copy.set_types(types)
            for row in rows:
                for place in narrow:
                    if not _NARROWEST <= row[place] <= _WIDEST:
                        raise _too_wide(table, columns[place], row[place])
                try:
                    copy.write_row(row)
                except OverflowError as error:
                    for column, kind, value in zip(columns, types, row, strict=True):
                        if kind == "int8" and value is not None and not -MOST - 1 <= value <= MOST:
                            raise _too_wide(table, column, value) from error
                    raise


def _too_wide(table: str, column: str, value: int) -> DataRefused:
    return unfit(f"{shown(value)} for {table}.{column}, which is not as wide")


def _insert_many(
    tx: Connection, table: str, columns: Sequence[str], rows: Iterable[tuple[Any, ...]], over: str
) -> None:
    """As many rows a statement as fit, the rest one by one.

    A quarter less work than one row each, and SQLite works without the interpreter's lock for as long as a
    statement takes: others decode meanwhile.
    """
    driver: Any = tx.connection.driver_connection
    row = f"({', '.join('?' * len(columns))})"
    into = f"INSERT INTO {table} ({', '.join(columns)}) VALUES "
    together = max(1, _VALUES // len(columns))
    full = f"{into}{', '.join([row] * together)} {over}"
    for some in batches(rows, together):
        if len(some) == together:
            driver.execute(full, tuple(chain.from_iterable(some)))
        else:
            driver.executemany(f"{into}{row} {over}", some)
