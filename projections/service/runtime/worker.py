"""A thread that runs one stage for as long as the service runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from eventstore.errors import ChainfoldError, Fenced, LeaseHeld
from projections.service.records.requests import Requests
from projections.service.runtime.asking import attend
from projections.service.runtime.leases import held, release
from projections.service.runtime.loops import Failed, Observer, Pauses, Record, Stage, Stepped


class Worker(threading.Thread):
    """Runs one stage for ever: takes its lease, steps, waits where it is idle, comes back after errors."""

    def __init__(
        self, stage: Stage, requests: Requests, observe: Observer, stop: threading.Event, *, poll: float
    ) -> None:
        super().__init__(name=stage.name, daemon=True)
        self.crash: Exception | None = None
        self.since: float | None = None
        """When the current step began (`time.monotonic`); None while it rests. What a command asked for may
        take hours, and does not count as a step."""
        self._stage = stage
        self._requests = requests
        self._observe = observe
        self._halt = stop
        self._poll = poll
        self._wake = threading.Event()
        self._listeners: list[Worker] = []
        self._told: Fenced | None = None

    def feeds(self, downstream: Worker) -> None:
        """Wakes `downstream` whenever this stage moved."""
        self._listeners.append(downstream)

    def wake(self) -> None:
        self._wake.set()

    def abandon(self) -> None:
        """Gives the lease back over the head of a step that does not end: its commit will be refused."""
        try:
            release(self._stage.lease)
        except Fenced as error:
            self._observe(Failed(self._stage.name, error, None))

    def run(self) -> None:
        pauses, stands_by = Pauses(), False
        while not self._halt.is_set():
            try:
                with held([self._stage.lease], tell=self._lost) as check:
                    stands_by = False
                    with self._at_work():
                        self._stage.open()
                    while not self._halt.is_set():
                        check()
                        attend(self._stage, self._requests)
                        with self._at_work():
                            record = self._stage.step()
                        pauses.reset()
                        self._observe(Stepped(self._stage.name, record))
                        self._rest(record)
                check()
            except LeaseHeld as error:  # a stand-by: the holder may die at any time
                pause = min(self._poll, self._stage.lease.ttl / 4)
                if not stands_by:
                    self._observe(Failed(self._stage.name, error, pause))
                stands_by = True
                self._sleep(pause)
            except ChainfoldError as error:
                pause, stands_by = pauses.after(error), False
                if error is not self._told:
                    self._observe(Failed(self._stage.name, error, pause))
                self._halt.wait(pause)  # a new head gives no reason to try sooner
            except Exception as error:  # noqa: BLE001 - a fault of ours: the whole service ends with it
                self.crash = error
                self._halt.set()
        self._stage.close()

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        self.since = time.monotonic()
        try:
            yield
        finally:
            self.since = None

    def _lost(self, error: Fenced) -> None:
        """Says at once that the lease is lost: the step under way may take long until it is refused."""
        self._told = error
        self._observe(Failed(self._stage.name, error, 0.0))

    def _rest(self, record: Record) -> None:
        if not record.idle:
            for listener in self._listeners:
                listener.wake()
            return
        self._sleep(self._poll)

    def _sleep(self, seconds: float) -> None:
        self._wake.wait(seconds)
        self._wake.clear()
