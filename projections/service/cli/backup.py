"""The commands that take the journal out of the store and put it into another: backup, restore."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eventstore.backup.restoration import Restored
from projections.service.cli.app import JsonOption, app, configuration
from projections.service.runtime import backup as service
from projections.service.runtime.run_recorder import recorded
from projections.service.runtime.wiring import planned
from projections.service.terminal.bars import counted
from projections.service.terminal.output import out, print_json
from projections.values.moment import moment

Directory = Annotated[Path, typer.Argument(help="The directory of the backup.", show_default=False)]


@app.command()
def backup(directory: Directory, *, as_json: JsonOption = False) -> None:
    """Write the journal into a directory; again, only what is new since.

    Runs beside the service. What an interrupted backup had written is kept, the former one stands until then.
    """
    with (
        planned(configuration()) as plan,
        recorded(plan.store, "backup") as note,
        counted("backup") as progress,
    ):
        done = service.backup(plan.store, directory, progress=progress)
        note(f"{directory}: {service.said(done)}")
    if as_json:
        print_json(done)
        return
    out().print(f"{directory}: {service.said(done)}")
    for chain in done.chains:
        out().print(f"chain {chain.chain_id}: entry {chain.entries:,}, digest {chain.digest}")


@app.command()
def restore(
    directory: Directory,
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Look at all of the backup, and restore nothing.")
    ] = False,
    keep_id: Annotated[
        bool,
        typer.Option(
            "--keep-id",
            help="This store replaces the store that was backed up, which is not used any more.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Put a backup into the store of the configuration, which must be empty: all of it, or nothing."""
    if check:
        with counted("check") as progress:
            found = service.check(directory, progress=progress)
    else:
        with planned(configuration()) as plan, counted("restore") as progress:
            found = service.restore(plan.store, directory, keep_id=keep_id, progress=progress)
    if as_json:
        print_json(found)
        return
    out().print(_line(found, "holds" if check else "restored:"))
    for chain in found.chains:
        out().print(f"chain {chain.chain_id}: entry {chain.entries:,}, digest {chain.digest}")
    if not check:
        out().print(f"This store is {found.store}. Next: `chainfold sync`, and for sinks that are filled")
        out().print("already `chainfold sync --take-over`.")


def _line(found: Restored, verb: str) -> str:
    taken = moment(found.taken_at)
    what = f"{found.logs:,} logs in {found.entries:,} entries"
    return f"The backup of {taken} {verb} {what}, every digest as it must be ({found.seconds:.1f} s)."
