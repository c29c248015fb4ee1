"""What the jobs of `[schedule]` do: what the commands of the same names do, in the service."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from eventstore.errors import LeaseHeld
from projections.errors import ConfigurationError
from projections.service.application.sync import failed_ranges, synchronise
from projections.service.application.verify import verify
from projections.service.config.schedule import Job
from projections.service.records.runs import Outcome
from projections.service.runtime import backup as service
from projections.service.runtime import loops
from projections.service.runtime.progress import Progress
from projections.service.runtime.run_recorder import Note, Stopped
from projections.service.runtime.scheduler import JobThread, Work
from projections.service.runtime.wiring import Plan


def jobs(
    plan: Plan, observe: loops.Observer, *, log: Any, stop: threading.Event, progress: Progress
) -> list[JobThread]:
    """A thread for each job of `[schedule]`; `observe` takes the records of their steps, `progress` shows the
    work that has no steps."""
    works: dict[Job, Work] = {
        "sync": partial(_sync, plan, observe, stop),
        "verify": partial(_verify, plan, progress),
        "backup": partial(_backup, plan, progress),
    }
    return [
        JobThread(plan.store, job, cron, works[job], log=log, stop=stop)
        for job, cron in plan.config.schedule.jobs.items()
    ]


def _sync(plan: Plan, observe: loops.Observer, stop: threading.Event, note: Note) -> None:
    @contextmanager
    def shown() -> Iterator[loops.Observer]:
        def seen(event: loops.Stepped | loops.Failed) -> None:
            observe(event)
            if stop.is_set():
                raise Stopped("The service was asked to stop.")

        yield seen

    try:
        summary = synchronise(plan, shown=shown)
    except LeaseHeld as error:
        note(f"left to who does it already: {error.message}")
        return
    gaps = failed_ranges(plan)
    note(
        "; ".join([*summary.notes, *([f"{len(gaps):,} gaps"] if gaps else []), summary.line()]),
        Outcome.FAILED if summary.failed or gaps else Outcome.DONE,
    )


def _verify(plan: Plan, progress: Progress, note: Note) -> None:
    found = verify(plan, progress=progress)
    differ = [f"{check.name}: {check.found:,} differ" for check in found if check.differs]
    failed = [f"{check.name} could not be checked: {check.error}" for check in found if check.error]
    if differ:
        note("; ".join([*differ, *failed]), Outcome.DIFFERS)
    elif failed:
        note("; ".join(failed), Outcome.FAILED)
    else:
        note(f"{len(found):,} checks, nothing differs")


def _backup(plan: Plan, progress: Progress, note: Note) -> None:
    directory = plan.config.schedule.backup_to
    if directory is None:
        raise ConfigurationError("schedule.backup_to names no directory.")
    with progress.counted("backup") as advance:
        done = service.backup(plan.store, directory, progress=advance)
    note(f"{directory}: {service.said(done)}")
