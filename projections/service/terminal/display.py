"""What the stages show while they work: where each is, at what rate, and what needs a look."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from rich.progress import TaskID

from eventstore.errors import ChainfoldError
from projections.service.logging import logger
from projections.service.records.requests import Requests
from projections.service.runtime.loops import Failed, Observer, Stepped
from projections.service.runtime.progress import Progress
from projections.service.terminal.bars import QUIET, bars, counted, span
from projections.service.terminal.log_lines import warn
from projections.service.terminal.progress import Course, StageProgress, WorkExtent


@contextmanager
def showing(
    *,
    every: float = QUIET,
    whole: WorkExtent = WorkExtent(),  # noqa: B008 - it is frozen
) -> Iterator[Observer]:
    """An observer that shows the steps of stages: on a terminal as bars with rate and ETA, elsewhere as a
    line with the same figures, one `every` so many seconds.
    """
    courses: dict[str, Course] = {}
    before = time.monotonic()

    def placed(event: Stepped) -> StageProgress:
        nonlocal before
        course = courses.setdefault(event.stage, Course(before, whole))
        before = time.monotonic()
        return course.at(event.record, before)

    if sys.stderr.isatty():
        with bars() as shown:
            tasks: dict[str, TaskID] = {}

            def observe(event: Stepped | Failed) -> None:
                if isinstance(event, Failed):
                    shown.console.print(_failure(event))
                    return
                at = placed(event)
                if event.stage not in tasks:
                    tasks[event.stage] = shown.add_task(event.stage, total=None, start=True)
                shown.update(
                    tasks[event.stage], completed=at.done, total=at.of, rate=at.rate, eta=span(at.eta)
                )

            yield observe
        return
    log = logger()
    last = before

    def plain(event: Stepped | Failed) -> None:
        nonlocal last
        if isinstance(event, Failed):
            warn(log, event)
            return
        at = placed(event)
        if before - last >= every:
            last = before
            rate = f"{at.rate:,.0f}/s"
            log.info("progress", stage=event.stage, done=at.done, of=at.of, rate=rate, eta=span(at.eta))

    yield plain


@contextmanager
def following(requests: Requests, lease: str, stage: str, *, every: float = QUIET) -> Iterator[None]:
    """Shows, while it is open, the progress of what was asked of a lease's holder, in any process."""
    ended = threading.Event()
    thread = threading.Thread(
        target=_follow, args=(requests, lease, stage, ended, every), name="progress", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _follow(requests: Requests, lease: str, stage: str, ended: threading.Event, every: float) -> None:
    terminal = sys.stderr.isatty()
    began, log = time.monotonic(), logger()
    with bars() if terminal else nullcontext() as shown:
        task = None if shown is None else shown.add_task(stage, total=None)
        while not ended.wait(0.2 if terminal else every):
            try:
                begun = [item for item in requests.pending(lease) if item.done is not None]
            except ChainfoldError:
                continue  # the command itself says what is wrong with the store
            for item in begun[:1]:
                done, of = item.done or 0, item.total or 0
                rate = done / (time.monotonic() - began)
                eta = span((of - done) / rate if rate else None)
                if shown is not None and task is not None:
                    shown.update(task, completed=done, total=of, rate=rate, eta=eta)
                else:
                    log.info("progress", stage=stage, done=done, of=of, rate=f"{rate:,.0f}/s", eta=eta)


def _failure(event: Failed) -> str:
    again = f"again in {event.pause:.0f} s" if event.pause is not None else "not tried again"
    if event.pause is not None and not event.error.retry:
        again = f"it stands, and is looked at again in {event.pause:.0f} s"
    return f"{event.stage}: {event.error} ({again})"


PROGRESS = Progress(showing, counted, following)
"""Bars on a terminal, lines of the log elsewhere."""
