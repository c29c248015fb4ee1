"""A worker that competes for its lease: standing by, taking over, losing it."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event

from sqlalchemy import text

from eventstore.errors import Fenced, LeaseHeld, SourceUnavailable, StoreUnavailable, Throttled
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from projections.publish.publisher import Published
from projections.service.records.requests import Request, Requests
from projections.service.records.results import Result
from projections.service.runtime.loops import Failed, Stepped, persist
from projections.service.runtime.worker import Worker

PATIENCE = 60.0


class Idle:
    """A stage that has nothing to do, or fails for a while."""

    name = "idle"

    def __init__(self, lease: Lease, *, fails: bool = False) -> None:
        self.lease = lease
        self._fails = fails

    def open(self) -> None: ...

    def step(self) -> Published:
        if self._fails:
            raise SourceUnavailable("The node is away.")
        return Published("p", "s")

    def execute(self, request: Request) -> Result:
        raise NotImplementedError

    def close(self) -> None: ...


class Watched:
    """A worker that runs while the context is open, and what it told its observer."""

    def __init__(self, stage: Idle) -> None:
        self.told: list[Stepped | Failed] = []
        self._stop = Event()
        requests = Requests(stage.lease.store)
        self._worker = Worker(stage, requests, self.told.append, self._stop, poll=0.001)

    def __enter__(self) -> Watched:
        self._worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._worker.wake()
        self._worker.join()

    def failures(self, kind: type[Exception]) -> list[Failed]:
        return [event for event in self.told if isinstance(event, Failed) and isinstance(event.error, kind)]


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_stand_by_that_takes_over_is_as_patient_with_errors_as_if_it_had_just_begun(
    sqlite_store: Store,
) -> None:
    """However often it had asked for the lease: else the first hiccup would cost up to a minute."""
    holder = Lease(sqlite_store, "x", owner="elsewhere||1|a").acquire()
    asked = Counted(sqlite_store, "x")
    with Watched(Idle(asked, fails=True)) as worker:
        until(lambda: asked.times > 50)
        holder.release()
        until(lambda: worker.failures(SourceUnavailable))
        pause = worker.failures(SourceUnavailable)[0].pause
        assert pause is not None
        assert pause <= 1


def test_a_stand_by_says_once_that_it_stands_by(sqlite_store: Store) -> None:
    Lease(sqlite_store, "x", owner="elsewhere||1|a").acquire()
    asked = Counted(sqlite_store, "x")
    with Watched(Idle(asked)) as worker:
        until(lambda: asked.times > 10)
        assert len(worker.failures(LeaseHeld)) == 1


def test_who_lost_the_lease_says_so_though_there_is_nothing_to_commit(store: Store) -> None:
    lease = Lease(store, "x", ttl=0.3)
    with Watched(Idle(lease)) as worker:
        until(lambda: worker.told)
        Lease(store, "x", owner=lease.owner).acquire()  # as if by another: the epoch is a new one
        until(lambda: worker.failures(Fenced))


def test_who_lost_the_lease_says_so_though_another_error_ended_the_step(store: Store) -> None:
    """It is stopped after the step failed, and before the lease was given back, say."""
    lease = Lease(store, "x", owner="here||1|a", ttl=PATIENCE)
    with Watched(Robbed(lease)) as worker:
        until(lambda: worker.told)
    [first, *_] = worker.told
    assert isinstance(first, Failed)
    assert isinstance(first.error, Fenced)
    assert isinstance(first.error.__cause__, SourceUnavailable)


def test_who_was_told_that_the_lease_is_lost_is_not_told_again(store: Store) -> None:
    lease = Lease(store, "x", ttl=0.3)
    with Watched(Idle(lease)) as worker:
        until(lambda: worker.told)
        rob(store)
        until(lambda: worker.failures(LeaseHeld))
        assert len(worker.failures(Fenced)) == 1


def test_who_could_not_give_the_lease_back_hears_that_it_was_lost_since(store: Store) -> None:
    lease = Kept(store, "x", ttl=PATIENCE)
    with Watched(Idle(lease, fails=True)) as worker:
        until(lambda: lease.refused)
        rob(store)
        lease.away = False
        until(lambda: worker.failures(Fenced))
        until(lambda: worker.failures(LeaseHeld))


def test_who_lost_the_lease_as_it_was_told_to_end_says_so(store: Store) -> None:
    lease = Lease(store, "x", ttl=PATIENCE)
    with Watched(Idle(lease)) as worker:
        until(lambda: worker.told)
        rob(store)
    assert len(worker.failures(Fenced)) == 1


def test_who_lost_the_lease_says_so_at_once_and_once_however_long_the_step_takes(store: Store) -> None:
    stage = Long(Lease(store, "x", ttl=0.3))
    with Watched(stage) as worker:
        assert stage.began.wait(PATIENCE)
        rob(store)
        until(lambda: worker.failures(Fenced))
        stage.ends.set()
        until(lambda: worker.failures(LeaseHeld))
        assert len(worker.failures(Fenced)) == 1


def rob(store: Store) -> None:
    """The lease is another's at once, as if its holder had stood still for long."""
    with store.write() as tx:
        tx.execute(
            text(
                "UPDATE leases SET owner = 'elsewhere||1|a', epoch = epoch + 1, expires_at = expires_at + 60"
            )
        )


class Long(Idle):
    """A stage in the middle of a step."""

    def __init__(self, lease: Lease) -> None:
        super().__init__(lease)
        self.began, self.ends = Event(), Event()

    def step(self) -> Published:
        self.began.set()
        assert self.ends.wait(PATIENCE)
        with self.lease.commit():
            return super().step()


class Robbed(Idle):
    """A stage whose step fails, and who lost the lease as well."""

    def step(self) -> Published:
        rob(self.lease.store)
        raise SourceUnavailable("The node is away.")


class Kept(Lease):
    """A lease that the store does not take back for a while."""

    refused = False
    away = True

    def release(self) -> None:
        if self.epoch and self.away:
            self.refused = True
            raise StoreUnavailable("The store is away.")
        super().release()


class Counted(Lease):
    """A lease that counts how often it was asked for."""

    times = 0

    def acquire(self) -> Lease:
        self.times += 1
        return super().acquire()


def test_a_node_that_asks_for_patience_is_given_it(sqlite_store: Store) -> None:
    """Half a second, where the first pause would be a tenth at least."""
    told: list[Failed] = []
    answers = iter([Throttled("Slowly.", after=0.5)])

    def act() -> str:
        for error in answers:
            raise error
        return "done"

    def observe(event: Stepped | Failed) -> None:
        assert isinstance(event, Failed)
        told.append(event)

    assert persist(Idle(Lease(sqlite_store, "idle")), act, observe) == "done"
    assert [event.pause is not None and event.pause >= 0.5 for event in told] == [True]
