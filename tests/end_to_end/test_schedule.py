"""`chainfold run` with a schedule: instead of following, never twice at once, recorded however it ends."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from eventstore.errors import SchemaOutdated
from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.node import SimulatedNode
from eventstore.storage.store import Store
from projections.service.records.runs import Run, Runs
from tests.end_to_end.site import PATIENCE, Command, Site, Workshop, bare, expected, grow, in_sql
from tests.servers.receiver import Receiver

JOBS = {"sync", "verify", "backup"}
SECONDLY = "* * * * * *"


@pytest.fixture
def chain() -> SimulatedChain:
    made = SimulatedChain(seed=8, sealed=True)
    grow(made, Random(8), 30, users=20)
    made.finalize(20)
    return made


@pytest.fixture
def node(chain: SimulatedChain) -> Iterator[SimulatedNode]:
    with SimulatedNode(chain) as served:
        yield served


@pytest.fixture
def site(workshop: Workshop, node: SimulatedNode, tmp_path: Path) -> Site:
    made = Site(workshop, tmp_path / "site", rpc=node.url)
    made.set("schedule", {"sync": SECONDLY})
    return made


@contextmanager
def running(site: Site) -> Iterator[Command]:
    service = site.start("run")
    try:
        yield service
    finally:
        service.signal(signal.SIGTERM)
        done = service.end()
    assert done.code == 0, done.err


def runs(site: Site) -> list[Run]:
    """The runs of the schedule, the oldest first."""
    store = Store(f"sqlite:///{site.folder}/store.db")
    try:
        with store.read() as tx:
            return Runs(tx).listed(limit=500, origin="schedule")[::-1]
    except SchemaOutdated:
        return []  # the service has only begun
    finally:
        store.close()


def until(site: Site, enough: Callable[[list[Run]], object]) -> list[Run]:
    deadline = time.monotonic() + PATIENCE
    while not enough(found := runs(site)):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def in_turn(found: list[Run]) -> None:
    """One at a time, and each time once."""
    for one, next_one in pairwise(found):
        assert one.finished_at is not None
        assert next_one.due_at is not None
        assert one.finished_at <= next_one.started_at
        assert one.started_at <= next_one.due_at <= next_one.started_at


def ended(found: list[Run], *states: str) -> int:
    return sum(1 for run in found if run.state in states)


def test_a_schedule_syncs_and_verifies_says_when_next_and_is_recorded(
    site: Site, chain: SimulatedChain
) -> None:
    site.set("schedule.verify", SECONDLY)
    site.set("schedule.backup", SECONDLY)
    site.set("schedule.backup_to", "kept")
    with running(site) as service:
        until(site, lambda found: {run.command for run in found if run.state == "done"} == JOBS)
        grow(chain, Random(9), 5, users=20)
        known = len(runs(site))
        until(site, lambda found: ended(found[known + 2 :], "done") >= 2)
        assert bare(in_sql(site)) == expected(chain)
        status = site.run("status", "--json").json()["schedule"]
        assert set(status) == JOBS
        assert status["sync"]["state"] in ("done", "running")
        assert status["sync"]["next"] > status["sync"]["last"]
        assert "next run" in site.run("status").out
        assert "scheduled" in service.complaints
    found = runs(site)
    assert site.run("restore", "--check", "kept").code == 0
    for job in JOBS:
        in_turn([run for run in found if run.command == job])
    verified = [run for run in found if run.command == "verify"]
    assert all("nothing differs" in run.detail for run in verified if run.state == "done")
    early = [run for run in verified if run.state == "failed"]  # before there was anything to look at
    assert all("yet" in run.detail for run in early)
    assert verified[len(early) :] == [run for run in verified if run not in early]
    listed = site.run("runs", "--command", "sync", "--limit", "1", "--json").json()
    assert [item["id"] for item in listed] == [max(run.id for run in found if run.command == "sync")]
    assert listed[0]["origin"] == "schedule"
    assert listed[0]["seconds"] > 0
    assert "logs appended" in site.run("runs").out


def test_a_run_that_fails_is_recorded_and_told_and_the_next_one_that_ends_well_too(
    site: Site, node: SimulatedNode, receiver: Receiver
) -> None:
    site.set("alerts", {"urls": [receiver.url], "every": "50ms", "failing_for": "never"})
    site.set("contracts.referral.address", "0x" + "52" * 20)  # an idle contract: a sync is quick
    with running(site):
        until(site, lambda found: ended(found, "done"))
        site_id, node.chain = node.chain, SimulatedChain(chain_id=5)
        receiver.until(lambda: "chainfold: scheduled sync failed" in receiver.titles)
        node.chain = site_id
        receiver.until(lambda: "chainfold: over: scheduled sync failed" in receiver.titles)
    assert len(receiver.titles) == 2
    failed = next(run for run in runs(site) if run.state == "failed")
    assert failed.detail.startswith("The node serves chain 5")


def test_a_run_killed_half_way_is_interrupted_and_a_missed_time_runs_once_at_the_next_start(
    site: Site, node: SimulatedNode
) -> None:
    node.faults.slow_above, node.faults.slow_seconds = 0, PATIENCE
    service = site.start("run")
    until(site, lambda found: ended(found, "running"))
    service.kill()
    assert ended(runs(site), "interrupted") == 1
    node.faults.slow_above = None
    time.sleep(2.5)  # two times pass
    site.set("schedule.sync", "0 0 1 1 *")
    assert site.run("status", "--json").json()["schedule"]["sync"]["state"] == "interrupted"
    site.set("schedule.sync", "*/2 * * * * *")
    with running(site):
        found = until(site, lambda found: ended(found, "done"))
    [killed, missed, *_] = found
    assert killed.state == "interrupted"
    assert missed.due_at is not None
    assert missed.started_at - missed.due_at > 1_000_000


def test_two_services_share_a_schedule(site: Site, chain: SimulatedChain) -> None:
    with running(site), running(site):
        until(site, lambda found: ended(found, "done") >= 3)
    in_turn(runs(site))
    assert bare(in_sql(site)) == expected(chain)
