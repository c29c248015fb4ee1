"""Turns the stages: once to the end (`sync`), or for ever (`run`). Owns no rule of theirs.

A loop looks only at the records that steps return. Errors that may heal are tried again after a pause
that grows, with jitter; others wait for somebody to mend them. Nothing is lost either way: a stage
resumes from its cursor.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from msgspec import Struct

from eventstore.backoff import Backoff
from eventstore.errors import ChainfoldError, Fenced, LeaseHeld, StoreError, Throttled
from eventstore.ingest.branch import Ingested
from eventstore.proof.prover import Proved
from eventstore.storage.lease import TTL, Lease
from projections.fold.runner import Folded
from projections.publish.publisher import Published
from projections.service.records.requests import Request, Requests
from projections.webhooks.courier import Delivered

Record = Ingested | Folded | Published | Proved | Delivered
Done = TypeVar("Done")

BACKOFF = Backoff(1.0, 60.0, "full", 0.1)

LONGEST_PATIENCE = 300.0
"""Seconds that a node may ask for, and get, before it is asked again."""

TRIES = 5
"""How often `sync` tries what may heal before it gives up: half a minute in all, at most."""


class Stage(Protocol):
    """A stage ready to step; `name` for people, `lease` what it works under."""

    name: str
    lease: Lease

    def open(self) -> None: ...

    def step(self) -> Record: ...

    def execute(self, request: Request) -> str: ...

    def close(self) -> None: ...


class Failed(Struct, frozen=True):
    """A step failed; it is tried again in `pause` seconds, or (None) not before somebody acts."""

    stage: str
    error: ChainfoldError
    pause: float | None


class Stepped(Struct, frozen=True):
    """A step was done."""

    stage: str
    record: Record


Observer = Callable[[Stepped | Failed], None]


def all_of(*observers: Observer) -> Observer:
    """An observer that tells each of these, in turn."""

    def observe(event: Stepped | Failed) -> None:
        for each in observers:
            each(event)

    return observe


def to_end(
    stage: Stage, observe: Observer, *, tries: int = TRIES, until: Callable[[], bool] = lambda: False
) -> bool:
    """Steps until the stage is idle, or `until` says after a step that this is enough: is it idle?

    Raises what does not heal, or did not within `tries` attempts.
    """
    while True:
        record = persist(stage, stage.step, observe, tries=tries)
        observe(Stepped(stage.name, record))
        if record.idle:
            return True
        if until():
            return False


def attend(stage: Stage, requests: Requests) -> bool:
    """Executes what commands asked of this stage's lease; its errors are the command's answer.

    Raises `Fenced` where the lease is lost: the request stays pending for the next holder.
    """
    waiting = requests.pending(stage.lease.name)
    for request in waiting:
        try:
            answer = stage.execute(request)
        except Fenced:
            raise
        except ChainfoldError as error:
            requests.finish(request, ok=False, detail=str(error))
        else:
            requests.finish(request, ok=True, detail=answer)
    return bool(waiting)


def ask(stage: Stage, requests: Requests, kind: str, **arguments: Any) -> str:
    """What `execute` answers: of whoever holds the stage's lease, or, with no holder, of ourselves."""
    number = requests.submit(stage.lease.name, kind, **arguments)
    while True:
        request = requests.get(number)
        if request.state == "done":
            return request.detail
        if request.state == "failed":
            raise StoreError(request.detail)
        try:
            with held([stage.lease]):
                attend(stage, requests)
        except LeaseHeld:
            time.sleep(0.1)


def persist(stage: Stage, act: Callable[[], Done], observe: Observer, *, tries: int = TRIES) -> Done:
    """What `act` returns; tries again, after growing pauses, what may heal."""
    pauses = _Pauses()
    while True:
        try:
            return act()
        except ChainfoldError as error:
            if not error.retry or pauses.count >= tries - 1:
                raise
            pause = pauses.after(error)
            observe(Failed(stage.name, error, pause))
            time.sleep(pause)


class Worker(threading.Thread):
    """Runs one stage for ever: takes its lease, steps, waits where it is idle, comes back after errors."""

    def __init__(
        self, stage: Stage, requests: Requests, observe: Observer, stop: threading.Event, *, poll: float
    ) -> None:
        super().__init__(name=stage.name, daemon=True)
        self.crash: Exception | None = None
        self.since: float | None = None
        """When the step that it is at began (`time.monotonic`); None while it rests. What a command asked of
        it may take hours, and is none."""
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
            _release(self._stage.lease)
        except Fenced as error:
            self._observe(Failed(self._stage.name, error, None))

    def run(self) -> None:
        pauses, stands_by = _Pauses(), False
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
                self._halt.wait(pause)  # a new head is no reason to try sooner
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


@contextmanager
def held(
    leases: Sequence[Lease], *, tell: Callable[[Fenced], None] = lambda _: None
) -> Iterator[Callable[[], None]]:
    """Holds these leases: acquired at once, renewed in the background, released at the end.

    A lease that is lost meanwhile is noticed by the next commit, which is refused, and at the end: an
    error of who lost it is `Fenced`, whatever else it was. Who has nothing to commit calls what this
    yields, in the middle or afterwards: it raises that `Fenced`. `tell` is called, in another thread,
    as soon as a renewal is refused; what is raised later is the same error.
    """
    taken: list[Lease] = []
    lost: list[Fenced] = []
    done = threading.Event()

    def renew() -> None:
        ours = list(taken)
        while not done.wait(min((lease.ttl for lease in leases), default=TTL) / 3):
            for lease in list(ours):
                try:
                    lease.renew()
                except Fenced as error:
                    ours.remove(lease)
                    lost.append(error)
                    tell(error)
                except ChainfoldError:
                    continue  # the next commit under this lease fails and says why

    def check() -> None:
        if lost:
            raise lost[0]

    keeper = threading.Thread(target=renew, name="leases", daemon=True)
    try:
        try:
            for lease in leases:
                _release(lease)  # what the store was not there to take back the last time
                lease.acquire()
                taken.append(lease)
            keeper.start()
            yield check
        finally:
            done.set()
            if keeper.ident is not None:
                keeper.join()  # its renewal of what was given back would be refused
            for lease in taken:
                try:
                    _release(lease)
                except Fenced as error:
                    lost.append(error)
    except ChainfoldError as error:
        if lost and error is not lost[0]:
            raise lost[0] from error
        raise


def _release(lease: Lease) -> None:
    """A store that is away cannot take the lease back; it runs out by itself."""
    try:
        lease.release()
    except Fenced:
        raise
    except ChainfoldError as error:
        if not error.retry:
            raise


class _Pauses:
    """Growing pauses with jitter: up to 1 s, 2 s, 4 s ... 60 s, at random."""

    def __init__(self) -> None:
        self.count = 0

    def after(self, error: ChainfoldError) -> float:
        """Seconds to wait after `error`: no less than a node asked for, within reason."""
        self.count += 1
        asked = error.after if isinstance(error, Throttled) and error.after is not None else 0.0
        return max(BACKOFF.seconds(self.count), min(asked, LONGEST_PATIENCE))

    def reset(self) -> None:
        self.count = 0
