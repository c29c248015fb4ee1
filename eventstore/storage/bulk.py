"""Many rows into one table and out of it by the fastest road of each engine, in the caller's transaction."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Dialect, Table
from sqlalchemy.dialects import postgresql

from eventstore.errors import DataRefused
from eventstore.storage.batches import batches
from eventstore.storage.legal import MOST, shown
from eventstore.storage.refused_values import unfit, values_of_python

_COPIED = {"BIGINT": "int8", "INTEGER": "int4", "BYTEA": "bytea", "TEXT": "text", "VARCHAR": "text"}
"""The name that binary COPY needs for each type of column."""

_POSTGRESQL: Final[Dialect] = postgresql.dialect()  # type: ignore[no-untyped-call]  # untyped upstream

_NARROWEST, _WIDEST = -(2**31), 2**31 - 1
"""Of an int4. The driver writes a wider number as another one, and says nothing; of an int8 it refuses it."""


_VALUES = 14_300
"""The most values that one statement carries into SQLite, which takes 32,766: 1,300 logs."""


def insert(tx: Connection, table: Table, rows: Iterable[tuple[Any, ...]], *, over: str = "") -> None:
    """Inserts rows that hold all columns of `table`, in its order: binary COPY on PostgreSQL, statements of
    many rows on SQLite.

    An iterable of rows takes little memory, and PostgreSQL writes some while the next are made. `over` is the
    ON CONFLICT clause, on SQLite only: COPY has none. Raises `DataRefused` for a value that no column holds.
    """
    if isinstance(rows, Sequence) and not rows:
        return
    with values_of_python():
        if tx.dialect.name == "postgresql":
            _copy(tx, table, rows)
        else:
            _insert_many(tx, table, rows, over)


def rows(tx: Connection, sql: str, values: Sequence[object]) -> Sequence[Any]:
    """The driver's own rows, bytes as bytes: making SQLAlchemy's of them costs more than reading them."""
    if tx.dialect.name == "sqlite":
        cursor: Any = tx.exec_driver_sql(sql, tuple(values)).cursor
        return cursor.fetchall()  # type: ignore[no-any-return]  # the driver's
    driver: Any = tx.connection.driver_connection
    with driver.cursor(binary=True) as cursor:
        found: Sequence[Any] = cursor.execute(sql.replace("?", "%s"), values).fetchall()
        return found


class _Copy(NamedTuple):
    statement: str
    columns: list[str]
    types: list[str]
    narrow: list[int]


@cache
def _copy_of(table: Table) -> _Copy:
    """How rows of `table` are copied: worked out once for each table, not for each call."""
    columns = [column.name for column in table.columns]
    types = [
        _COPIED[re.split(r"\W", column.type.compile(dialect=_POSTGRESQL))[0]] for column in table.columns
    ]
    return _Copy(
        f"COPY {table.name} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)",
        columns,
        types,
        [place for place, kind in enumerate(types) if kind == "int4"],
    )


def _copy(tx: Connection, table: Table, rows: Iterable[tuple[Any, ...]]) -> None:
    """Binary COPY, bytes by psycopg's own C: the dumper it would take, for the DB-API's `Binary`, is Python,
    and makes three times the work of a log."""
    from psycopg.types.string import BytesBinaryDumper  # an extra: not installed where SQLite is enough

    statement, columns, types, narrow = _copy_of(table)
    driver: Any = tx.connection.driver_connection
    with driver.cursor() as cursor:
        cursor.adapters.register_dumper(bytes, BytesBinaryDumper)
        with cursor.copy(statement) as copy:
            copy.set_types(types)
            for row in rows:
                for place in narrow:
                    if not _NARROWEST <= row[place] <= _WIDEST:
                        raise _too_wide(table.name, columns[place], row[place])
                try:
                    copy.write_row(row)
                except OverflowError as error:
                    for column, kind, value in zip(columns, types, row, strict=True):
                        if kind == "int8" and value is not None and not -MOST - 1 <= value <= MOST:
                            raise _too_wide(table.name, column, value) from error
                    raise


def _too_wide(table: str, column: str, value: int) -> DataRefused:
    return unfit(f"{shown(value)} for {table}.{column}, which is not as wide")


def _insert_many(tx: Connection, table: Table, rows: Iterable[tuple[Any, ...]], over: str) -> None:
    """As many rows a statement as fit, the rest one by one.

    A quarter less work than one row each, and SQLite works without the interpreter's lock for as long as a
    statement takes: others decode meanwhile.
    """
    driver: Any = tx.connection.driver_connection
    columns = table.columns.keys()
    row = f"({', '.join('?' * len(columns))})"
    into = f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES "
    together = max(1, _VALUES // len(columns))
    full = f"{into}{', '.join([row] * together)} {over}"
    for some in batches(rows, together):
        if len(some) == together:
            driver.execute(full, tuple(chain.from_iterable(some)))
        else:
            driver.executemany(f"{into}{row} {over}", some)
