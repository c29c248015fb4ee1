"""The command for a team that comes from a script: what its collection has wrong, and taking it over."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from msgspec import structs

from projections.service.application import adopt as application
from projections.service.application.adopt import Adopted
from projections.service.cli.app import JsonOption, app, configuration
from projections.service.cli.opening import steps_of
from projections.service.runtime.run_recorder import recorded
from projections.service.runtime.wiring import planned
from projections.service.terminal.display import PROGRESS
from projections.service.terminal.output import out, print_json

SHOWN = 5
"""Documents that are named for each cause, for people; --json has more."""


@app.command()
def adopt(
    projection: Annotated[str, typer.Argument(help="Which projection.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what differs; write nothing.")] = False,
    normalise: Annotated[
        bool, typer.Option("--normalise", help="Write addresses in mixed case in lower case first.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Take over a collection that a script of yours filled.

    Fetches and folds, says which documents differ and most likely why, then writes ours over them.
    Fields that are not ours stay.
    """
    with planned(configuration()) as plan, recorded(plan.store, f"adopt {projection}") as note:
        progress = structs.replace(PROGRESS, steps=steps_of(plan))
        done = application.adopt(plan, projection, dry_run=dry_run, normalise=normalise, progress=progress)
        note(str(done.report))
    if as_json:
        print_json(_record(done))
    else:
        _show(done)
    if not done.complete:
        raise typer.Exit(1)


def _record(done: Adopted) -> dict[str, Any]:
    normalised = None if done.rewritten is None else {"rewritten": done.rewritten, "merged": done.merged}
    return {
        "summary": str(done.report),
        "dry_run": done.dry_run,
        **structs.asdict(done.report),
        "examples": [structs.asdict(item) for item in done.report.examples],
        "normalised": normalised,
        "conflicts": done.conflicts,
        "left": done.left,
    }


def _show(done: Adopted) -> None:
    console = out()
    console.print(str(done.report))
    seen: dict[str, int] = {}
    for item in done.report.examples:
        seen[item.cause] = seen.get(item.cause, 0) + 1
        if seen[item.cause] <= SHOWN:
            how = ", ".join(f"{name} is {held}, not {right}" for name, (held, right) in item.fields.items())
            console.print(f"   {item.key} {item.cause}{': ' + how if how else ''}")
    if done.report.mixed and done.rewritten is None:
        console.print("Addresses in mixed case get a second document in lower case: see --normalise.")
    if done.rewritten is not None:
        console.print(f"{done.rewritten:,} addresses were written in lower case, {done.merged:,} merged.")
    for key, fields in done.conflicts.items():
        console.print(
            f"{key} was left: its {', '.join(fields)} stands against that of its twin in lower case."
        )
    for key, detail in list(done.left.items())[:SHOWN]:
        console.print(f"{key} was not taken over: it {detail}")
    if done.dry_run:
        console.print("Nothing was written.")
    elif done.left:
        console.print(f"The collection is taken over but for {len(done.left):,} documents.")
    else:
        console.print("The collection is taken over.")
