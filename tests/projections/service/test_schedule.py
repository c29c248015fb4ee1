"""The jobs of a schedule by a clock of the test's: at their times, once where missed, never twice at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eventstore.errors import SourceUnavailable
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from projections.errors import ConfigurationError
from projections.service.config.cron import Cron
from projections.service.logging import logger
from projections.service.records.runs import Outcome, Run, Runs
from projections.service.runtime.run_recorder import Note, Stopped
from projections.service.runtime.scheduler import JobThread, due

NOON = datetime(2030, 6, 3, 12, 0, 0, tzinfo=UTC)  # a Monday
PATIENCE = 60.0


def cron(expression: str, timezone: str = "UTC") -> Cron:
    return Cron(expression, timezone, where="schedule.sync")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# --- when it fires ---


@pytest.mark.parametrize(
    ("expression", "next_times"),
    [
        ("*/5 * * * *", ["2030-06-03 12:05", "2030-06-03 12:10"]),
        ("0 4 * * *", ["2030-06-04 04:00", "2030-06-05 04:00"]),
        ("0 4 * * 0", ["2030-06-09 04:00", "2030-06-16 04:00"]),
        ("0 4 * * 7", ["2030-06-09 04:00", "2030-06-16 04:00"]),
        ("0 4 * * 1", ["2030-06-10 04:00", "2030-06-17 04:00"]),
        ("0 4 * * sat-sun", ["2030-06-08 04:00", "2030-06-09 04:00"]),
        ("0 4 * * 5-7", ["2030-06-07 04:00", "2030-06-08 04:00"]),
        ("30 1 1 * *", ["2030-07-01 01:30", "2030-08-01 01:30"]),
        ("*/20 * * * * *", ["2030-06-03 12:00:20", "2030-06-03 12:00:40"]),
        ("0 4 last * *", ["2030-06-30 04:00", "2030-07-31 04:00"]),
        ("0 4 * * fri-mon/2", ["2030-06-07 04:00", "2030-06-09 04:00"]),
        ("0 4 1 jan-mar *", ["2031-01-01 04:00", "2031-02-01 04:00"]),
        ("0 4 29 2 *", ["2032-02-29 04:00", "2036-02-29 04:00"]),
    ],
)
def test_an_expression_fires_as_a_crontab_would(expression: str, next_times: list[str]) -> None:
    moment, found = NOON, []
    for _ in next_times:
        moment = cron(expression).after(moment)
        found.append(moment)
    assert found == [at(text) for text in next_times]


def test_a_time_zone_moves_it() -> None:
    assert cron("0 4 * * *", "Asia/Shanghai").after(NOON) == at("2030-06-03 20:00")


def test_an_hour_that_a_summer_time_leaves_out_fires_once() -> None:
    """Europe/Berlin, 31 March 2030: 02:30 does not exist."""
    fires = cron("30 2 * * *", "Europe/Berlin")
    first = fires.after(at("2030-03-30 12:00"))
    assert first == at("2030-03-31 01:30")
    assert fires.after(first) == at("2030-04-01 00:30")


@pytest.mark.parametrize(
    ("expression", "fires"),
    [("30 2 * * *", ["00:30", "01:30"]), ("*/30 * * * *", ["00:00", "00:30", "01:00", "01:30", "02:00"])],
)
def test_an_hour_that_comes_twice_fires_twice(expression: str, fires: list[str]) -> None:
    """Europe/Berlin, 27 October 2030: 02:00 to 03:00 comes twice."""
    moment, found = at("2030-10-26 23:59"), []
    for _ in fires:
        moment = cron(expression, "Europe/Berlin").after(moment)
        found.append(moment.astimezone(UTC).strftime("%H:%M"))
    assert found == fires


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "* * * *",
        "61 * * * *",
        "0 0 30 2 *",
        "0 0 1 * 1",
        "0 0 * * 9",
        "0 0 * * x",
        "@daily",
        "*/90 * * * *",
        "*/0 * * * *",
        "0 0 * * */0",
        "5-1 * * * *",
        "0 0 1 13 *",
        "0 0 31 2,4 *",
    ],
)
def test_an_expression_that_is_none_is_named(expression: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        cron(expression)
    assert str(caught.value).startswith("schedule.sync: ")


def test_a_time_zone_that_is_none_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"schedule\.timezone: 'Moon/Sea' is not a time zone"):
        cron("* * * * *", "Moon/Sea")


@example("30 2 * * *", "Europe/Berlin", datetime(2030, 10, 26, 23), timedelta(hours=2))
@given(
    st.sampled_from(["*/5 * * * *", "0 4 * * *", "15 3 * * 1", "*/7 2 * * *", "30 2 * 3,10 *"]),
    st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/New_York"]),
    st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1)),
    st.timedeltas(timedelta(0), timedelta(days=40)),
)
def test_what_is_due_is_the_first_time_after_the_last_run_however_many_were_missed(
    expression: str, zone: str, last: datetime, away: timedelta
) -> None:
    last, fires = last.replace(tzinfo=UTC), cron(expression, zone)
    found = due(fires, last, last + away)
    assert found.at > last
    assert found.missed == ((last + away - found.at).total_seconds() > 2)
    assert due(fires, last + away, last + away).at > last + away
    assert fires.after(found.at - timedelta(seconds=1)) == found.at
    assert fires.after(found.at) > found.at


# --- one job ---


class Bench:
    """A job over a store, with a clock that the test turns."""

    def __init__(self, store: Store, expression: str = "*/5 * * * *") -> None:
        self.store = store
        self.now = NOON
        self.works: list[datetime] = []
        self.act: Callable[[Note], None] = lambda note: note("done")
        self._cron = cron(expression)
        self.job = self.started()

    def started(self) -> JobThread:
        """The job as a service that starts now has it."""
        return JobThread(
            self.store,
            "sync",
            self._cron,
            self._work,
            log=logger(),
            stop=threading.Event(),
            clock=lambda: self.now,
        )

    def _work(self, note: Note) -> None:
        self.works.append(self.now)
        self.act(note)

    def until(self, text: str, step: float = 20.0) -> None:
        """Turns the clock to a time of that day, in steps."""
        while self.now < at(f"2030-06-03 {text}"):
            self.now += timedelta(seconds=step)
            self.job.turn()

    @property
    def times(self) -> list[str]:
        return [moment.strftime("%H:%M") for moment in self.works]

    def runs(self) -> list[Run]:
        with self.store.read() as tx:
            return Runs(tx).listed(limit=99)[::-1]


@pytest.fixture
def bench(store: Store) -> Bench:
    return Bench(store)


def test_a_job_runs_at_its_times(bench: Bench) -> None:
    bench.until("12:16")
    assert bench.times == ["12:05", "12:10", "12:15"]
    assert [(run.command, run.origin, run.state, run.detail) for run in bench.runs()] == [
        ("sync", "schedule", "done", "done")
    ] * 3
    assert [run.due_at for run in bench.runs()] == [
        int(at(f"2030-06-03 12:{minute}").timestamp() * 1e6) for minute in ("05", "10", "15")
    ]


def test_a_time_that_was_missed_is_made_up_for_once(bench: Bench) -> None:
    bench.until("12:06")
    bench.now = at("2030-06-03 14:02")
    bench.job = bench.started()
    assert bench.job.next() == "2030-06-03 12:10:00+00:00"
    bench.until("14:11")
    assert bench.times == ["12:05", "14:02", "14:05", "14:10"]


def test_a_machine_that_slept_makes_up_for_it_once(bench: Bench) -> None:
    bench.until("12:06")
    bench.now = at("2030-06-03 18:01")
    bench.job.turn()
    bench.job.turn()
    assert bench.times == ["12:05", "18:01"]


def test_a_run_that_lasts_beyond_the_next_times_is_followed_by_one(bench: Bench) -> None:
    def slow(_: Note) -> None:
        if len(bench.works) == 1:
            bench.now += timedelta(minutes=12)

    bench.act = slow
    bench.until("12:26")
    assert bench.times == ["12:05", "12:17", "12:20", "12:25"]


def test_a_job_that_never_ran_waits_for_its_first_time(bench: Bench) -> None:
    assert bench.job.turn() == 300
    assert bench.works == []


def test_a_run_that_fails_is_recorded_and_the_next_runs_normally(bench: Bench) -> None:
    def fail(_: Note) -> None:
        raise SourceUnavailable("The node is away.")

    bench.act = fail
    bench.until("12:06")
    bench.act = lambda note: note("well again")
    bench.until("12:11")
    assert [(run.state, run.detail) for run in bench.runs()] == [
        ("failed", "The node is away."),
        ("done", "well again"),
    ]


def test_a_run_that_is_stopped_with_the_service_is_interrupted_not_failed(bench: Bench) -> None:
    def stop(_: Note) -> None:
        raise Stopped("The service was asked to stop.")

    bench.act = stop
    bench.until("12:06")
    assert bench.runs()[0].outcome is Outcome.INTERRUPTED


def test_of_two_services_one_runs_it(bench: Bench) -> None:
    other = Bench(bench.store)
    other.act = lambda note: note("by the other")
    for minute in range(1, 21):
        for each in (bench, other):
            each.now = NOON + timedelta(minutes=minute)
            each.job.turn()
    assert bench.times == ["12:05", "12:10", "12:15", "12:20"]
    assert other.times == []


def test_while_another_service_runs_it_it_is_left_to_that(bench: Bench) -> None:
    lease = Lease(bench.store, "schedule:sync", owner="elsewhere||1|a").acquire()
    bench.until("12:06")
    assert bench.works == []
    lease.release()
    bench.until("12:07")
    assert bench.times == ["12:06"]


def test_one_that_another_service_ran_while_we_asked_for_the_lease_is_not_run_again(bench: Bench) -> None:
    other = Bench(bench.store)
    bench.now = other.now = at("2030-06-03 12:05")
    looks = 0

    def clock() -> datetime:
        nonlocal looks
        looks += 1
        if looks == 3:  # the table was read, the lease is not taken yet
            other.job.turn()
        return bench.now

    racing = JobThread(
        bench.store,
        "sync",
        cron("*/5 * * * *"),
        bench._work,
        log=logger(),
        stop=threading.Event(),
        clock=clock,
    )
    racing._since = NOON
    assert racing.turn() == 0
    assert (len(other.works), len(bench.works)) == (1, 0)


def test_a_job_in_its_thread_runs_and_ends(sqlite_store: Store) -> None:
    ran = threading.Event()
    stop = threading.Event()
    job = JobThread(
        sqlite_store,
        "sync",
        cron("* * * * * *"),
        lambda note: ran.set(),
        log=logger(),
        stop=stop,
    )
    job.start()
    assert ran.wait(PATIENCE)
    stop.set()
    job.join(PATIENCE)
    assert not job.is_alive()
    assert job.crash is None
