"""Catching up once: fetch, fold, publish; and fetching again what is there already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

from msgspec import Struct

from eventstore.errors import ChainfoldError, LeaseHeld, StoreError
from eventstore.ingest.estimate import Estimate
from eventstore.ingest.failed_ranges import FailedRanges
from projections.service.records.requests import Requests, ResyncBlocks
from projections.service.records.results import Result
from projections.service.runtime import loops
from projections.service.runtime.asking import ask
from projections.service.runtime.fetch_process import Fetcher
from projections.service.runtime.fetch_worker import FetchTask, Span
from projections.service.runtime.leases import held
from projections.service.runtime.prefetch import FIRST, Beside
from projections.service.runtime.progress import SILENT, Progress, Steps
from projections.service.runtime.stages import IngestStage
from projections.service.runtime.summary import Summary
from projections.service.runtime.wiring import Plan


class ChainGap(Struct, frozen=True):
    """Blocks of a chain that no endpoint gave: a gap that is asked for again at `retry_at`. Times are in
    seconds since 1970."""

    chain: str
    first_block: int
    last_block: int
    attempts: int
    since: float
    retry_at: float
    reason: str


class ChainEstimate(Struct, frozen=True):
    """What a sync of one chain would ask its node for, and how many calls it took to find out. `seconds` is
    how long that takes at the rate that the configuration allows; None without such a rate."""

    needed: Estimate
    spent: int
    seconds: int | None


def estimates(plan: Plan, span: Span) -> dict[str, ChainEstimate]:
    """By chain what a sync of this span would ask for."""
    found = {}
    for stage in plan.ingest(first=span.first, last=span.last, contract=span.contract):
        try:
            needed, spent = stage.estimate()
        finally:
            stage.close()
        rate = plan.config.chains[stage.chain].rate
        seconds = None if rate is None else round(needed.total / rate)
        found[stage.chain] = ChainEstimate(needed, spent, seconds)
    return found


def failed_ranges(plan: Plan) -> list[ChainGap]:
    """The ranges of all chains that no source gave."""
    found = []
    for name, chain in plan.config.chains.items():
        with plan.store.read() as tx:
            found += [
                ChainGap(
                    name,
                    item.range.first,
                    item.range.last,
                    item.attempts,
                    item.since / 1e6,
                    item.retry_at / 1e6,
                    item.reason,
                )
                for item in FailedRanges(tx, chain.chain_id).all()
            ]
    return found


def resynchronise(plan: Plan, span: Span, progress: Progress = SILENT) -> dict[str, Result]:
    """Fetches a span again and compares it with the journal; what was found, by chain.

    The process that ingests the chain does it; if none runs, this one.
    """
    addresses = None if span.contract is None else [a.hex() for a in plan.contract(span.contract).addresses]
    asked = ResyncBlocks(span.first or 0, span.last, addresses)
    requests = Requests(plan.store)
    found: dict[str, Result] = {}
    for stage in plan.ingest(contract=span.contract):
        try:
            with progress.following(requests, stage.lease.name, f"resync {stage.chain}"):
                found[stage.chain] = ask(stage, requests, asked)
        finally:
            stage.close()
    return found


def synchronise(
    plan: Plan,
    *,
    span: Span = Span(),  # noqa: B008 - it is frozen
    take_over: bool = False,
    tries: int = loops.TRIES,
    alone: bool = True,
    publishing: bool = True,
    shown: Steps = SILENT.steps,
    fetcher: Fetcher | None = None,
) -> Summary:
    """Turns every stage to its end, upstream first.

    Where there is much to fetch, a second process fetches while this one folds: `fetcher`, if it is given. A
    node or a sink that is down does not stop the others: the first error is raised when all else is done. An
    error of the store ends everything. If this process need not be `alone`, it leaves to a running service
    what that does anyway. Without `publishing` no sink is touched. `shown` displays the steps.

    Raises `LeaseHeld` when another process does this work, and the first error of a stage.
    """
    summary = Summary()
    ingest = plan.ingest(first=span.first, last=span.last, contract=span.contract, window=FIRST)
    fold, publish = plan.fold(), plan.publish() if publishing else []
    told: list[loops.Stage] = [*plan.notify(), *plan.deliver()] if publishing else []
    stages: list[loops.Stage] = [*ingest, *fold, *publish, *told]
    failed: list[ChainfoldError] = []
    try:
        with held([stage.lease for stage in stages]), shown() as display:
            observe = loops.all_of(summary.observe, display)
            beside = Beside(plan, fold, observe, FetchTask(plan.config, span, tries), fetcher)
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
