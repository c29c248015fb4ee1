"""What a command prints: text and tables for people, JSON for programs."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table


def out() -> Console:
    """Standard output, for people: as wide as the terminal, never wrapped into a pipe."""
    if sys.stdout.isatty():
        return Console(highlight=False, markup=False)
    return Console(soft_wrap=True, width=100_000, highlight=False, markup=False)


def note(text: str) -> None:
    """A remark for people, on stderr: it does not belong to the answer."""
    Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(text)


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value)).decode() + "\n")


def table(title: str, columns: list[str], rows: list[list[Any]]) -> Table:
    """A plain table; numbers to the right, null as a dash."""
    made = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        numeric = all(isinstance(row[index], int | float | None) for row in rows) and bool(rows)
        made.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        made.add_row(*(shown(value) for value in row))
    return made


def shown(value: Any) -> str:
    """A value as people read it: thousands apart, nothing as a dash."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.1f}"
        case _:
            return str(value)
