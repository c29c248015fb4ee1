"""The commands that change a projection by hand: rebuild, rollback, resume.

They ask the process that holds the projection's lease, so they work while the service runs.
"""

from __future__ import annotations

from typing import Annotated

import typer

from projections.service.application.rebuild import Rebuilt, generations
from projections.service.application.rebuild import rebuild as build_again
from projections.service.cli.app import ProjectionArgument, app, configuration
from projections.service.records.requests import Requests, Resume, Rollback
from projections.service.records.results import sentence
from projections.service.runtime.asking import ask
from projections.service.runtime.run_recorder import recorded
from projections.service.runtime.wiring import planned
from projections.service.terminal.display import showing
from projections.service.terminal.output import out


@app.command()
def rebuild(
    projection: ProjectionArgument,
    *,
    promote: Annotated[
        bool, typer.Option("--promote/--no-promote", help="Replace what is served when it is finished.")
    ] = True,
    back: Annotated[
        bool, typer.Option("--back", help="Take up again what this code built before other code did.")
    ] = False,
) -> None:
    """Fold a projection again, then replace what is served.

    It folds from the first block, beside what is served.
    With --no-promote it waits, and says what differs; a later `rebuild` then puts it in place.
    """
    with planned(configuration()) as plan, recorded(plan.store, f"rebuild {projection}"):
        done = build_again(
            plan,
            projection,
            promote=promote,
            back=back,
            shown=showing,
            begun=lambda it: out().print(sentence(it)),
        )
    if done.events:
        rate = done.events / done.seconds
        out().print(f"{done.events:,} events folded in {done.seconds:.1f} s ({rate:,.0f}/s)")
    for line in _compared(done):
        out().print(line)
    for process in done.idle:
        said = f"{process} is of other code: it stands still from now on."
        out().print(f"{said} Start it again with this code.")


def _compared(done: Rebuilt) -> list[str]:
    """What differs between the generations, in lines."""
    old, new, found = done.old, done.new, done.comparison
    if old is None or new is None or found is None:
        return []
    if found.equal:
        return [f"generations {old.id} and {new.id} are equal: {new.digest.hex()}"]
    at = "" if old.block == new.block else f" at block {new.block:,}, not {old.block:,}"
    lines = [
        f"generation {new.id} against {old.id}{at}: {found.different:,} documents differ, "
        f"{found.only_new:,} are new, {found.only_old:,} are gone; e.g."
    ]
    return lines + [f"  {key}" for key in found.examples]


@app.command()
def rollback(
    projection: ProjectionArgument,
    *,
    to_block: Annotated[int, typer.Option(min=0, help="The newest block whose events stay folded.")],
    hold: Annotated[bool, typer.Option("--hold", help="Wait there until `chainfold resume`.")] = False,
) -> None:
    """Rewind a projection to a past block.

    It replays from there, or waits with --hold.
    """
    with planned(configuration()) as plan, recorded(plan.store, f"rollback {projection}"):
        served = generations(plan, projection)[0]
        if served is not None and to_block < served.floor:
            out().print(
                f"Block {to_block} is below {served.floor}, the oldest block that can be undone: "
                f"{served.block:,} blocks are folded again from the first one, beside what is served."
            )
        answer = ask(plan.fold_of(projection), Requests(plan.store), Rollback(to_block, hold))
    out().print(f"{projection}: {sentence(answer)}. The next sync or the running service publishes it.")


@app.command()
def resume(projection: ProjectionArgument) -> None:
    """Let a projection go on that `rollback --hold` made wait."""
    with planned(configuration()) as plan:
        answer = ask(plan.fold_of(projection), Requests(plan.store), Resume())
    out().print(f"{projection}: {sentence(answer)}.")
