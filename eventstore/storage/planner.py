"""PostgreSQL's planner, held to the one road that does not depend on what its statistics know.

Law: a statement that works by key, page by page, costs what it touches, regardless of the statistics. They
lag behind by nature: of rows that this transaction wrote, of a build that began after the last ANALYZE, of
another chain, they know nothing, expect one row, and what is right for one row takes the square of a million.
So such a statement is written to leave one plan (keys in an array, each looked up in a `LATERAL ... OFFSET
0`, which is not folded into the rest) and runs `by_index`. What reads whole generations or the whole journal
runs `by_pass`: each table is read once, in any way. Plans are made for each execution: one that is kept
for later was made for tables of another size. SQLite goes by its indexes and by the order of a CROSS JOIN.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakSet

from sqlalchemy import Connection

_BY_INDEX = (
    "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off; "
    "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL enable_material = off; "
    "SET LOCAL enable_nestloop = on; SET LOCAL enable_incremental_sort = off; "
    "SET LOCAL jit = off"
)
"""Of what is switched off the planner thinks that it costs so much that it would compile the statement."""

_BY_PASS = (
    "SET LOCAL enable_seqscan = on; SET LOCAL enable_bitmapscan = on; SET LOCAL enable_sort = on; "
    "SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on; SET LOCAL enable_nestloop = off; "
    "SET LOCAL jit = off"
)

_told: WeakSet[Connection] = WeakSet()
"""The transactions that go by index already: a connection of SQLAlchemy's lives for one."""


def by_index(tx: Connection) -> None:
    """From here to the end of the transaction rows are found by index, in the order of one, one after the
    other; what no index orders is sorted all the same."""
    if tx.dialect.name == "postgresql" and tx not in _told:
        tx.exec_driver_sql(_BY_INDEX)
        _told.add(tx)


@contextmanager
def merging(tx: Connection) -> Iterator[None]:
    """Within this, two tables in the order of their keys may be gone through side by side."""
    by_index(tx)
    if tx.dialect.name != "postgresql":
        yield
        return
    tx.exec_driver_sql("SET LOCAL enable_mergejoin = on")
    yield
    tx.exec_driver_sql("SET LOCAL enable_mergejoin = off")


def by_pass(tx: Connection) -> None:
    """From here to the end of the snapshot tables are joined by reading each of them once: for what compares
    or counts all that there is, in a snapshot of its own."""
    if tx.dialect.name == "postgresql":
        tx.exec_driver_sql(_BY_PASS)
        _told.discard(tx)


def key_by_key(
    tx: Connection, columns: str, table: str, name: str, on: str, *, left: bool = False, order: str = ""
) -> str:
    """The part of a FROM that looks `name` up in `table` for each row of what stands before it; with `left`
    that row stays where nothing is found. `columns` are all that is asked of it; `on` names its columns by
    `name`, and so does `order`, which tells which of several indexes is meant."""
    if tx.dialect.name == "sqlite":
        return f"{'LEFT' if left else 'CROSS'} JOIN {table} {name} ON {on}"
    ordered = f"ORDER BY {order} " if order else ""
    looked_up = f"LATERAL (SELECT {columns} FROM {table} {name} WHERE {on} {ordered}OFFSET 0) {name}"
    return f"LEFT JOIN {looked_up} ON true" if left else f"CROSS JOIN {looked_up}"
