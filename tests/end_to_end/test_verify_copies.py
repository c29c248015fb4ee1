"""`chainfold verify documents sinks`: what differs from the fold is named, and mended, service or not."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from threading import Event, Thread
from typing import Any

import pytest
import redis
from pymongo import MongoClient

from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.node import SimulatedNode
from tests.end_to_end.site import (
    Done,
    Site,
    Workshop,
    as_hashes,
    bare,
    expected,
    grow,
    in_mongo,
    in_redis,
    in_sql,
)
from tests.servers.mongo import Mongo

ABSENT = "0x" + "ee" * 20


class Place:
    """A site with both sinks, its chain, and its databases as an intruder sees them."""

    def __init__(self, site: Site, node: SimulatedNode, mongo: Mongo, redis_url: str) -> None:
        self.site, self.node, self.chain = site, node, node.chain
        self.mongo, self._redis_url = mongo, redis_url
        self.client: MongoClient[dict[str, Any]] = MongoClient(mongo.url)
        self.users = self.client[mongo.database]["users"]
        self.redis = redis.Redis.from_url(redis_url, decode_responses=True)

    def close(self) -> None:
        self.client.close()
        self.redis.close()

    def verify(self, *arguments: str) -> tuple[Done, dict[str, dict[str, Any]]]:
        done = self.site.run("verify", *arguments, "--json")
        return done, {check["name"]: check for check in done.json()["checks"]}

    def busiest(self) -> str:
        """Whose document is the least likely to be anybody's guess."""
        return max(in_sql(self.site).values(), key=lambda item: (item["level1Count"], item["address"]))[
            "address"
        ]

    def agree(self) -> None:
        found = in_sql(self.site)
        assert bare(found) == expected(self.chain)
        assert in_mongo(self.mongo.url, self.mongo.database) == found
        assert in_redis(self._redis_url) == as_hashes(found)


@pytest.fixture
def place(workshop: Workshop, tmp_path: Path, mongo: Mongo, redis_url: str) -> Iterator[Place]:
    chain = SimulatedChain()
    grow(chain, Random(3), 12, users=40)
    chain.finalize(6)
    with SimulatedNode(chain) as node:
        site = Site(workshop, tmp_path / "here", rpc=node.url)
        site.publish(mongo=(mongo.url, mongo.database), redis_url=redis_url)
        assert site.run("sync").code == 0
        made = Place(site, node, mongo, redis_url)
        yield made
        made.close()


@contextmanager
def running(place: Place) -> Iterator[None]:
    """The service runs, and the chain moves and reorganises under it."""
    over = Event()

    def move() -> None:
        random = Random(9)
        while not over.wait(0.05):
            grow(place.chain, random, 1, users=40)
            if random.random() < 0.2:
                place.chain.reorg(3, logs=[[], [], []])

    service, weather = place.site.start("run"), Thread(target=move)
    weather.start()
    try:
        yield
    finally:
        over.set()
        weather.join()
        service.signal(signal.SIGTERM)
        done = service.end()
    assert done.code == 0, done.err


def change_field(place: Place) -> str:
    key = place.busiest()
    place.users.update_one({"address": key}, {"$set": {"level1Count": 4_711}})
    return key


def delete_document(place: Place) -> str:
    key = place.busiest()
    place.users.delete_one({"address": key})
    return key


def add_ghost(place: Place) -> str:
    mark = {"revision": 1, "block": 1}
    place.users.insert_one({"_id": ABSENT, "address": ABSENT, "level1Count": 0, "chainfold": mark})  # type: ignore[dict-item]
    return ABSENT


def change_hash(place: Place) -> str:
    key = place.busiest()
    place.redis.hset(f"user:{key}", "directReferrer", ABSENT)
    return key


def flush(place: Place) -> str:
    place.redis.flushall()
    return "the marker"


MEDDLINGS: dict[str, tuple[Callable[[Place], str], str, str]] = {
    "one field changed in MongoDB": (change_field, "sinks referrals.mongo", "level1Count is 4711, not "),
    "one document deleted in MongoDB": (delete_document, "sinks referrals.mongo", "is missing"),
    "one ghost added in MongoDB": (add_ghost, "sinks referrals.mongo", "no document of the projection is"),
    "one hash changed in Redis": (change_hash, "sinks referrals.redis", f"directReferrer is {ABSENT}, not "),
    "Redis flushed": (flush, "sinks referrals.redis", "the sink was emptied"),
}


def test_what_nobody_touched_is_right(place: Place) -> None:
    done, checks = place.verify("documents", "sinks", "journal")
    assert done.code == 0, done.out
    assert {name for name, check in checks.items() if check["checked"]} == {
        "journal main",
        "documents referrals",
        "sinks referrals.mongo",
        "sinks referrals.redis",
    }
    assert checks["sinks referrals.mongo"]["checked"] == len(in_sql(place.site))


@pytest.mark.parametrize("name", MEDDLINGS)
def test_what_was_changed_in_a_sink_is_named_and_healed(place: Place, name: str) -> None:
    meddle, where, said = MEDDLINGS[name]
    key = meddle(place)
    done, checks = place.verify("sinks")
    assert done.code == 3, done.err
    found = {item["what"]: item["detail"] for item in checks[where]["differences"]}
    assert said in found[key], found
    [other] = [check for check in checks if check != where]
    assert checks[other]["ok"], checks[other]

    done, checks = place.verify("sinks", "--repair")
    assert done.code == 0, done.out
    assert checks[where]["found"] == checks[where]["repaired"] > 0
    place.users.delete_one({"_id": ABSENT, "chainfold.removed": True})
    place.agree()
    assert place.verify("sinks")[0].code == 0


