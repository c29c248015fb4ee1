"""Turns the jobs of a schedule: each in a thread of its own, at its times, never twice at once.

Law: what has to run follows from the table of runs and the clock alone. A time that passed while no
service ran, or while the run before it lasted, is made up for once. Of several services, the holder of the
job's lease runs it; the others see its run in the table.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from eventstore.errors import ChainfoldError, LeaseHeld
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from projections.service.config.cron import Cron
from projections.service.config.schedule import Job
from projections.service.records.runs import Run, Runs
from projections.service.runtime.leases import held
from projections.service.runtime.run_recorder import Note, recorded

TICK = 1.0
"""Seconds between two looks at the clock: it may jump, where a machine slept."""

Clock = Callable[[], datetime]
Work = Callable[[Note], None]
"""Does a job, and notes what it did; raises what went wrong."""


class Due(Struct, frozen=True):
    """The next time of a job; `missed` where it has passed by more than a moment."""

    at: datetime
    missed: bool


def due(cron: Cron, last: datetime, now: datetime) -> Due:
    """When a job has to run that ran (or was first known) at `last`."""
    at = cron.after(last)
    return Due(at, missed=(now - at).total_seconds() > 2 * TICK)


def last_begun(run: Run | None) -> datetime | None:
    """When a run began; not before the time it was due, even if its machine's clock was behind."""
    if run is None:
        return None
    return datetime.fromtimestamp(max(run.started_at, run.due_at or 0) / 1e6, UTC)


class JobThread(threading.Thread):
    """One job of the schedule, until `stop`."""

    def __init__(
        self,
        store: Store,
        job: Job,
        cron: Cron,
        work: Work,
        *,
        log: Any,
        stop: threading.Event,
        clock: Clock = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__(name=f"schedule {job}", daemon=True)
        self.job = job
        self.crash: Exception | None = None
        self._store = store
        self._cron = cron
        self._work = work
        self._log = log
        self._halt = stop
        self._clock = clock
        self._since = clock()
        self._lease = Lease(store, f"schedule:{job}")

    def next(self) -> str:
        """Its next time, as its time zone has it; in the past where one is to be made up for."""
        return self._cron.shown(self._due().at)

    def run(self) -> None:
        pause = 0.0
        while not self._halt.wait(pause):
            try:
                pause = min(TICK, self.turn())
            except ChainfoldError as error:  # the store is away: its next look may be better
                self._log.warning("schedule", job=self.job, error=str(error))
                pause = 5 * TICK
            except Exception as error:  # noqa: BLE001 - a fault of ours: the whole service ends with it
                self.crash = error
                self._halt.set()

    def turn(self) -> float:
        """Runs the job if it is time; the seconds until it may be time again. A run that fails is
        recorded, and no error of this."""
        now = self._clock()
        wanted = self._due()
        if wanted.at > now:
            return (wanted.at - now).total_seconds()
        try:
            with held([self._lease]):
                wanted = self._due()  # another service may have done it while we asked for the lease
                if wanted.at <= self._clock():
                    self._run(wanted)
        except LeaseHeld:
            return TICK
        return 0.0

    def _run(self, wanted: Due) -> None:
        if wanted.missed:
            self._log.info("missed", job=self.job, due=self._cron.shown(wanted.at))
        try:
            with recorded(
                self._store,
                self.job,
                origin="schedule",
                due_at=_micros(wanted.at),
                started_at=_micros(self._clock()),
            ) as note:
                self._work(note)
        except ChainfoldError as error:
            self._log.error("failed", job=self.job, error=str(error))
        else:
            self._log.info("ran", job=self.job, outcome=note.outcome.name.lower(), detail=note.detail)
        self._log.info("next", job=self.job, at=self.next())

    def _due(self) -> Due:
        with self._store.read() as tx:
            last = last_begun(Runs(tx).last_scheduled(self.job))
        return due(self._cron, last or self._since, self._clock())


def _micros(moment: datetime) -> int:
    return int(moment.timestamp() * 1e6)
