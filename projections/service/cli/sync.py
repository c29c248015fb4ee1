"""The commands that move data once: migrate, sync."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from datetime import timedelta
from functools import partial
from typing import Annotated, Any

import typer

from eventstore.errors import ChainfoldError, LeaseHeld, StoreError
from eventstore.ingest.failed_ranges import Failures
from eventstore.storage.store import Store
from projections.errors import ConfigurationError
from projections.service.checkup.remarks import as_line, remarks
from projections.service.cli.app import Json, app, configuration
from projections.service.cli.opening import Opening
from projections.service.records.requests import Requests
from projections.service.records.runs import Outcome
from projections.service.runtime import loops
from projections.service.runtime.fetch_process import Fetcher, at_hand
from projections.service.runtime.fetch_worker import Span, Task
from projections.service.runtime.prefetch import FIRST, Beside
from projections.service.runtime.run_recorder import recorded as recorded  # noqa: PLC0414 - other commands find it here
from projections.service.runtime.stages import IngestStage
from projections.service.runtime.wiring import Plan, planned
from projections.service.status.sinks import unpublished
from projections.service.terminal.display import Summary, following, showing
from projections.service.terminal.output import out, print_json
from projections.service.terminal.progress import Whole


@app.command()
def migrate(*, as_json: Json = False) -> None:
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
    as_json: Json = False,
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
        at_hand(Task(plan.config, span, tries), plan.store) as fetcher,  # before there is a thread
        recorded(plan.store, "sync") as note,
    ):
        noted = [item for item in remarks(plan) if item.short]
        whole = Whole(span.last, partial(unpublished, plan.store))
        opening = Opening("" if as_json else as_line(noted), whole)
        found = resynchronise(plan, span) if force else {}
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
            blocks = f"blocks {gap['first_block']:,} to {gap['last_block']:,}"
            out().print(f"{gap['chain']}: {blocks} could not be fetched and are a gap: {gap['reason']}")
        out().print(summary.line())
    if summary.failed or gaps:
        raise typer.Exit(1)


def show_estimate(span: Span, *, as_json: bool) -> None:
    """What a sync would ask each chain's node for, by method, and how long it takes at the rate allowed."""
    found: dict[str, Any] = {}
    with planned(configuration()) as plan:
        for stage in plan.ingest(first=span.first, last=span.last, contract=span.contract):
            try:
                said, spent = stage.estimate()
            finally:
                stage.close()
            rate = plan.config.chains[stage.chain].rate
            seconds = None if rate is None else round(said.total / rate)
            found[stage.chain] = {
                "blocks": said.blocks,
                "logs": said.logs,
                "calls": said.calls,
                "total": said.total,
                "spent": spent,
                "seconds_at_rate": seconds,
            }
    if as_json:
        print_json(found)
        return
    for chain, item in found.items():
        methods = ", ".join(f"{method} {count:,}" for method, count in item["calls"].items())
        out().print(
            f"{chain}: {item['blocks']:,} blocks with about {item['logs']:,} logs are missing; about "
            f"{item['total']:,} calls ({methods}); {item['spent']:,} were made to find out."
        )
        if item["seconds_at_rate"] is not None:
            span_ = timedelta(seconds=item["seconds_at_rate"])
            out().print(f"{chain}: at max_requests_per_second that takes {span_} at least.")


def resynchronise(plan: Plan, span: Span) -> dict[str, str]:
    """Has a span fetched again by whoever ingests it, else does so itself; what was found, by chain."""
    addresses = None if span.contract is None else [a.hex() for a in plan.contract(span.contract).addresses]
    asked = {"first": span.first or 0, "last": span.last, "addresses": addresses}
    found, requests = {}, Requests(plan.store)
    for stage in plan.ingest(contract=span.contract):
        try:
            with following(requests, stage.lease.name, f"resync {stage.chain}"):
                found[stage.chain] = loops.ask(stage, requests, "resync", **asked)
        finally:
            stage.close()
    return found


