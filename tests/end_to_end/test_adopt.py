"""A collection that the old script filled: what is wrong is said, it is taken over, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from eventstore.records import Log
from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.node import SimulatedNode
from tests.end_to_end.site import Site, Workshop, bare, expected, in_sql, register
from tests.servers.mongo import Mongo


class Team:
    """An application with a referral programme: its chain, its collection, its script."""

    def __init__(self, chain: SimulatedChain, site: Site, mongo: Mongo) -> None:
        self.chain, self.site, self._mongo = chain, site, mongo
        self.client: MongoClient[dict[str, Any]] = MongoClient(mongo.url)
        self.users = self.client[mongo.database]["users"]

    def script(self, logs: Iterable[Log], *, checksummed: frozenset[int] = frozenset()) -> None:
        """What the cron job did: `$set` on the user, `$inc` on whom it names, as the addresses come."""
        for log in logs:
            user, referrer = (self.written(int.from_bytes(t, "big"), checksummed) for t in log.topics[1:])
            stamp = int.from_bytes(log.data, "big")
            change = {"$set": {"directReferrer": referrer, "referralTimestamp": stamp}}
            self.users.update_one({"address": user}, change, upsert=True)
            self.users.update_one({"address": referrer}, {"$inc": {"level1Count": 1}}, upsert=True)
            above = (self.users.find_one({"address": referrer}) or {}).get("directReferrer")
            if above:
                self.users.update_one({"address": user}, {"$set": {"indirectReferrer": above}})
                self.users.update_one({"address": above}, {"$inc": {"level2Count": 1}}, upsert=True)
        for name in ("level1Count", "level2Count"):
            self.users.update_many({name: {"$exists": False}}, {"$set": {name: 0}})

    def written(self, number: int, checksummed: frozenset[int] = frozenset()) -> str:
        text = f"0x{number:040x}"
        return text.replace("abc", "aBc") if number in checksummed else text

    def adopt(self, *options: str) -> dict[str, Any]:
        done = self.site.run("adopt", "referrals", *options, "--json")
        assert done.code == 0, (done.out, done.err)
        return dict(done.json())


@pytest.fixture
def team(workshop: Workshop, tmp_path: Path, mongo: Mongo) -> Iterator[Team]:
    """User 1 brought 2 to 9; two blocks of them are replaced later; 0xabc0 to 0xabc4 came by user 2."""
    chain = SimulatedChain()
    chain.mine(logs=[register(user, 1) for user in range(2, 8)])
    chain.mine(logs=[register(0xABC0 + n, 2) for n in range(5)])
    with SimulatedNode(chain) as node:
        site = Site(workshop, tmp_path / "here", rpc=node.url)
        made = Team(chain, site, mongo)
        site.publish(mongo=(mongo.url, mongo.database))
        yield made
        made.client.close()


def told(report: dict[str, Any], cause: str) -> set[str]:
    return {item["key"] for item in report["examples"] if item["cause"] == cause}


def test_a_collection_that_is_right_is_said_to_be(team: Team) -> None:
    team.script(team.chain.logs_in(0, 99))
    report = team.adopt("--dry-run")
    assert (report["causes"], report["absent"], report["mixed"]) == ({}, 0, 0)
    assert report["summary"].startswith("0 of 12 users differ")
    assert team.users.count_documents({"chainfold": {"$exists": True}}) == 0


def test_what_was_counted_twice_missed_reorged_and_written_otherwise_is_told_apart(team: Team) -> None:
    logs = team.chain.logs_in(0, 99)
    team.script(logs, checksummed=frozenset({0xABC1}))
    team.script([log for log in logs if log.topics[1][-1] == 3])  # ran twice: user 3, whom 1 referred
    team.users.update_one({"address": team.written(2)}, {"$inc": {"level1Count": -1}})
    team.users.insert_one({"address": "0x" + "77" * 20, "level1Count": 1})
    team.chain.mine(logs=[register(20, 21)])
    team.script(team.chain.logs_in(3, 3))
    team.site.settings["projections"]["referrals"].pop("mongo")
    team.site.write()
    assert team.site.run("sync").code == 0  # it saw the block that is replaced
    team.chain.reorg(1, logs=[[], []])
    team.site.set("projections.referrals.mongo", {"collection": "users"})

    report = team.adopt("--dry-run")
    assert told(report, "counted twice") == {team.written(1)}
    assert told(report, "missed") == {team.written(2)}
    assert told(report, "from reorged blocks") == {team.written(20), team.written(21)}
    assert told(report, "not on the chain") == {"0x" + "77" * 20}
    assert (report["mixed"], report["twins"], report["absent"]) == (1, 0, 0)
    assert report["causes"] == {
        "from reorged blocks": 2,
        "counted twice": 1,
        "missed": 1,
        "not on the chain": 1,
    }
    assert report["summary"].startswith("5 of 15 users differ: 2 from reorged blocks, ")
    assert team.users.count_documents({"chainfold": {"$exists": True}}) == 0
    said = team.site.run("adopt", "referrals", "--dry-run").out
    assert "level1Count is 7, not 6" in said
    assert "Nothing was written." in said


def test_it_is_taken_over_and_no_field_of_the_application_is_lost(team: Team) -> None:
    team.script(team.chain.logs_in(0, 99), checksummed=frozenset({0xABC1, 0xABC2, 0xABC3}))
    team.script(team.chain.logs_in(1, 1))
    mixed = [team.written(number, frozenset({number})) for number in (0xABC1, 0xABC2, 0xABC3)]
    for number, key in enumerate(mixed):
        team.users.update_one({"address": key}, {"$set": {"email": f"{number}@a.b", "seen": number}})
    team.users.insert_one({"address": mixed[1].lower(), "name": "Bob"})  # a twin that fits
    team.users.insert_one({"address": mixed[2].lower(), "email": "other@a.b"})  # one that does not

    done = team.site.run("adopt", "referrals", "--normalise", "--json")
    assert done.code == 1, done.err
    report = done.json()
    assert report["normalised"] == {"rewritten": 1, "merged": 1}
    assert report["conflicts"] == {mixed[2]: ["email"]}
    held = {item["address"]: item for item in team.users.find()}
    found = in_sql(team.site)
    assert bare(found) == expected(team.chain)
    for key, document in found.items():
        assert held[key]["level1Count"] == document["level1Count"], key
        assert held[key]["chainfold"]["revision"] >= 1
    assert (held[mixed[0].lower()]["email"], held[mixed[0].lower()]["seen"]) == ("0@a.b", 0)
    assert (held[mixed[1].lower()]["email"], held[mixed[1].lower()]["name"]) == ("1@a.b", "Bob")
    assert (held[mixed[2]]["email"], held[mixed[2].lower()]["email"]) == ("2@a.b", "other@a.b")
    assert mixed[0] not in held and mixed[1] not in held

    team.users.update_one({"address": mixed[2]}, {"$unset": {"email": ""}})
    assert team.adopt("--normalise")["normalised"] == {"rewritten": 0, "merged": 1}
    again = team.adopt("--dry-run")
    assert (again["causes"], again["mixed"], again["absent"]) == ({}, 0, 0)
    assert team.site.run("verify", "sinks").code == 0


def test_documents_with_somebodys_mark_are_taken_over_and_what_is_refused_is_said(team: Team) -> None:
    """The mark is of a chainfold whose store and marker are gone; one document the collection refuses."""
    team.script(team.chain.logs_in(0, 99))
    kept = {"chainfold": {"revision": 5_000, "block": 1}, "level1Count": 77}
    team.users.update_one({"address": team.written(1)}, {"$set": kept})
    team.client[team.users.database.name].command(
        {"collMod": "users", "validator": {"address": {"$ne": team.written(2)}}}
    )
    done = team.site.run("adopt", "referrals")
    assert done.code == 1
    assert f"{team.written(2)} was not taken over: it is set aside" in done.out
    assert "taken over but for 1 documents" in done.out
    team.client[team.users.database.name].command({"collMod": "users", "validator": {}})
    team.users.update_one(
        {"address": team.written(3)}, {"$set": {"level1Count": 5, "chainfold.revision": 9_000}}
    )
    assert team.adopt()["left"] == {}
    for document in in_sql(team.site).values():
        assert team.users.find_one({"address": document["address"]})["level1Count"] == document["level1Count"]


def test_a_projection_without_a_collection_cannot_be_adopted(team: Team) -> None:
    team.site.settings["projections"]["referrals"].pop("mongo")
    team.site.write()
    done = team.site.run("adopt", "referrals")
    assert done.code == 2
    assert "has no mongo sink" in done.complaint
