"""The service: a worker for each stage, the schedule, the server, the alerts, until it is asked to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection

from projections.service.alerts.watcher import alert_watcher
from projections.service.application.jobs import jobs
from projections.service.http.serving import serving
from projections.service.logging import logger
from projections.service.records.requests import Requests
from projections.service.runtime import loops
from projections.service.runtime.progress import SILENT, Progress
from projections.service.runtime.wiring import Plan
from projections.service.runtime.worker import Worker

PIPELINE = ("ingest", "project", "publish")
"""What a service runs that runs the schedule too."""

STAGES = ("ingest", "project", "publish", "prove", "serve")
GRACE = 5.0
"""Seconds that a service gives its steps to end after it is asked to stop; supervisors kill after ten."""


def follow(
    plan: Plan,
    stop: threading.Event,
    wanted: Collection[str] = STAGES,
    *,
    observe: loops.Observer,
    progress: Progress = SILENT,
) -> bool:
    """Runs a worker per stage until `stop`; each finishes its step and gives its lease back.

    `wanted` are of `STAGES`; `observe` takes the records of all steps, and `progress` shows the jobs of the
    schedule. Returns False if some step did not end within the grace: its lease is given back all the same,
    so its commit will be refused.
    """
    log, requests = logger(), Requests(plan.store)
    watch = alert_watcher(plan, stop, log)
    served = serving(plan, log, documents="serve" in wanted)
    everyone = loops.all_of(observe, watch.observe, *(served.observers if served else ()))
    scheduled = (
        jobs(plan, everyone, log=log, stop=stop, progress=progress) if set(PIPELINE) <= set(wanted) else []
    )
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
    first = [Worker(stage, requests, everyone, stop, poll=polls[stage.chain]) for stage in ingest]
    second = [Worker(stage, requests, everyone, stop, poll=slowest) for stage in fold]
    third = [Worker(stage, requests, everyone, stop, poll=slowest) for stage in publish]
    fourth = [
        Worker(stage, requests, everyone, stop, poll=slowest)
        for stage in (plan.deliver() if "publish" in wanted else [])
    ]
    for upstream, downstream in ((first, second), (second, third), (third, fourth)):
        for worker in upstream:
            for listener in downstream:
                worker.feeds(listener)
    beside = [
        Worker(stage, requests, everyone, stop, poll=max(polls[stage.chain], slowest))
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
