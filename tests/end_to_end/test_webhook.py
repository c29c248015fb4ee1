"""A real `chainfold run` that tells a real receiver, and is killed while it does: each bonus is paid once."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.node import SimulatedNode
from tests.end_to_end.site import Command, Site, Workshop, expected, register
from tests.servers.hooks import SECRET, Answering, Call, Receiver

USERS, MANY, KILLS = 24, 3, 4


@pytest.fixture
def chain() -> SimulatedChain:
    """Each of the first users brings three."""
    made = SimulatedChain(seed=4)
    for user in range(1, USERS + 1):
        made.mine(logs=[register(1_000 * user + place, user) for place in range(MANY)])
    made.finalize(made.head().number)
    return made


@pytest.fixture
def node(chain: SimulatedChain) -> Iterator[SimulatedNode]:
    with SimulatedNode(chain) as served:
        yield served


@pytest.fixture
def site(workshop: Workshop, node: SimulatedNode, hooks: Receiver, tmp_path: Path) -> Site:
    made = Site(workshop, tmp_path / "site", rpc=node.url)
    hook = {"name": "many", "url": hooks.url, "secret": SECRET, "when": f"level1Count reached {MANY}"}
    made.set("projections.referrals.follow", "finalized")
    made.set("projections.referrals.webhook", [hook | {"backfill": True}])
    return made


def reached(chain: SimulatedChain) -> set[str]:
    """The users who have so many now; in these tests no number falls."""
    return {key for key, item in expected(chain).items() if item["level1Count"] >= MANY}


def test_each_bonus_is_paid_once_however_often_the_service_is_killed(
    site: Site, hooks: Receiver, chain: SimulatedChain
) -> None:
    """Killed in the moment in which the receiver has taken one and not yet answered."""
    run: list[Command] = []
    killed: list[str] = []

    def answer(call: Call) -> Answering:
        fails = len(hooks.calls) % 5 == 0
        return Answering(503, {"Retry-After": "0"}) if fails else Answering()

    def before(call: Call) -> None:
        if len(killed) < KILLS and len(hooks.calls) > 3 * len(killed):
            killed.append(call.key)
            os.kill(run[-1].pid, signal.SIGKILL)

    hooks.answer, hooks.before = answer, before
    wanted = reached(chain)
    assert len(wanted) > 2 * KILLS
    while len(killed) < KILLS:
        run.append(site.start("run"))
        so_far = len(killed)
        hooks.until(lambda at=so_far: len(killed) > at)  # type: ignore[misc]
        assert run[-1].end().code == -signal.SIGKILL
    assert site.run("rebuild", "referrals").code == 0  # in the middle of it all
    run.append(site.start("run"))
    hooks.until(lambda: paid(hooks).keys() >= wanted)
    chain.mine(logs=[register(user, 999) for user in range(500, 500 + MANY)])
    chain.finalize(chain.head().number)
    hooks.until(lambda: f"0x{999:040x}" in paid(hooks))
    run[-1].signal(signal.SIGTERM)
    assert run[-1].end().code == 0
    assert set(paid(hooks)) == {*wanted, f"0x{999:040x}"}
    assert set(paid(hooks).values()) == {1}
    assert hooks.unsigned == 0
    assert len(hooks.calls) > len(hooks.paid)  # some came twice: the key told


def paid(hooks: Receiver) -> Counter[str]:
    """How many bonuses each user has."""
    return Counter(str(body["key"]) for body in list(hooks.paid.values()))


def test_what_could_not_be_delivered_is_seen_and_sent_again(
    site: Site, hooks: Receiver, chain: SimulatedChain
) -> None:
    hooks.answer = lambda _: Answering(410, text="gone fishing")
    assert site.run("sync").code == 0
    status: dict[str, Any] = site.run("status", "--json").json()
    sink = status["sinks"]["referrals.webhook-many"]
    count = len(reached(chain))
    assert sink["error"].startswith(f"{count} notifications could not be delivered")
    listed = site.run("notifications", "list", "--state", "dead", "--json").json()
    assert {item["key"] for item in listed} == reached(chain)
    assert {item["reason"] for item in listed} == {"HTTP 410: gone fishing"}
    hooks.answer = lambda _: Answering()
    assert site.run("notifications", "retry", "--all", "--json").json() == {"due": count}
    done = site.run("sync")
    assert f"{count} notifications delivered" in done.out
    assert site.run("notifications", "replay", str(listed[0]["id"])).code == 0
    assert site.run("sync").code == 0
    assert len(hooks.calls) == 2 * count + 1
    assert len(hooks.paid) == count
    assert "There is no notification 9999" in site.run("notifications", "retry", "9999").complaint
    done = site.run("status", "--check")
    assert done.code == 0
    assert SECRET not in done.out