def failed_ranges(plan: Plan) -> list[dict[str, Any]]:
    """The ranges that no source gave, of all chains: gaps that are asked for again later."""
    found = []
    for name, chain in plan.config.chains.items():
        with plan.store.read() as tx:
            for item in Failures(tx, chain.chain_id).all():
                found.append(
                    {
                        "chain": name,
                        "first_block": item.range.first,
                        "last_block": item.range.last,
                        "attempts": item.attempts,
                        "since": item.since / 1e6,
                        "retry_at": item.retry_at / 1e6,
                        "reason": item.reason,
                    }
                )
    return found


def synchronise(
    plan: Plan,
    *,
    span: Span = Span(),  # noqa: B008 - it is frozen
    take_over: bool = False,
    tries: int = loops.TRIES,
    alone: bool = True,
    publishing: bool = True,
    shown: Callable[[Summary], AbstractContextManager[loops.Observer]] | None = None,
    fetcher: Fetcher | None = None,
) -> Summary:
    """Turns every stage to its end, upstream first; where there is much to fetch, folds while it is fetched
    by a process `Beside` this one, `fetcher` where it is at hand. A node or a sink that is down does not stop
    the others: the first error is raised when all else is done. Without the store nothing goes on. Where this
    process need not be `alone`, it leaves to a running service what that does anyway. Without `publishing` no
    sink is touched. `shown` makes the observer of the steps; else they are drawn."""
    summary = Summary()
    if shown is None:
        shown = partial(showing, whole=Whole(span.last, partial(unpublished, plan.store)))
    ingest = plan.ingest(first=span.first, last=span.last, contract=span.contract, window=FIRST)
    fold, publish = plan.fold(), plan.publish() if publishing else []
    told: list[loops.Stage] = [*plan.notify(), *plan.deliver()] if publishing else []
    stages: list[loops.Stage] = [*ingest, *fold, *publish, *told]
    failed: list[ChainfoldError] = []
    try:
        with loops.held([stage.lease for stage in stages]), shown(summary) as observe:
            beside = Beside(plan, fold, observe, Task(plan.config, span, tries), fetcher)
            with closing(beside):
                for name, error in _fetched(ingest, beside, tries=tries):
                    _note(failed, name, error, observe)
            for stage in stages[len(ingest) :]:
                if failed and isinstance(failed[-1], StoreError):
                    break
                try:
                    loops.persist(stage, stage.open, observe, tries=tries)
                    if take_over and stage in publish:
                        publish[publish.index(stage)].publisher.take_over()
                    loops.to_end(stage, observe, tries=tries)
                except ChainfoldError as error:
                    _note(failed, stage.name, error, observe)
    except LeaseHeld:
        if alone:
            raise
        summary.notes.append("The running service folds and publishes what was found.")
    finally:
        for stage in stages:
            stage.close()
    if failed:
        raise failed[0]
    return summary


def _fetched(
    ingest: Sequence[IngestStage], beside: Beside, *, tries: int
) -> Iterator[tuple[str, ChainfoldError]]:
    """Turns the ingesters to their ends, here or beside: which failed, and why. A failing store ends it."""
    if beside.at_hand:
        yield from beside.fetch(ingest)
        return
    for place, stage in enumerate(ingest):
        beside.begin()
        try:
            loops.persist(stage, stage.open, beside.observe, tries=tries)
            here = loops.to_end(stage, beside.observe, tries=tries, until=beside.ready)
        except ChainfoldError as error:
            yield stage.name, error
            if isinstance(error, StoreError):
                return
            continue
        if not here:
            yield from beside.fetch(ingest[place:])
            return


def _note(failed: list[ChainfoldError], stage: str, error: ChainfoldError, observe: loops.Observer) -> None:
    """Keeps an error; the first is raised at the end, and told then."""
    if failed:
        observe(loops.Failed(stage, error, None))
    failed.append(error)
