"""A rebuild whose node is unreachable, while a service of the old code follows the chain beside it."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from msgspec import Struct

from eventstore.sources.simulated.node import SimulatedNode
from tests.end_to_end.shop import (
    EVENTS,
    NEW,
    NOBODY,
    OLD,
    PER_BLOCK,
    History,
    brought,
    halfway,
    shop,
    standing,
    until,
)
from tests.end_to_end.site import Done, Site, Workshop
from tests.servers.mongo import Mongo
from tests.servers.postgres import database


class Beside(Struct, frozen=True):
    """What was seen of a rebuild whose own node is unreachable, beside a service of the old code."""

    found: dict[str, Any]
    followed: bool
    rebuilt: Done
    new_is_served: bool
    said_by_old: str
    stands: dict[str, Any]
    all_is_there: bool
    old_process: str
    asked_by_new: Done
    seen_by_old: dict[str, Any]


@pytest.fixture(scope="module")
def beside(
    workshop: Workshop,
    postgres_server: str,
    mongo_server: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Beside]:
    """The old code even asks for rebuilds by itself: it must not take back what replaced it."""
    history, folder = History(), tmp_path_factory.mktemp("beside")
    mongo = Mongo(mongo_server, f"test_{uuid4().hex}")
    with database(postgres_server) as store, SimulatedNode(history.chain) as node:
        old = shop(workshop, folder / "old", OLD, rpc=node.url, store=store)
        new = shop(workshop, folder / "new", NEW, rpc=NOBODY, store=store)
        for site in (old, new):
            site.publish(mongo=(mongo.url, mongo.database))
        old.set("projections.referrals.rebuild", "auto")
        running = [old.start("run")]
        until(lambda: brought(mongo), lambda there: there == history.old())
        rebuild = new.start("rebuild", "referrals")
        halfway(new)
        history.grow(PER_BLOCK)
        history.grow(PER_BLOCK)
        followed = until(lambda: brought(mongo), lambda there: there == history.old())
        found = standing(new)
        (new.folder / "go").touch()
        rebuilt = rebuild.end()
        promoted = until(lambda: brought(mongo), lambda there: there == history.new())
        until(lambda: running[0].complaints, lambda said: "outdated" in said)
        history.grow(PER_BLOCK)
        until(lambda: covered_to(new), lambda block: block == history.chain.head().number)
        stands, asked = standing(new), new.start("status", "--check").end()
        running.append(new.start("run", "--only", "project,publish"))
        whole = until(lambda: brought(mongo), lambda there: there == history.new())
        seen_by_old = until(lambda: standing(old), lambda found: not found["stands_still"])
        for command in running:
            command.signal(signal.SIGTERM)
            assert command.end().code == 0
        yield Beside(
            found,
            bool(followed),
            rebuilt,
            bool(promoted),
            running[0].complaints,
            stands,
            bool(whole),
            f"process {running[0].pid} on {socket.gethostname()}",
            asked,
            seen_by_old,
        )


def covered_to(site: Site) -> int | None:
    found: int | None = site.run("status", "--json").json()["chains"]["main"]["covered_to"]
    return found


def test_the_old_code_follows_the_chain_while_the_new_one_builds_beside_it(beside: Beside) -> None:
    assert beside.followed
    assert not beside.found["stands_still"]
    assert 0 < beside.found["build"]["events"] < beside.found["build"]["of"] == EVENTS + 2 * PER_BLOCK


def test_a_build_beside_the_old_code_holds_the_blocks_that_came_meanwhile(beside: Beside) -> None:
    assert beside.rebuilt.code == 0, beside.rebuilt.err
    assert beside.new_is_served


def test_the_old_code_stands_and_says_so_once_it_is_replaced(beside: Beside) -> None:
    assert beside.said_by_old.count("outdated") == 1
    assert "chainfold rebuild referrals" in beside.said_by_old


def test_the_old_code_does_not_take_back_what_replaced_it(beside: Beside) -> None:
    assert (beside.stands["generation"], beside.stands["state"], beside.stands["build"]) == (2, "live", None)


def test_what_came_after_the_promotion_is_folded_by_the_new_code(beside: Beside) -> None:
    assert beside.all_is_there


def test_the_rebuild_says_which_process_stands_still_from_now_on(beside: Beside) -> None:
    [said] = [line for line in beside.rebuilt.out.splitlines() if "stands still" in line]
    assert said.startswith(f"{beside.old_process} is of other code: it stands still from now on")


def test_that_nobody_follows_shows_in_the_status_with_the_process_and_the_exit_code(beside: Beside) -> None:
    assert beside.stands["stands_still"]
    assert beside.stands["idle"] == [beside.old_process]
    assert beside.asked_by_new.code == 1
    assert f"for {beside.old_process} is of other code than what is served" in beside.asked_by_new.out


def test_the_status_judges_by_who_does_the_work_whatever_code_asks(beside: Beside) -> None:
    """The new code runs and follows what it built: the old code sees that it is live."""
    assert (beside.seen_by_old["state"], beside.seen_by_old["idle"]) == ("live", [])
    assert not beside.seen_by_old["stands_still"]
