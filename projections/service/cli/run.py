"""The command that goes on: run, the service."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import Annotated

import msgspec
import typer

from projections.errors import ConfigurationError
from projections.service.alerts.watcher import watchman
from projections.service.application.jobs import jobs
from projections.service.cli.app import app, configuration
from projections.service.config.http import elsewhere
from projections.service.http.serving import serving
from projections.service.logging import logger
from projections.service.records.requests import Requests
from projections.service.runtime import loops
from projections.service.runtime.run_recorder import recorded
from projections.service.runtime.wiring import Plan, planned
from projections.service.terminal.display import logged

PIPELINE = ("ingest", "project", "publish")
"""What a service runs that runs the schedule too."""

STAGES = ("ingest", "project", "publish", "prove", "serve")
GRACE = 5.0
"""Seconds that a service which is told to stop gives its steps to end; supervisors kill after ten."""


@app.command()
def run(
    *,
    only: Annotated[
        str, typer.Option(help="Stages to run here, of ingest,project,publish,prove,serve; default all.")
    ] = ",".join(STAGES),
    listen: Annotated[
        str | None,
        typer.Option(envvar="CHAINFOLD_LISTEN", help="HOST:PORT to serve at, instead of [http] listen."),
    ] = None,
) -> None:
    """The service: follow the chain, or run the schedule, until told to stop.

    With [http] it serves too: the API where serve is among its stages, else health and metrics only.
    Several on one machine each need a --listen of their own.

    SIGTERM or Ctrl-C ends it: steps that have begun are finished, leases are given back.
    """
    wanted = [part.strip() for part in only.split(",") if part.strip()]
    if not wanted:
        raise ConfigurationError("--only names no stage.", hint=f"Known are {', '.join(STAGES)}.")
    for part in wanted:
        if part not in STAGES:
            raise ConfigurationError(f"--only {part} is no stage.", hint=f"Known are {', '.join(STAGES)}.")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    config = configuration()
    if listen is not None:
        config = msgspec.structs.replace(config, http=elsewhere(config.http, listen))
    if wanted == ["serve"] and config.http is None:
        raise ConfigurationError("--only serve, and there is no [http] in the configuration.")
    with planned(config) as plan, recorded(plan.store, "run"):
        all_ended = follow(plan, stop, wanted)
    if not all_ended:  # threads that wait for a node would hold up the exit for as long
        sys.stderr.flush()
        os._exit(0)


def follow(plan: Plan, stop: threading.Event, wanted: list[str]) -> bool:
    """Runs a worker per stage until `stop`; each finishes its step and gives its lease back.

    False where some step did not end within the grace: its lease is given back all the same, so whatever
    it still does is refused.
    """
    log, requests = logger(), Requests(plan.store)
    watch = watchman(plan, stop, log)
    served = serving(plan, log, documents="serve" in wanted)
    observe = loops.all_of(logged(), watch.observe, *(served.observers if served else ()))
    scheduled = jobs(plan, observe, log=log, stop=stop) if set(PIPELINE) <= set(wanted) else []
    if any(thread.job == "sync" for thread in scheduled):
        wanted = [part for part in wanted if part == "prove"]  # its runs do what following the head would
    for thread in scheduled:
        log.info("scheduled", job=thread.job, next=thread.next())
    if scheduled:
        for name in plan.projections:  # the jobs find embedded servers that run
            for sink in plan.sinks(name):
                sink.close()
    polls = {name: chain.poll for name, chain in plan.config.chains.items()}
    slowest = min(polls.values(), default=2.0)
    ingest = plan.ingest() if "ingest" in wanted else []
    fold = plan.fold() if "project" in wanted else []
    publish = [*plan.publish(), *plan.notify()] if "publish" in wanted else []
    first = [loops.Worker(stage, requests, observe, stop, poll=polls[stage.chain]) for stage in ingest]
    second = [loops.Worker(stage, requests, observe, stop, poll=slowest) for stage in fold]
    third = [loops.Worker(stage, requests, observe, stop, poll=slowest) for stage in publish]
    fourth = [
        loops.Worker(stage, requests, observe, stop, poll=slowest)
        for stage in (plan.deliver() if "publish" in wanted else [])
    ]
    for upstream, downstream in ((first, second), (second, third), (third, fourth)):
        for worker in upstream:
            for listener in downstream:
                worker.feeds(listener)
    beside = [
        loops.Worker(stage, requests, observe, stop, poll=max(polls[stage.chain], slowest))
        for stage in (plan.prove(background=True) if "prove" in wanted else [])
    ]
    workers = [*fourth, *third, *second, *first, *beside]
    watch.over(workers)
    for starting in (watch, *workers, *scheduled):
        starting.start()
    heads = plan.heads({stage.chain: worker.wake for stage, worker in zip(ingest, first, strict=True)})
    for announced in heads:
        announced.start()
    if served:
        served.start()
    while not stop.wait(0.5):
        pass
    if served:
        served.stop()
    for announced in heads:
        announced.close()
    for worker in workers:
        worker.wake()
    deadline = time.monotonic() + GRACE
    for ending in (*workers, *scheduled, watch):
        ending.join(timeout=max(0.0, deadline - time.monotonic()))
    for crash in [*(worker.crash for worker in workers), *(job.crash for job in scheduled)]:
        if crash is not None:
            raise crash
    late = [worker for worker in workers if worker.is_alive()]
    for worker in late:
        worker.abandon()
    return not late and not any(thread.is_alive() for thread in scheduled)
