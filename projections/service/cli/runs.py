"""The command that lists the runs: what was run, when, by whom, and how it ended."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import typer

from projections.service.cli.app import JsonOption, app, configuration
from projections.service.records.runs import Run, Runs
from projections.service.runtime.wiring import planned
from projections.service.terminal.output import out, print_json, table
from projections.values.moment import moment


@app.command()
def runs(
    *,
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 20,
    before: Annotated[int | None, typer.Option(min=1, help="Only runs with a lower number.")] = None,
    command: Annotated[str | None, typer.Option(help="Only runs of this command, e.g. sync.")] = None,
    as_json: JsonOption = False,
) -> None:
    """What was run, when, and how it ended."""
    with planned(configuration()) as plan, plan.store.read() as tx:
        found = Runs(tx).listed(limit=limit, before=before, command=command)
    if as_json:
        print_json([_record(run) for run in found])
        return
    columns = ["", "command", "by", "started", "took", "ended", "what it did"]
    rows: list[list[Any]] = [
        [str(run.id), run.command, _by(run), when(run.started_at), _took(run), run.state, run.detail]
        for run in found
    ]
    out().print(table("", columns, rows))
    if len(found) == limit:
        out().print(f"There may be more: --before {found[-1].id}.")


def _record(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "command": run.command,
        "origin": run.origin,
        "by": _by(run),
        "due_at": None if run.due_at is None else run.due_at / 1e6,
        "started_at": run.started_at / 1e6,
        "finished_at": None if run.finished_at is None else run.finished_at / 1e6,
        "seconds": run.seconds,
        "state": run.state,
        "outcome": None if run.outcome is None else int(run.outcome),
        "detail": run.detail,
    }


def _by(run: Run) -> str:
    """The schedule or a person, and which process on which machine."""
    host, _, pid, _ = run.owner.split("|") if run.owner.count("|") == 3 else ("", "", "", "")
    return f"{run.origin}{f' ({host} {pid})' if pid else ''}"


def _took(run: Run) -> str | None:
    """0.3 s, or h:mm:ss from a minute on."""
    if run.seconds is None:
        return None
    return f"{run.seconds:.1f} s" if run.seconds < 60 else str(timedelta(seconds=round(run.seconds)))


def when(micros: int | None) -> str | None:
    """A time as people read it, in UTC."""
    return None if micros is None else moment(micros / 1e6)
