"""The Typer application that the command files add to, and the options that all of them share."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from projections.service.config import Config, load

ORDER = ("demo", "init", "check", "sync", "run", "status", "show", "stats", "events")
"""The commands as one comes to need them; the others follow."""


class _InOrder(TyperGroup):
    """Lists the commands in the order of their use."""

    def list_commands(self, ctx: Any) -> list[str]:
        there = super().list_commands(ctx)
        return [name for name in ORDER if name in there] + [name for name in there if name not in ORDER]


app = typer.Typer(
    name="chainfold",
    cls=_InOrder,
    help="Folds the events of smart contracts into MongoDB documents and Redis hashes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class Options:
    """What was said before the command's name."""

    config: Path | None = None
    debug: bool = False


options = Options()

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def _version(*, wanted: bool) -> None:
    if wanted:
        out().print(f"chainfold {version('chainfold')}")
        raise typer.Exit


@app.callback()
def shared(
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="The configuration; default CHAINFOLD_CONFIG or chainfold.toml."),
    ] = None,
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    _shown: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Say which version this is.",
            is_eager=True,
            callback=lambda wanted: _version(wanted=wanted),
        ),
    ] = False,
) -> None:
    options.config = config
    options.debug = debug


def configuration() -> Config:
    """The configuration that the command was given; `ConfigurationError` where it cannot be used."""
    return load(options.config)


def out() -> Console:
    """Standard output, for people: as wide as the terminal, never wrapped into a pipe."""
    if sys.stdout.isatty():
        return Console(highlight=False, markup=False)
    return Console(soft_wrap=True, width=100_000, highlight=False, markup=False)


def note(text: str) -> None:
    """A remark for people, on stderr: it is no part of the answer."""
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
