"""SQL by table: history in its own room, and each small table in one file."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("eventstore", "projections", "chainfold")
HISTORY = ("entries", "entry_kinds", "logs", "blocks", "orphans", "log_kinds")
DECLARED = ("eventstore/storage/schema.py", "eventstore/storage/history_tables.py")
SMALL = {
    "progress": "eventstore/journal/progress.py",
    "chains": "eventstore/journal/chains.py",
    "store": "eventstore/storage/identity.py",
    "skips": "projections/fold/skips.py",
}


def named(text: str, tables: tuple[str, ...]) -> list[str]:
    """The tables that a piece of SQL names."""
    found = re.findall(r'\b(?:FROM|JOIN|INTO|UPDATE|TABLE|ANALYZE)\s+"?(\w+)', text)
    found += re.findall(r"\bFROM\s+\w+(?: \w+)?, *(\w+)", text)
    return [table for table in found if table in tables]


def strings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Each string with its line, an f-string with marks in the place of what is put in."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        elif isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "?" for part in node.values]
            yield node.lineno, "".join(map(str, parts))


def tables_by_object(tree: ast.AST, tables: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Uses of `schema.<table>`, which SQLAlchemy makes SQL of."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="schema" | "history_tables"), attr=table) if table in tables:
                yield node.lineno, table


def speakers(tables: tuple[str, ...]) -> dict[str, list[str]]:
    """By file the places that name one of these tables in SQL; migrations made them and may."""
    found: dict[str, list[str]] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            file = path.relative_to(ROOT).as_posix()
            if "/migrations/" in file or file in DECLARED:
                continue
            tree = ast.parse(path.read_text())
            for line, text in strings(tree):
                found.setdefault(file, []).extend(f"{line}: {table}" for table in named(text, tables))
            found.setdefault(file, []).extend(
                f"{line}: {table}" for line, table in tables_by_object(tree, tables)
            )
    return {file: places for file, places in found.items() if places}


def test_only_the_journal_speaks_sql_to_history() -> None:
    found = speakers(HISTORY)
    assert len(found) > 5
    strangers = {file: places for file, places in found.items() if not file.startswith("eventstore/journal/")}
    assert strangers == {}


@pytest.mark.parametrize("table", SMALL)
def test_a_small_table_has_one_owner(table: str) -> None:
    assert list(speakers((table,))) == [SMALL[table]]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 FROM logs",
        "SELECT 1 FROM blocks b JOIN entries e ON e.entry = b.entry",
        "INSERT INTO orphans VALUES (1)",
        "UPDATE log_kinds SET kind = 1",
        "LOCK TABLE logs IN SHARE MODE",
    ],
)
def test_the_search_sees_each_form_of_statement(sql: str) -> None:
    assert named(sql, HISTORY)


def test_the_search_passes_over_prose_and_other_tables() -> None:
    assert not named("logs from blocks that were updated; FROM changes c JOIN documents d", HISTORY)
