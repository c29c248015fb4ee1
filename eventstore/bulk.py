"""Many rows into one table by the fastest road of each engine, inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection

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
    "log_index": "int4",
    "kind": "int4",
    "tx_index": "int4",
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


def insert(tx: Connection, table: str, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    """Inserts the rows: binary COPY on PostgreSQL, one prepared statement on SQLite.

    Measured: 350,000 and 180,000 rows a second, where an INSERT of dictionaries does 45,000. Rows that are
    made one after the other need no room at once, and PostgreSQL writes some while the next are made.
    """
    if isinstance(rows, Sequence) and not rows:
        return
    names = ", ".join(columns)
    driver: Any = tx.connection.driver_connection
    if tx.dialect.name == "postgresql":
        with (
            driver.cursor() as cursor,
            cursor.copy(f"COPY {table} ({names}) FROM STDIN (FORMAT BINARY)") as copy,
        ):
            copy.set_types(
                [_TYPES.get(f"{table}.{column}") or _TYPES.get(column, "int8") for column in columns]
            )
            for row in rows:
                copy.write_row(row)
        return
    marks = ", ".join("?" * len(columns))
    driver.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)
