"""What PostgreSQL read for each statement, by its own numbers: every one is explained where it runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from msgspec import Struct
from sqlalchemy import event

from eventstore.storage.store import Store

_VERBS = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")
_REMOVED = ("Rows Removed by Filter", "Rows Removed by Join Filter", "Rows Removed by Index Recheck")


class Read(Struct, frozen=True):
    """A statement: `rows` that the parts of its plan had in hand, and `named`, which it changed, gave back
    or was asked for by key."""

    sql: str
    rows: int
    named: int
    plan: str

    def __str__(self) -> str:
        return f"{self.rows:,} rows for {self.named:,}: {self.sql}\n{self.plan}"


@contextmanager
def explained(store: Store) -> Iterator[list[Read]]:
    """All that this store executes from here on, in order, by any thread."""
    found: list[Read] = []

    class Explaining(psycopg.Cursor[Any]):
        def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
            sql = str(query).lstrip()
            if not sql.startswith(_VERBS) or "pg_" in sql or "set_config" in sql:
                return super().execute(query, params, **options)
            plan = self._plan(sql, params)
            super().execute(query, params, **options)
            asked = sum(len(value) for value in _values(params) if isinstance(value, list))
            named = max(0, self.rowcount) + asked
            found.append(Read(" ".join(sql.split()), round(_work(plan)), named, "\n".join(_drawn(plan))))
            return self

        def _plan(self, sql: str, params: Any) -> Any:
            """The plan as it came out. A change is taken back, and made once more by the statement itself."""
            changes = not sql.startswith("SELECT")
            with psycopg.Cursor(self.connection) as beside:
                if changes:
                    beside.execute("SAVEPOINT explained")
                beside.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}", params)
                ((plan,),) = beside.fetchall()
                if changes:
                    beside.execute("ROLLBACK TO SAVEPOINT explained")
            return (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]

    def explain(connection: Any, _record: object) -> None:
        connection.cursor_factory = Explaining

    store.engine.dispose()
    event.listen(store.engine, "connect", explain)
    try:
        yield found
    finally:
        event.remove(store.engine, "connect", explain)
        store.engine.dispose()


def _work(node: dict[str, Any]) -> float:
    """Rows that came out of each node, or that it threw away."""
    own = node["Actual Rows"] + sum(node.get(removed, 0) for removed in _REMOVED)
    return own * node["Actual Loops"] + sum(_work(part) for part in node.get("Plans", ()))


def _drawn(node: dict[str, Any], depth: int = 1) -> Iterator[str]:
    of = node.get("Index Name") or node.get("Relation Name") or node.get("Function Name") or ""
    said = [
        f"{name}: {node[name]}"
        for name in ("Index Cond", "Filter", "Join Filter", *_REMOVED)
        if node.get(name)
    ]
    rows = f"{node['Actual Rows']} rows x {node['Actual Loops']} (expected {node['Plan Rows']})"
    yield f"{'  ' * depth}{node['Node Type']} {of} {rows} {'; '.join(said)}"[:300]
    for part in node.get("Plans", ()):
        yield from _drawn(part, depth + 1)


def _values(params: Any) -> list[Any]:
    return list(params.values()) if isinstance(params, dict) else list(params or ())
