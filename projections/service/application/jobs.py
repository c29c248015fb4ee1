"""What the jobs of `[schedule]` do: what the commands of the same names do, in the service."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from eventstore.errors import LeaseHeld
from projections.errors import ConfigurationError
from projections.service.cli.rebuild import rebuilt
from projections.service.cli.sync import failed_ranges, synchronise
from projections.service.config.schedule import Job
from projections.service.records.runs import Outcome
from projections.service.runtime import backup as service
from projections.service.runtime import loops
from projections.service.runtime.run_recorder import Note, Stopped
from projections.service.runtime.scheduler import JobThread, Work
from projections.service.runtime.wiring import Plan
from projections.service.terminal.bars import counted
from projections.service.terminal.display import Summary, following
from projections.service.verification import checks


def jobs(plan: Plan, observe: loops.Observer, *, log: Any, stop: threading.Event) -> list[JobThread]:
    """A thread for each job of `[schedule]`; `observe` takes the records of their steps."""
    works: dict[Job, Work] = {
        "sync": partial(_sync, plan, observe, stop),
        "verify": partial(_verify, plan),
        "backup": partial(_backup, plan),
    }
    return [
        JobThread(plan.store, job, cron, works[job], log=log, stop=stop)
        for job, cron in plan.config.schedule.jobs.items()
    ]


def _sync(plan: Plan, observe: loops.Observer, stop: threading.Event, note: Note) -> None:
    @contextmanager
    def shown(summary: Summary) -> Iterator[loops.Observer]:
        def seen(event: loops.Stepped | loops.Failed) -> None:
            observe(event)
            if isinstance(event, loops.Stepped):
                summary.add(event.stage, event.record)
            if stop.is_set():
                raise Stopped("The service was told to stop.")

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


def _verify(plan: Plan, note: Note) -> None:
    shown = checks.Shown(counted=counted, following=following, rebuilt=rebuilt)
    found = checks.verify(plan, [], checks.Wanted(), shown)
    differ = [f"{check.name}: {check.found:,} differ" for check in found if check.differs]
    failed = [f"{check.name} could not be checked: {check.error}" for check in found if check.error]
    if differ:
        note("; ".join([*differ, *failed]), Outcome.DIFFERS)
    elif failed:
        note("; ".join(failed), Outcome.FAILED)
    else:
        note(f"{len(found):,} checks, nothing differs")


def _backup(plan: Plan, note: Note) -> None:
    directory = plan.config.schedule.backup_to
    if directory is None:
        raise ConfigurationError("schedule.backup_to names no directory.")
    with counted("backup") as progress:
        done = service.backup(plan.store, directory, progress=progress)
    note(f"{directory}: {service.said(done)}")
