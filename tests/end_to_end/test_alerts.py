"""Every kind of incident, made to happen to a real `chainfold run`: told once, over once, no secret."""

from __future__ import annotations

import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
import redis

from eventstore.sources.simulated.chain import Emission, SimulatedChain
from eventstore.sources.simulated.node import Faults, SimulatedNode
from projections.service.alerts.catalogue import KINDS
from projections.service.embedded.servers import EmbeddedRedis, free_port
from tests.end_to_end.site import CONTRACT, TOPIC, Command, Site, Workshop, grow, in_sql, register
from tests.servers.receiver import Receiver

KEY, PASSWORD = "k3y0fth3n0d3", "hunter2-hunter2"
POISON = Emission(CONTRACT, (TOPIC, bytes(32), bytes(32)), b"\x01")


class Hashes:
    """A Redis of this test's own, which can be stopped and started again under the same address."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._server = EmbeddedRedis(folder)
        self._port = free_port()
        self.url = f"redis://:{PASSWORD}@127.0.0.1:{self._port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [*self._server.command(self._port), "--requirepass", PASSWORD]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            time.sleep(0.02)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def hashes(tmp_path: Path) -> Iterator[Hashes]:
    made = Hashes(tmp_path / "hashes")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def chain() -> SimulatedChain:
    made = SimulatedChain(seed=6)
    grow(made, Random(6), 40, users=20)
    made.finalize(30)
    return made


@pytest.fixture
def node(chain: SimulatedChain) -> Iterator[SimulatedNode]:
    with SimulatedNode(chain) as served:
        yield served


@pytest.fixture
def site(workshop: Workshop, node: SimulatedNode, hashes: Hashes, receiver: Receiver, tmp_path: Path) -> Site:
    made = Site(workshop, tmp_path / "site", rpc=f"{node.url}/v3/{KEY}")
    made.publish(redis_url=hashes.url)
    made.set("chains.main.accept_unproven", True)  # its headers commit to nothing
    made.set("projections.kept", {"projector": "referrals", "contract": "referral", "poison": "quarantine"})
    made.set(
        "alerts",
        {
            "urls": [receiver.url.replace("//", f"//me:{PASSWORD}@") + f"/{KEY}"],
            "every": "50ms",
            "failing_for": "1ms",
            "gap_older_than": "300ms",
            "head_stalled": "never",
            "per_hour": 1_000,
        },
    )
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
    assert KEY not in done.err
    assert PASSWORD not in done.err


def named(kind: str, subject: str) -> str:
    return f"chainfold: {KINDS[kind].title.format(subject=subject)}"


def happens(
    receiver: Receiver, kind: str, subject: str, begin: Callable[[], object], end: Callable[[], object]
) -> None:
    """Makes it happen and end; both are reported."""
    title = named(kind, subject)
    begin()
    receiver.until(lambda: title in receiver.titles)
    end()
    receiver.until(lambda: title.replace(": ", ": over: ", 1) in receiver.titles)


def listed(site: Site) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = site.run("alerts", "list", "--json").json()["incidents"]
    return found


def all_folded(site: Site, chain: SimulatedChain) -> bool:
    found = site.run("status", "--json").json()["projections"]["referrals"]
    return bool(found["block"] == chain.head().number)


def test_every_kind_of_incident_is_told_once_and_is_over_once_and_no_secret_is_told(
    site: Site, chain: SimulatedChain, node: SimulatedNode, hashes: Hashes, receiver: Receiver
) -> None:
    def tell(kind: str, subject: str, begin: Callable[[], object], end: Callable[[], object]) -> None:
        happens(receiver, kind, subject, begin, end)

    node.faults.pruned_below = 4
    with running(site):
        tell("gap-old", "main", lambda: None, lambda: mended(site, node))
        receiver.until(lambda: all_folded(site, chain))
        tell(
            "source-failing",
            "main",
            lambda: setattr(node.faults, "down", True),
            lambda: setattr(node.faults, "down", False),
        )
        tell("sink-down", "referrals.redis", hashes.stop, hashes.start)
        tell("sink-foreign", "referrals.redis", lambda: marked(hashes, "another"), lambda: marked(hashes, ""))
        tell("reorg-below-finality", "main", lambda: chain.reorg(25), lambda: None)
        chain.mine(logs=[register(1, 2), POISON])
        receiver.until(lambda: named("projection-halted", "referrals") in receiver.titles)
        place = str(chain.head().number)
        for projection in ("referrals", "kept"):
            skip = ("skip", projection, "--block", place, "--log-index", "1", "--reason", "a test")
            assert site.run("failures", *skip).code == 0
        tell("projection-halted", "referrals", lambda: None, lambda: None)
        tell("projection-quarantining", "kept", lambda: None, lambda: None)
        tell("verify-difference", "verify", lambda: verified(site, 1, 3), lambda: verified(site, -1, 0))
    everything = [word for item in receiver.told for word in (item.title, item.body)]
    assert not [said for said in everything if KEY in said or PASSWORD in said]
    assert len(receiver.titles) == len(set(receiver.titles)) == 2 * 8
    for item in receiver.told:
        assert ("What to do: " in item.body) == (item.kind == "failure")
        assert item.kind == ("success" if ": over: " in item.title else "failure")
    incidents = listed(site)
    assert len(incidents) == 8
    assert all(item["told_at"] and item["closed_at"] and item["over_told_at"] for item in incidents)


def mended(site: Site, node: SimulatedNode) -> None:
    node.faults.pruned_below = None
    assert site.run("failures", "retry").code == 0


def marked(hashes: Hashes, store: str) -> None:
    """Writes another store's name into the marker, and with "" the right one again."""
    with redis.Redis.from_url(hashes.url, decode_responses=True) as client:
        [key] = client.keys("chainfold:marker:*")
        ours = client.get("ours") or client.hget(key, "store")
        client.set("ours", str(ours))
        client.hset(key, "store", store or str(ours))