def test_what_the_application_holds_beside_ours_stays_through_a_repair(place: Place) -> None:
    key = place.busiest()
    place.users.update_one({"address": key}, {"$set": {"level1Count": 0, "email": "a@b.c"}})
    place.users.insert_one({"address": "somebody", "email": "d@e.f"})
    add_ghost(place)
    place.users.update_one({"address": ABSENT}, {"$set": {"email": "g@h.i"}})
    assert place.verify("sinks", "--repair")[0].code == 0
    emails = {held["address"]: held["email"] for held in place.users.find({"email": {"$exists": True}})}
    assert emails == {key: "a@b.c", "somebody": "d@e.f", ABSENT: "g@h.i"}


def test_a_sample_looks_at_its_share_and_draws_the_same_again(place: Place) -> None:
    done, checks = place.verify("sinks", "--sample", "50%")
    assert done.code == 0, done.err
    looked = checks["sinks referrals.mongo"]["checked"]
    assert 0 < looked < len(in_sql(place.site))
    assert place.verify("sinks", "--sample", "0.5")[1]["sinks referrals.mongo"]["checked"] == looked
    assert place.site.run("verify", "sinks", "--sample", "much").code == 2


def test_a_sample_mends_what_carries_a_revision_from_the_future(place: Place) -> None:
    """The publisher's guard leaves a higher revision alone: a repair has to go above it."""
    key = place.busiest()
    place.users.update_one(
        {"address": key}, {"$set": {"level1Count": 4_711, "chainfold.revision": 1_000_000}}
    )
    done, checks = place.verify("sinks", "--sample", "100%", "--repair")
    assert done.code == 0, checks
    assert checks["sinks referrals.mongo"]["repaired"] >= 1
    place.agree()


def test_a_sink_that_is_away_holds_up_no_other(place: Place) -> None:
    place.users.update_one({"address": place.busiest()}, {"$set": {"level1Count": 4_711}})
    place.users.insert_one({"chainfold": {"revision": 1, "block": 1}})  # our mark, and no key
    place.site.publish(mongo=(place.mongo.url, place.mongo.database), redis_url="redis://127.0.0.1:1/0")
    done, checks = place.verify("sinks")
    assert done.code == 3, done.err
    assert checks["sinks referrals.redis"]["error"]
    found = [item["what"] for item in checks["sinks referrals.mongo"]["differences"]]
    assert place.busiest() in found and "the total of count" in found, found


def test_a_document_that_was_changed_in_the_store_is_named_and_folded_anew(place: Place) -> None:
    key = place.busiest()
    with sqlite3.connect(place.site.folder / "store.db") as file:
        file.execute(
            "UPDATE documents SET body = CAST(replace(CAST(body AS TEXT), '\"level2Count\":', "
            "'\"level2Count\":9') AS BLOB) WHERE key = ?",
            (key,),
        )
    file.close()
    done, checks = place.verify("documents")
    assert done.code == 3, done.err
    said = [item["detail"] for item in checks["documents referrals"]["differences"] if item["what"] == key]
    assert any("level2Count is 9" in detail and "folding the journal gives" in detail for detail in said)
    assert any("documents have it as indirectReferrer" in detail for detail in said)
    done, checks = place.verify("documents", "sinks", "--repair")
    assert done.code == 0, done.out
    place.agree()


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DELETE FROM documents WHERE key = :key", "is missing: folding the journal gives it"),
        (
            "INSERT INTO documents SELECT generation, '0xghost', body FROM documents WHERE key = :key",
            "folding the journal does not give it",
        ),
        ("DELETE FROM document_index WHERE key = :key", "lacks 1 values of documents"),
        (
            "INSERT INTO document_index SELECT generation, name, '0xnobody', key FROM document_index "
            "WHERE key = :key",
            "stands in the index under directReferrer = 0xnobody",
        ),
        ("UPDATE generations SET digest = zeroblob(32)", "is not that of the documents"),
        ("UPDATE generations SET documents = documents + 1", "documents are there"),
        ("UPDATE documents SET body = x'00' WHERE key = :key", "cannot be read"),
    ],
)
def test_whatever_of_the_state_was_changed_is_named(place: Place, statement: str, said: str) -> None:
    key = next(key for key, item in sorted(in_sql(place.site).items()) if item["directReferrer"])
    with sqlite3.connect(place.site.folder / "store.db") as file:
        file.execute(statement, {"key": key} if ":key" in statement else {})
    file.close()
    done, checks = place.verify("documents")
    assert done.code == 3, done.err
    details = [item["detail"] for item in checks["documents referrals"]["differences"]]
    assert any(said in detail for detail in details), details


def test_nothing_is_found_wrong_while_everything_moves(place: Place) -> None:
    """What is on its way, rewound or folded at that moment does not count as a difference."""
    with running(place):
        for _ in range(6):
            done, checks = place.verify("documents", "sinks", "journal")
            assert done.code == 0, checks


def test_a_repair_works_while_the_service_runs(place: Place) -> None:
    place.users.insert_one({"_id": "keeper", "address": "keeper"})
    with running(place):
        key = next(iter(sorted(expected(place.chain))))
        place.users.update_one({"address": key}, {"$set": {"level2Count": 4_711}})
        add_ghost(place)
        done, checks = place.verify("sinks", "--repair")
        assert done.code == 0, checks
        assert checks["sinks referrals.mongo"]["repaired"] >= 1
    assert place.site.run("sync").code == 0
    place.users.delete_one({"_id": "keeper"})
    place.users.delete_one({"_id": ABSENT, "chainfold.removed": True})
    place.agree()
