"""(h) How many bytes a log takes on disk, indexes included, on SQLite and on PostgreSQL, table by table.

    python -m bench.disk --logs 100000 --seed 1

Registrations, 20 a block, a thousand blocks to an entry. PostgreSQL counts the pages
of tables and indexes, SQLite those of its file, both after what they left behind was swept up.
"""

from __future__ import annotations

import argparse
import sqlite3
from pathlib import Path
from typing import get_args

import msgspec
import psycopg
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from bench import stores
from bench.machine import Machine, machine, written
from bench.rebuild import Place, fill
from bench.scenario import Scenario

_TABLES = ("logs", "blocks", "entries", "entry_kinds", "log_kinds", "orphans")

_POSTGRESQL = """
SELECT t.relname, i.relname, pg_relation_size(i.oid) FROM pg_class t JOIN pg_index x ON x.indrelid = t.oid
JOIN pg_class i ON i.oid = x.indexrelid WHERE t.relname = ANY(%s)
UNION ALL SELECT relname, '', pg_table_size(oid) FROM pg_class WHERE relname = ANY(%s) ORDER BY 1, 2
"""


class Part(Struct, frozen=True):
    """A table (`index` empty) or one of its indexes, and its bytes."""

    table: str
    index: str
    size: int


class Measured(Struct, frozen=True):
    """One store; the whole of its history, part by part."""

    store: str
    logs: int
    parts: list[Part]

    @property
    def per_log(self) -> float:
        return sum(part.size for part in self.parts) / self.logs


class Report(Struct, frozen=True):
    machine: Machine
    scenario: Scenario
    stores: list[Measured]


def measure(kind: stores.Kind, scenario: Scenario) -> Measured:
    """A fresh store with this history in it."""
    with stores.server(kind) as uri, stores.empty(uri) as url:
        fill(Place(url, ""), scenario)
        parts = _sqlite(url) if kind == "sqlite" else _postgresql(url)
    return Measured(kind, scenario.events, parts)


def _postgresql(url: str) -> list[Part]:
    with psycopg.connect(stores.conninfo(url), autocommit=True) as connection:
        connection.execute("VACUUM")
        rows = connection.execute(_POSTGRESQL, (list(_TABLES), list(_TABLES))).fetchall()
    return [Part(*row) for row in rows]


def _sqlite(url: str) -> list[Part]:
    """By `dbstat` where this SQLite has it; else the file as a whole."""
    with sqlite3.connect(stores.path_of(url)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        try:
            rows = connection.execute(
                "SELECT m.tbl_name, CASE m.type WHEN 'index' THEN m.name ELSE '' END, sum(d.pgsize) "
                "FROM dbstat d JOIN sqlite_schema m ON m.name = d.name GROUP BY m.tbl_name, m.name"
            ).fetchall()
        except sqlite3.OperationalError:
            size = stores.size(url)
            return [Part("the whole file", "", size)]
    return [Part(*row) for row in rows if row[0] in _TABLES]


def table(report: Report) -> Table:
    """Bytes a log, part by part."""
    made = Table(title=f"{report.scenario.events:,} registrations, {report.scenario.per_block} a block")
    for column in ("store", "table", "index", "bytes", "a log"):
        made.add_column(column, justify="right" if column in ("bytes", "a log") else "left")
    for measured in report.stores:
        made.add_section()
        for part in sorted(measured.parts, key=lambda part: -part.size):
            share = part.size / measured.logs
            if share >= 0.05:
                made.add_row(measured.store, part.table, part.index, f"{part.size:,}", f"{share:.1f}")
        total = sum(part.size for part in measured.parts)
        made.add_row(measured.store, "all", "", f"{total:,}", f"{measured.per_log:.1f}", style="bold")
    return made


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.disk", description=__doc__.splitlines()[0])
    parser.add_argument("--logs", type=int, default=100_000)
    parser.add_argument("--per-block", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stores", choices=get_args(stores.Kind), nargs="+", default=get_args(stores.Kind))
    parser.add_argument("--json", type=Path, help="where to write what was measured (bench/results/)")
    chosen = parser.parse_args()
    scenario = Scenario(chosen.logs, chosen.logs // 2, chosen.per_block, chosen.seed)
    report = Report(machine(), scenario, [measure(kind, scenario) for kind in chosen.stores])
    written(msgspec.json.encode(report), chosen.json, name="disk")
    Console(width=110).print(table(report))


if __name__ == "__main__":
    main()