def verified(site: Site, change: int, code: int) -> None:
    """Changes one number of one log behind the triggers' back, and verifies."""
    with sqlite3.connect(site.folder / "store.db") as store:
        [(name, trigger)] = store.execute(
            "SELECT name, sql FROM sqlite_master WHERE name = 'logs_refuse_update'"
        ).fetchall()
        store.execute(f"DROP TRIGGER {name}")
        store.execute(
            "UPDATE logs SET tx_index = tx_index + ? WHERE (block_number, log_index, entry) = "
            "(SELECT block_number, log_index, entry FROM logs ORDER BY block_number, log_index LIMIT 1)",
            (change,),
        )
        store.execute(trigger)
    store.close()
    assert site.run("verify").code == code


def test_the_addresses_are_checked_and_a_test_message_is_sent(site: Site, receiver: Receiver) -> None:
    done = site.run("check")
    assert (done.code, receiver.told) == (0, [])
    assert "ok    alerts.urls[0]" in done.out
    assert site.run("alerts", "test").code == 0
    assert receiver.titles == ["chainfold: a test"]
    receiver.status = 500
    done = site.run("alerts", "test")
    assert done.code == 1
    assert "alerts.urls[0] (json) did not take the test message" in done.complaint
    assert PASSWORD not in done.out + done.err
    site.set("alerts.urls", ["nosuch://k3y0fth3n0d3"])
    for command in ("check", "run"):
        done = site.run(command)
        assert done.code == (1 if command == "check" else 2)
        assert "alerts.urls[0]" in done.out + done.err
        assert KEY not in done.out + done.err


def test_an_incident_outlives_the_service_and_is_closed_by_hand_where_nobody_sees_it_end(
    site: Site, node: SimulatedNode, receiver: Receiver
) -> None:
    node.faults.down = True
    title = named("source-failing", "main")
    with running(site):
        receiver.until(lambda: title in receiver.titles)
    with running(site):
        assert site.run("alerts", "list", "--open", "--json").json()["incidents"][0]["id"] == 1
        status = site.run("status", "--json").json()
        assert [item["title"] for item in status["incidents"]] == ["the source of main fails"]
        assert "since" in site.run("status").out
        assert site.run("alerts", "close", "1", "--reason", "the chain is gone").code == 0
        receiver.until(lambda: len(receiver.titles) > 1)
        assert receiver.told[1].title == title.replace(": ", ": over: ", 1)
        assert receiver.told[1].body.startswith("The chain is gone.")
    assert (
        site.run("alerts", "close", "7").complaint == "There is no incident 7. See `chainfold alerts list`."
    )


def test_a_head_that_stands_still_and_a_history_that_is_disproved_are_told_and_are_over(
    workshop: Workshop, receiver: Receiver, tmp_path: Path
) -> None:
    chain = SimulatedChain(sealed=True)
    for number in range(20):
        chain.mine(logs=[register(number + 1, number), register(number + 2, number)])
    chain.finalize(18)
    with SimulatedNode(chain, faults=Faults(withheld={(17, 1)}, receipts_honest=True)) as node:
        site = Site(workshop, tmp_path / "site", rpc=node.url)
        site.set("alerts", {"urls": receiver.url, "every": "50ms", "head_stalled": "300ms"})
        with running(site):
            receiver.until(lambda: named("head-stalled", "main") in receiver.titles)
            happens(
                receiver,
                "history-disproved",
                "main",
                lambda: site.run("verify", "events"),
                lambda: site.run("verify", "events", "--repair"),
            )
            happens(receiver, "head-stalled", "main", lambda: None, chain.mine)
    assert len(receiver.titles) == len(set(receiver.titles)) == 4


def test_of_two_services_one_tells_also_where_it_is_killed_before_the_end(
    site: Site, node: SimulatedNode, receiver: Receiver, postgres_url: str
) -> None:
    site.set("store.url", postgres_url)
    title = named("source-failing", "main")
    first = site.start("run")
    until_folded(site)
    with running(site):
        node.faults.down = True
        receiver.until(lambda: [item for item in listed(site) if item["told_at"]])
        first.kill()
        node.faults.down = False
        receiver.until(lambda: len(receiver.titles) > 1)
    assert receiver.titles == [title, title.replace(": ", ": over: ", 1)]


def until_folded(site: Site) -> None:
    deadline = time.monotonic() + 60
    while not in_sql(site):
        assert time.monotonic() < deadline
        time.sleep(0.1)
