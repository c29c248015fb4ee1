"""The Typer application that the command files add to, and the options that all of them share."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from projections.service.config.loader import load
from projections.service.config.settings import Config
from projections.service.terminal.output import out

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

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]

ProjectionArgument = Annotated[str, typer.Argument(metavar="PROJECTION", help="Which projection.")]


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
