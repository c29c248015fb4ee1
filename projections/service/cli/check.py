"""The command that tries everything before it is needed: check."""

from __future__ import annotations

import typer

from projections.service.checkup import checkup
from projections.service.cli.app import JsonOption, app, configuration
from projections.service.runtime.wiring import Plan
from projections.service.terminal.output import out, print_json


@app.command()
def check(*, as_json: JsonOption = False) -> None:
    """What would fail, before it does.

    Tries all that `sync` and `run` need at their start: configuration, store, every node, projections, sinks,
    the server, alerts. Exit code 1 where one of them would be refused; remarks do not change it.
    """
    plan = Plan(configuration())
    try:
        found = list(checkup(plan))
    finally:
        plan.close()
    if as_json:
        print_json(found)
    else:
        for item in found:
            out().print(
                f"{'ok  ' if item.ok else 'FAIL'}  {item.name}{f': {item.error}' if item.error else ''}"
            )
            for note in item.notes:
                out().print(f"      note: {note}")
    if not all(item.ok for item in found):
        raise typer.Exit(1)
