"""A rebuild by changed code of the user's own, its node unreachable, by one process: alone, and killed."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import pytest
import redis
from msgspec import Struct
from pymongo import MongoClient

from eventstore.sources.simulated.node import SimulatedNode
from tests.end_to_end.shop import (
    EVENTS,
    NEW,
    NOBODY,
    OLD,
    History,
    copied,
    fold,
    halfway,
    moved,
    published,
    shop,
    standing,
)
from tests.end_to_end.site import Done, Workshop, in_redis
from tests.servers.mongo import Mongo
from tests.stores import ENGINES

KILLS = 5


@pytest.fixture(scope="module")
def history() -> History:
    return History()


@pytest.fixture(scope="module")
def folded(history: History, workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fold(history, workshop, tmp_path_factory.mktemp("folded"))


# --- one process alone ---


class Alone(Struct, frozen=True):
    """What was seen of a rebuild that one process did alone, promoted, sent, and taken back."""

    before: dict[str, tuple[int, int]]
    hashes: dict[str, dict[str, str]]
    status: Done
    found: dict[str, Any]
    found_by_old: dict[str, Any]
    meanwhile: dict[str, tuple[int, int]]
    hashes_meanwhile: dict[str, dict[str, str]]
    rebuilt: Done
    sync: dict[str, Any]
    after: dict[str, tuple[int, int]]
    back: Done
    sync_back: dict[str, Any]
    again: dict[str, tuple[int, int]]


@pytest.fixture(scope="module")
def mongo_of_module(mongo_server: str) -> Iterator[Mongo]:
    made = Mongo(mongo_server, f"test_{uuid4().hex}")
    yield made
    client: MongoClient[dict[str, Any]]
    with MongoClient(made.url) as client:
        client.drop_database(made.database)


@pytest.fixture(scope="module")
def alone(
    history: History,
    folded: Path,
    workshop: Workshop,
    mongo_of_module: Mongo,
    redis_server: str,
) -> Alone:
    folder, mongo = folded / "alone", mongo_of_module
    store = copied(folded, folder)
    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
    with SimulatedNode(history.chain) as node:
        old, new = (
            shop(workshop, folder / name, code, rpc=node.url, store=store)
            for name, code in (("old", OLD), ("new", NEW))
        )
        for site in (old, new):
            site.publish(mongo=(mongo.url, mongo.database), redis_url=redis_server)
        assert old.run("sync").code == 0
        before, hashes = published(mongo), in_redis(redis_server)
        with node.refusing_connections():
            rebuild = new.start("rebuild", "referrals")
            found = halfway(new)
            status, found_by_old = new.run("status"), standing(old)
            meanwhile, hashes_meanwhile = published(mongo), in_redis(redis_server)
            (new.folder / "go").touch()
            rebuilt = rebuild.end()
        sync = new.run("sync", "--json").json()
        after = published(mongo)
        with node.refusing_connections():
            back = old.run("rebuild", "referrals", "--back")
        sync_back = old.run("sync", "--json").json()
        again = published(mongo)
    return Alone(
        before,
        hashes,
        status,
        found,
        found_by_old,
        meanwhile,
        hashes_meanwhile,
        rebuilt,
        sync,
        after,
        back,
        sync_back,
        again,
    )


def test_what_is_served_stays_as_it_is_while_one_process_alone_rebuilds(
    alone: Alone, history: History
) -> None:
    assert {key: number for key, (number, _) in alone.before.items()} == history.old()
    assert (alone.meanwhile, alone.hashes_meanwhile) == (alone.before, alone.hashes)


def test_status_says_that_what_is_served_stands_still_and_how_far_the_build_is(
    alone: Alone, history: History
) -> None:
    build, head = alone.found["build"], history.chain.head().number
    assert (
        f"referrals: generation 1 is served as it is and stands still at block {head:,}, generation 2 is "
        f"being built: {build['percent']}% ({build['events']:,} of {EVENTS:,} events)\n"
    ) in alone.status.out


def test_status_gives_the_same_as_values(alone: Alone, history: History) -> None:
    build, head = alone.found["build"], history.chain.head().number
    assert (build["state"], build["generation"], build["of"]) == ("building", 2, EVENTS)
    assert 0 < build["events"] < EVENTS
    assert build["percent"] == int(1000 * build["events"] / EVENTS) / 10
    assert 0 < build["block"] < build["to_block"] == head
    assert (alone.found["stands_still"], alone.found["generation"], alone.found["block"]) == (True, 1, head)


def test_status_tells_it_to_the_old_code_as_well(alone: Alone) -> None:
    assert (alone.found_by_old["state"], alone.found["state"]) == ("live", "outdated")
    assert alone.found_by_old["stands_still"]
    assert alone.found_by_old["build"] == alone.found["build"]


def test_the_comparison_says_how_many_differ_and_names_the_first(alone: Alone, history: History) -> None:
    assert alone.rebuilt.code == 0, alone.rebuilt.err
    (line,) = [line for line in alone.rebuilt.out.splitlines() if "differ" in line]
    assert line == (
        f"generation 2 against 1: {len(history.differing):,} documents differ, 0 are new, 0 are gone; e.g."
    )
    names = [line.strip() for line in alone.rebuilt.out.splitlines() if line.startswith("  0x")]
    assert names == sorted(history.differing)[:20]


def test_after_a_promotion_exactly_the_documents_that_differ_are_sent(alone: Alone, history: History) -> None:
    assert moved(alone.before, alone.after) == history.differing
    assert 0 < len(history.differing) < len(alone.before) / 2
    assert alone.sync["sent"] == 2 * len(history.differing)  # to MongoDB and to Redis
    assert {key: number for key, (number, _) in alone.after.items()} == history.new()


def test_going_back_sends_exactly_the_documents_that_differ_again(alone: Alone, history: History) -> None:
    assert alone.back.code == 0, alone.back.err
    assert f"generation 1 against 2: {len(history.differing):,} documents differ" in alone.back.out
    assert moved(alone.after, alone.again) == history.differing
    assert alone.sync_back["sent"] == 2 * len(history.differing)
    assert {key: number for key, (number, _) in alone.again.items()} == history.old()


# --- killed ---


@pytest.fixture(params=ENGINES)
def store_url(request: pytest.FixtureRequest, folded: Path, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return copied(folded, tmp_path)
    url: str = request.getfixturevalue("postgres_url")
    return url


def test_a_rebuild_killed_at_any_moment_and_run_again_ends_as_an_undisturbed_one(
    history: History, workshop: Workshop, store_url: str, tmp_path: Path
) -> None:
    """Until its promotion, which is one transaction, what is served is untouched."""
    random = Random(4)
    with SimulatedNode(history.chain) as node:
        old = shop(workshop, tmp_path / "old", OLD, rpc=node.url, store=store_url)
        new = shop(workshop, tmp_path / "new", NEW, rpc=NOBODY, store=store_url)
        fresh = shop(workshop, tmp_path / "fresh", NEW, rpc=node.url, store="sqlite:///store.db")
        for site in (new, fresh):
            (site.folder / "go").touch()
        assert old.run("sync").code == fresh.run("sync").code == 0
    served, undisturbed = standing(old)["digest"], standing(fresh)["digest"]
    started = time.monotonic()
    assert fresh.run("rebuild", "referrals").code == 0
    duration, kills = time.monotonic() - started, 0
    while kills < KILLS:
        rebuild = new.start("rebuild", "referrals")
        time.sleep(random.uniform(0, duration))  # not a wait: the moment of the kill
        rebuild.kill()
        kills += rebuild.end().code == -signal.SIGKILL
        assert standing(new)["digest"] in (served, undisturbed)
        if standing(new)["digest"] == undisturbed:
            assert old.run("rebuild", "referrals", "--back").code == 0
            assert standing(old)["digest"] == served
    done = new.run("rebuild", "referrals")
    assert done.code == 0, done.err
    assert f"{len(history.differing):,} documents differ, 0 are new, 0 are gone" in done.out
    found = standing(new)
    assert (found["digest"], found["build"], found["state"]) == (undisturbed, None, "live")


def test_a_rebuild_run_again_goes_on_where_the_killed_one_was(
    folded: Path, workshop: Workshop, tmp_path: Path
) -> None:
    site = shop(workshop, tmp_path / "new", NEW, rpc=NOBODY, store=copied(folded, tmp_path))
    rebuild = site.start("rebuild", "referrals")
    done = halfway(site)["build"]["events"]
    rebuild.kill()
    (site.folder / "go").touch()
    again = site.run("rebuild", "referrals")
    assert again.code == 0, again.err
    assert f"{EVENTS - done:,} events folded" in again.out
