"""Each path of "What to do when" in docs/operations.md, its commands as they are written there."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any

import pytest
import redis
from alembic import command
from pymongo import MongoClient

from eventstore.sources.simulated.chain import Emission, SimulatedChain
from eventstore.sources.simulated.node import Faults, SimulatedNode
from eventstore.storage.store import Store
from projections.migrate import _config
from tests.end_to_end.site import (
    CONTRACT,
    TOPIC,
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

PAGE = Path("docs/operations.md")


def chapter() -> dict[str, list[list[str]]]:
    """By heading the blocks of commands of "What to do when", line by line."""
    text = PAGE.read_text().partition("\n## What to do when\n")[2].partition("\n## ")[0]
    found: dict[str, list[list[str]]] = {}
    for section in text.split("\n### ")[1:]:
        heading, _, body = section.partition("\n")
        blocks = re.findall(r"(?:^ {4}\S.*\n)+", body, re.MULTILINE)
        found[heading] = [[line.strip() for line in block.splitlines()] for block in blocks]
    return found


PATHS = chapter()


class Way:
    """The commands of one block of one section."""

    def __init__(self, site: Site, heading: str, block: int = 0, **values: object) -> None:
        self._site = site
        self._lines = PATHS[heading][block]
        self._values = {name: str(value) for name, value in values.items()}

    def follow(self, codes: Mapping[str, list[int]] = MappingProxyType({})) -> list[Done]:
        """Runs them, each to exit code 0, or to what `codes` says of its line, the first time, the second."""
        left = {line: list(each) for line, each in codes.items()}
        done = []
        for line in self._lines:
            name, *words = shlex.split(line)
            assert name == "chainfold", line
            done.append(self._site.run(*(self._values.get(word, word) for word in words)))
            wanted = left[line].pop(0) if left.get(line) else 0
            assert done[-1].code == wanted, (line, done[-1])
        return done


@pytest.fixture
def chain() -> SimulatedChain:
    """A chain that commits to its logs."""
    made = SimulatedChain(seed=11, sealed=True)
    grow(made, Random(11), 40, users=60, most=6)
    made.finalize(36)
    return made


@contextmanager
def synced(
    workshop: Workshop, folder: Path, chain: SimulatedChain, **faults: Any
) -> Iterator[tuple[Site, SimulatedNode]]:
    """A site that has caught up."""
    with SimulatedNode(chain, faults=Faults(**faults)) as node:
        site = Site(workshop, folder, rpc=node.url)
        done = site.run("sync")
        assert done.code == 0, done.err
        yield site, node


def test_the_chain_reorganised_below_finality(
    workshop: Workshop, tmp_path: Path, chain: SimulatedChain
) -> None:
    with synced(workshop, tmp_path / "site", chain) as (site, _):
        before = in_sql(site)
        chain.reorg(12)
        grow(chain, Random(12), 5, users=60, most=6)
        assert "BELOW FINALITY" in site.run("sync").out
        said = Way(site, "The chain reorganised below finality", A=29, B=40).follow()
        assert "0x" in said[0].out, "what left the chain is shown"
        assert in_sql(site) != before
        assert bare(in_sql(site)) == expected(chain)


def test_the_nodes_newest_block_is_below_ours(
    workshop: Workshop, tmp_path: Path, chain: SimulatedChain
) -> None:
    with synced(workshop, tmp_path / "site", chain) as (site, _):
        chain.reorg(12, logs=[])
        assert site.run("sync").code == 1
        assert site.run("status", "--check").code == 1
        before = in_sql(site)
        said = Way(site, "The node's newest block is below ours", NAME="main").follow()
        assert "behind" in said[0].out
        assert in_sql(site) != before
        assert bare(in_sql(site)) == expected(chain)
        assert site.run("status", "--check").code == 0


def test_a_provider_lied(workshop: Workshop, tmp_path: Path, chain: SimulatedChain) -> None:
    some = chain.logs_in(5, 30)[3]
    hidden = {(some.block_number, some.log_index)}
    with synced(workshop, tmp_path / "proof", chain, withheld=hidden, receipts_honest=True) as (site, node):
        assert bare(in_sql(site)) != expected(chain)
        said = Way(site, "A provider lied").follow({"chainfold verify events": [3]})
        assert f"block {some.block_number}" in said[0].out
        assert bare(in_sql(site)) == expected(chain)
    with synced(workshop, tmp_path / "force", chain, withheld=hidden) as (site, node):
        assert bare(in_sql(site)) != expected(chain)
        with SimulatedNode(chain) as honest:
            site.set("chains.main.rpc", [honest.url, node.url])
            Way(site, "A provider lied", 1, A=0, B=36).follow()
            assert bare(in_sql(site)) == expected(chain)


def test_mongodb_is_lost_and_redis_is_flushed(
    workshop: Workshop, tmp_path: Path, chain: SimulatedChain, mongo: Mongo, redis_url: str
) -> None:
    with synced(workshop, tmp_path / "site", chain) as (site, _):
        site.publish(mongo=(mongo.url, mongo.database), redis_url=redis_url)
        assert site.run("sync").code == 0
        client: MongoClient[dict[str, object]]
        with MongoClient(mongo.url) as client:
            client.drop_database(mongo.database)
        said = Way(site, "MongoDB is lost", NAME="referrals").follow()
        found = in_sql(site)
        assert in_mongo(mongo.url, mongo.database) == found
        assert said[2].out.count(f"{len(found):,}") == 2, "the fold's totals and MongoDB's"
        with MongoClient(mongo.url) as client:
            assert len(client[mongo.database]["users"].index_information()) > 1
        with redis.Redis.from_url(redis_url) as hashes:
            hashes.flushall()
        Way(site, "Redis is flushed").follow()
        assert in_redis(redis_url) == as_hashes(found)
        with MongoClient(mongo.url) as client:
            users = client[mongo.database]["users"]
            users.update_one({}, {"$set": {"level1Count": 99, "nickname": "theirs"}})
        way = Way(site, "A sink was changed behind our back")
        said = way.follow({"chainfold verify sinks": [3, 0]})
        assert "level1Count" in said[0].out
        with MongoClient(mongo.url) as client:
            users = client[mongo.database]["users"]
            assert users.count_documents({"nickname": "theirs"}) == 1
            users.update_one({"nickname": "theirs"}, {"$unset": {"nickname": ""}})
        assert in_mongo(mongo.url, mongo.database) == found


def test_a_sink_refuses_a_document(
    workshop: Workshop, tmp_path: Path, chain: SimulatedChain, mongo: Mongo, redis_url: str
) -> None:
    """One that MongoDB refuses and one that Redis refuses: all others arrive, both are named, and both arrive
    when the obstacle is gone."""
    client: MongoClient[dict[str, object]]
    with (
        synced(workshop, tmp_path / "site", chain) as (site, _),
        MongoClient(mongo.url) as client,
        redis.Redis.from_url(redis_url) as hashes,
    ):
        found = in_sql(site)
        odd, taken = sorted(found)[3:5]
        client[mongo.database].create_collection("users", validator={"address": {"$ne": odd}})
        hashes.set(f"user:{taken}", "somebody's own")
        site.publish(mongo=(mongo.url, mongo.database), redis_url=redis_url)
        done = site.run("sync")
        assert (done.code, "and 2 set aside" in done.out) == (0, True)
        assert in_mongo(mongo.url, mongo.database) == {key: found[key] for key in found if key != odd}
        hashes.delete(f"user:{taken}")
        assert in_redis(redis_url) == {key: item for key, item in as_hashes(found).items() if key != taken}
        hashes.set(f"user:{taken}", "somebody's own")
        named = json.loads(site.run("failures", "list", "--json").out)
        assert [(item["sink"], item["key"], item["state"]) for item in named] == [
            ("mongo", odd, "set aside"),
            ("redis", taken, "set aside"),
        ]
        assert "validation" in named[0]["reason"]
        assert "WRONGTYPE" in named[1]["reason"]
        assert site.run("status", "--check").code == 1
        told = site.run("verify", "sinks")
        assert (told.code, told.out.count("is set aside since")) == (3, 2)
        client[mongo.database].command({"collMod": "users", "validator": {}})
        said = Way(site, "A sink refuses a document").follow()
        assert odd in said[0].out
        assert taken in said[0].out
        assert in_mongo(mongo.url, mongo.database) == found
        hashes.delete(f"user:{taken}")
        assert site.run("sync").code == 0
        assert in_redis(redis_url) == as_hashes(found)
        assert json.loads(site.run("failures", "list", "--json").out) == []
        assert site.run("verify", "sinks").code == 0
        assert site.run("status", "--check").code == 0


def test_the_disk_is_full(workshop: Workshop, tmp_path: Path, chain: SimulatedChain) -> None:
    with synced(workshop, tmp_path / "site", chain) as (site, _):
        grow(chain, Random(6), 60, users=4_000, most=40)
        size = (site.folder / "store.db").stat().st_size
        done = site.run("sync", "--tries", "1", largest_file=size + 20_000)
        assert (done.code, "store.db is not available" in done.complaint) == (1, True)
        Way(site, "The disk is full").follow()
        assert bare(in_sql(site)) == expected(chain)


def test_the_schema_of_the_store_changes(workshop: Workshop, tmp_path: Path, chain: SimulatedChain) -> None:
    """An old store is one that only the first migrations were run on."""
    with SimulatedNode(chain) as node:
        site = Site(workshop, tmp_path / "site", rpc=node.url)
        store, config = Store(f"sqlite:///{site.folder}/store.db"), _config()
        with store.write() as tx:
            config.attributes["connection"] = tx
            command.upgrade(config, "e0001")
            command.upgrade(config, "p0001")
            tx.exec_driver_sql("INSERT INTO store VALUES ('00', 0)")
        store.close()
        assert "Run `chainfold migrate`" in site.run("sync").complaint
        old = "chainfold backup DIR"  # that of the old version; this one's refuses the old schema
        Way(site, "The schema changes", DIR=tmp_path / "kept").follow({old: [1]})
        assert bare(in_sql(site)) == expected(chain)
        assert site.run("backup", str(tmp_path / "kept")).code == 0


def test_the_schema_of_the_documents_changes(
    workshop: Workshop, tmp_path: Path, chain: SimulatedChain
) -> None:
    with synced(workshop, tmp_path / "site", chain) as (site, _):
        found = in_sql(site)
        site.set("projections.referrals.poison", "quarantine")  # a part of what documents depend on
        assert standing(site) == ("outdated", 1)
        Way(site, "The schema changes", 1, NAME="referrals").follow()
        assert standing(site) == ("live", 2)
        assert in_sql(site) == found


def test_moving_to_another_machine_and_a_store_that_is_lost(
    workshop: Workshop, tmp_path: Path, chain: SimulatedChain, mongo: Mongo, postgres_url: str
) -> None:
    kept = tmp_path / "kept"
    with synced(workshop, tmp_path / "old", chain) as (old, node):
        old.publish(mongo=(mongo.url, mongo.database))
        assert old.run("sync").code == 0
        Way(old, "You move to another machine", DIR=kept).follow()
        new = Site(workshop, tmp_path / "new", rpc=node.url, store={"url": postgres_url})
        new.publish(mongo=(mongo.url, mongo.database))
        grow(chain, Random(13), 5, users=60)
        Way(new, "You move to another machine", 1, DIR=kept).follow()
        assert bare(in_sql(new)) == expected(chain)
        assert in_mongo(mongo.url, mongo.database) == in_sql(new)
        for lost in old.folder.glob("store.db*"):
            lost.unlink()
        grow(chain, Random(14), 5, users=60)
        Way(old, "The store is lost", DIR=kept).follow()
        assert bare(in_sql(old)) == expected(chain)
        assert in_mongo(mongo.url, mongo.database) == in_sql(old)


def test_a_projection_is_halted(workshop: Workshop, tmp_path: Path, chain: SimulatedChain) -> None:
    with synced(workshop, tmp_path / "site", chain) as (site, _):
        chain.mine(logs=[Emission(CONTRACT, (TOPIC, bytes(32), bytes(32)), b"\x01")])
        assert site.run("sync").code == 1
        block = chain.head().number
        said = Way(site, "A projection is halted", NAME="referrals", N=block, I=0).follow()
        assert f"{block:,}" in said[0].out
        assert standing(site) == ("live", 1)


def standing(site: Site) -> tuple[str, int]:
    """The state of the projection, and the generation that is served."""
    found = site.run("status", "--json").json()["projections"]["referrals"]
    return found["state"], found["generation"]


def test_every_path_of_the_page_is_tried() -> None:
    """By the tests above: each names its section and block."""
    text = Path(__file__).read_text()
    named = re.findall(r'Way\(\s*\w+,\s*"([^"]+)"(?:,\s*(\d+))?', text)
    assert {(heading, int(block or 0)) for heading, block in named} == {
        (heading, block) for heading, blocks in PATHS.items() for block in range(len(blocks))
    }
