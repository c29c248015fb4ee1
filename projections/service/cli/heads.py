"""The command that settles whether a node lags or its chain moved back: heads."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from projections.errors import ConfigurationError
from projections.service.cli.app import JsonOption, app, configuration
from projections.service.records.requests import Requests, Retreat
from projections.service.records.results import sentence
from projections.service.runtime.asking import ask
from projections.service.runtime.run_recorder import recorded
from projections.service.runtime.wiring import Plan, planned
from projections.service.status.heads import ChainHeads, heads
from projections.service.terminal.output import out, print_json, table


@app.command("heads")
def show_heads(
    chain: Annotated[str | None, typer.Argument(help="Which chain; default all.")] = None,
    *,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="The chain moved back: take back what lies above its head."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Every endpoint's newest block beside ours: does a node lag, or did the chain move back?

    A lower head alone moves nothing back. With --follow, which is your word that no node lags, the journal
    goes back to the head; it is refused where an endpoint shows our newest block or says that it is syncing.
    """
    with planned(configuration()) as plan:
        names = [chain] if chain is not None else list(plan.config.chains)
        for name in names:
            if name not in plan.config.chains:
                known = ", ".join(plan.config.chains) or "none"
                raise ConfigurationError(f"There is no chain {name}.", hint=f"Known are: {known}.")
        if follow and len(names) != 1:
            raise ConfigurationError("--follow wants the name of one chain.")
        found = {name: heads(plan, name) for name in names}
        done: dict[str, str] = {}
        refused = follow and not found[names[0]].moved_back
        if follow and not refused:
            with recorded(plan.store, f"heads {names[0]} --follow") as note:
                done[names[0]] = _followed(plan, names[0])
                note(done[names[0]])
    if as_json:
        print_json({name: _record(name, item, done.get(name)) for name, item in found.items()})
    else:
        columns = ["chain", "endpoint", "head", "ours", "final", "standing", "detail"]
        rows = [
            [name, item.endpoint, item.head, each.known, each.finalized, item.standing, item.detail]
            for name, each in found.items()
            for item in each.endpoints
        ]
        out().print(table("", columns, rows))
        for name, each in found.items():
            out().print(f"{name}: {done.get(name) or each.verdict(name)}")
    if refused:
        raise typer.Exit(1)


def _record(name: str, found: ChainHeads, done: str | None) -> dict[str, Any]:
    kept: dict[str, Any] = msgspec.to_builtins(found)
    return {**kept, "verdict": found.verdict(name), "followed": done}


def _followed(plan: Plan, name: str) -> str:
    """Asks the process that ingests the chain to follow it back, or does so itself; says what was done."""
    requests = Requests(plan.store)
    for stage in plan.ingest():
        try:
            if stage.chain == name:
                return sentence(ask(stage, requests, Retreat()))
        finally:
            stage.close()
    raise ConfigurationError(f"No contract is configured on the chain {name}.")
