"""The commands that move data once: migrate, sync."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from eventstore.storage.store import Store
from projections.errors import ConfigurationError
from projections.service.application.sync import estimates, failed_ranges, resynchronise, synchronise
from projections.service.checkup.remarks import as_line, remarks
from projections.service.cli.app import JsonOption, app, configuration
from projections.service.cli.opening import Opening, steps_of
from projections.service.records.results import sentence
from projections.service.records.runs import Outcome
from projections.service.runtime import loops
from projections.service.runtime.fetch_process import at_hand
from projections.service.runtime.fetch_worker import FetchTask, Span
from projections.service.runtime.run_recorder import recorded
from projections.service.runtime.wiring import planned
from projections.service.terminal.display import PROGRESS
from projections.service.terminal.output import out, print_json


@app.command()
def migrate(*, as_json: JsonOption = False) -> None:
    """Bring the event store's schema up to date."""
    from projections.migrate import migrate as bring_up_to_date

    store = Store(configuration().store.url)
    try:
        done = bring_up_to_date(store)
    finally:
        store.close()
    if as_json:
        print_json(done)
    elif done.before == done.after:
        out().print(f"Nothing to do: the schema is {', '.join(done.after)}.")
    else:
        out().print(f"Migrated from {', '.join(done.before) or 'nothing'} to {', '.join(done.after)}.")


@app.command()
def sync(
    *,
    from_block: Annotated[
        int | None, typer.Option("--from-block", "--from", min=0, help="First block of the range to fill.")
    ] = None,
    to_block: Annotated[
        int | None, typer.Option("--to-block", "--to", min=0, help="Last block of the range to fill.")
    ] = None,
    contract: Annotated[str | None, typer.Option(help="Only the logs of this contract.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Fetch what is there already as well, compare, and repair.")
    ] = False,
    estimated: Annotated[
        bool, typer.Option("--estimate", help="Say what a sync would ask the node for, and do nothing.")
    ] = False,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Make sinks that hold another store's documents ours.")
    ] = False,
    tries: Annotated[
        int, typer.Option(min=1, help="How often to try what may heal, with growing pauses.")
    ] = loops.TRIES,
    as_json: JsonOption = False,
) -> None:
    """Catch up once: fetch, fold, publish, exit.

    A range fills its gaps; with --force it is fetched again and compared with what is there.
    """
    if from_block is not None and to_block is not None and from_block > to_block:
        raise ConfigurationError(f"--from-block {from_block} is above --to-block {to_block}.")
    span = Span(from_block, to_block, contract)
    if estimated:
        show_estimate(span, as_json=as_json)
        return
    with (
        planned(configuration()) as plan,
        at_hand(FetchTask(plan.config, span, tries), plan.store) as fetcher,  # before there is a thread
        recorded(plan.store, "sync") as note,
    ):
        noted = [item for item in remarks(plan) if item.short]
        opening = Opening("" if as_json else as_line(noted), steps_of(plan, span))
        resynced = resynchronise(plan, span, PROGRESS) if force else {}
        found = {chain: sentence(result) for chain, result in resynced.items()}
        summary = synchronise(
            plan,
            span=span,
            take_over=take_over,
            tries=tries,
            alone=not force,
            shown=opening.shown,
            fetcher=fetcher,
        )
        opening.say()
        gaps = failed_ranges(plan)
        said_ = [*(f"{chain}: {said}" for chain, said in found.items()), summary.line()]
        note("; ".join(said_), Outcome.FAILED if summary.failed or gaps else Outcome.DONE)
    if as_json:
        print_json(
            summary.record() | {"resynced": found, "failed": gaps, "remarks": [str(item) for item in noted]}
        )
    else:
        for chain, said in found.items():
            out().print(f"{chain}: {said}")
        for line in (*summary.reorgs, *summary.notes):
            out().print(line)
        for gap in gaps:
            blocks = f"blocks {gap.first_block:,} to {gap.last_block:,}"
            out().print(f"{gap.chain}: {blocks} could not be fetched and are a gap: {gap.reason}")
        out().print(summary.line())
    if summary.failed or gaps:
        raise typer.Exit(1)


def show_estimate(span: Span, *, as_json: bool) -> None:
    """What a sync would ask each chain's node for, by method, and how long it takes at the rate allowed."""
    with planned(configuration()) as plan:
        found = estimates(plan, span)
    if as_json:
        print_json(
            {
                chain: {
                    "blocks": item.needed.blocks,
                    "logs": item.needed.logs,
                    "calls": item.needed.calls,
                    "total": item.needed.total,
                    "spent": item.spent,
                    "seconds_at_rate": item.seconds,
                }
                for chain, item in found.items()
            }
        )
        return
    for chain, item in found.items():
        methods = ", ".join(f"{method} {count:,}" for method, count in item.needed.calls.items())
        out().print(
            f"{chain}: {item.needed.blocks:,} blocks with about {item.needed.logs:,} logs are missing; about "
            f"{item.needed.total:,} calls ({methods}); {item.spent:,} were made to find out."
        )
        if item.seconds is not None:
            span_ = timedelta(seconds=item.seconds)
            out().print(f"{chain}: at max_requests_per_second that takes {span_} at least.")
