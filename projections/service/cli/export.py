"""The command that hands canonical logs to analysts: export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eventstore.errors import ChainfoldError
from eventstore.journal.history import Question
from projections.errors import ConfigurationError
from projections.service.cli.app import JsonOption, app, configuration
from projections.service.export.parquet import ExportedChain, export_events, export_logs
from projections.service.runtime.wiring import Plan, planned
from projections.service.status.declared import Declared
from projections.service.terminal.bars import counted
from projections.service.terminal.output import note, out, print_json


@app.command()
def export(
    target: Annotated[
        Path, typer.Argument(help="The file; with --decoded the directory of the files.", show_default=False)
    ],
    *,
    contract: Annotated[str | None, typer.Option(help="Only the logs of this contract.")] = None,
    from_block: Annotated[int, typer.Option(min=0)] = 0,
    to_block: Annotated[int | None, typer.Option(min=0)] = None,
    decoded: Annotated[
        bool, typer.Option("--decoded", help="A file for each declared event, its parameters as columns.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the canonical logs as Parquet: raw into one file, or decoded into a file for each event.

    Needs the extra parquet: pip install ".[parquet]" in the checkout of chainfold.
    """
    if to_block is not None and to_block < from_block:
        raise ConfigurationError(f"--from-block {from_block} is above --to-block {to_block}.")
    if not decoded and target.is_dir():
        raise ConfigurationError(f"{target} is a directory.", hint="Name a file in it, or say --decoded.")
    with planned(configuration()) as plan, counted("export") as progress:
        sources = _sources(plan, contract, decoded=decoded)
        asked = Question(first=from_block, last=to_block)
        write = export_events if decoded else export_logs
        try:
            done = write(plan.store, target, sources, asked, progress=progress)
        except OSError as error:
            raise ChainfoldError(
                f"{target} cannot be written: {error.strerror or error}.", hint="Nothing was left there."
            ) from error
    if as_json:
        print_json(done)
        return
    for file in done.files:
        out().print(f"{file.path}: {file.rows:,} rows, {file.bytes:,} bytes")
    if done.undecoded:
        note(f"{done.undecoded:,} logs are not of the shape that is declared for them; export them raw.")


def _sources(plan: Plan, contract: str | None, *, decoded: bool) -> list[ExportedChain]:
    """The chains, and what is wanted of each: what is declared, all of one contract, or all."""
    chains = list(plan.config.chains) if contract is None else [plan.contract(contract).chain]
    found = []
    for name in chains:
        declared = Declared(plan.config, name, contract=contract)
        filters = None if contract is None and not decoded else tuple(declared.filters(declared=decoded))
        found.append(ExportedChain(plan.config.chains[name].chain_id, declared, filters))
    return found
