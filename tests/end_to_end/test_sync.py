"""Ranges by hand, a sink taken over, and a projection that another code built, by the command's own parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.collection import Collection

from eventstore.errors import SourceUnavailable
from eventstore.sources.simulated.chain import Emission, SimulatedChain
from eventstore.sources.simulated.node import SimulatedNode
from projections.errors import ForeignMarker
from projections.service.application.sync import synchronise
from projections.service.config.loader import load
from projections.service.demo.chain import FLAGSHIP
from projections.service.runtime.fetch_worker import Span
from projections.service.runtime.summary import Summary
from projections.service.runtime.wiring import planned
from projections.service.status.overview import whole_status
from projections.service.status.records import Status
from tests.folding import address
from tests.servers.mongo import Mongo

CONTRACT = bytes([0x5E]) * 20

CONFIG = """
[store]
url = "sqlite:///{store}.db"
[mongo]
url = "{mongo}"
database = "{database}"
[chains.local]
rpc = ["{rpc}"]
chain_id = 31337
[contracts.referral]
chain = "local"
address = "0x{contract}"
events = ["ReferralRegistered(address indexed user, address indexed referrer, uint256 timestamp)"]
[projections.referrals]
projector = "referrals"
contract = "referral"
poison = "{poison}"
mongo = {{ collection = "users" }}
"""


def emission(user: int, referrer: int) -> Emission:
    topics = (FLAGSHIP.topic0, user.to_bytes(32, "big"), referrer.to_bytes(32, "big"))
    return Emission(CONTRACT, topics, (7).to_bytes(32, "big"))


@pytest.fixture
def chain() -> SimulatedChain:
    """Thirty final blocks, one registration in each, and ten more above them."""
    made = SimulatedChain()
    for number in range(1, 41):
        made.mine(logs=[emission(number + 1, number)])
    made.finalize(30)
    return made


class Site:
    """A configuration in a folder, over a node that serves the chain."""

    def __init__(self, folder: Path, mongo: Mongo, rpc: str) -> None:
        self._folder = folder
        self._mongo = mongo
        self._rpc = rpc

    def configured(self, store: str, poison: str) -> Path:
        path = self._folder / f"{store}.toml"
        path.write_text(
            CONFIG.format(
                store=store,
                mongo=self._mongo.url,
                database=self._mongo.database,
                rpc=self._rpc,
                contract=CONTRACT.hex(),
                poison=poison,
            )
        )
        return path

    def sync(
        self,
        *,
        store: str = "one",
        poison: str = "halt",
        first: int | None = None,
        last: int | None = None,
        take_over: bool = False,
        tries: int = 5,
    ) -> Summary:
        with planned(load(self.configured(store, poison))) as plan:
            return synchronise(plan, span=Span(first, last), take_over=take_over, tries=tries)

    def status(self, *, store: str = "one", poison: str = "halt") -> Status:
        with planned(load(self.configured(store, poison))) as plan:
            return whole_status(plan)

    def published(self) -> int:
        client: MongoClient[dict[str, object]]
        with MongoClient(self._mongo.url) as client:
            return client[self._mongo.database]["users"].count_documents({"chainfold.removed": {"$ne": True}})


@pytest.fixture
def node(chain: SimulatedChain) -> SimulatedNode:
    return SimulatedNode(chain)


def test_a_range_is_fetched_and_no_more(tmp_path: Path, mongo: Mongo, node: SimulatedNode) -> None:
    with node:
        site = Site(tmp_path, mongo, node.url)
        assert site.sync(first=5, last=10).appended == 6
        assert site.sync(first=5, last=12).appended == 2


def test_a_half_built_history_is_not_published(tmp_path: Path, mongo: Mongo, node: SimulatedNode) -> None:
    with node:
        site = Site(tmp_path, mongo, node.url)
        site.sync(last=10)
        assert site.published() == 0
        assert site.status().projections["referrals"].state == "building"
        site.sync()
        assert site.published() == 41


def test_a_range_filled_late_is_folded_where_it_belongs(
    tmp_path: Path, mongo: Mongo, node: SimulatedNode, chain: SimulatedChain
) -> None:
    with node:
        site = Site(tmp_path, mongo, node.url)
        site.sync(first=20, last=25)
        site.sync()
        assert site.status().projections["referrals"].documents == 41


def test_another_store_is_refused_by_the_sink_until_it_takes_over(
    tmp_path: Path, mongo: Mongo, node: SimulatedNode, chain: SimulatedChain
) -> None:
    with node:
        site = Site(tmp_path, mongo, node.url)
        site.sync()
        chain.reorg(3, logs=[[], [], [], []])
        with pytest.raises(ForeignMarker, match="another event store"):
            site.sync(store="two")
        assert site.published() == 41
        assert site.status(store="two").sinks["referrals.mongo"].state == "foreign"
        site.sync(store="two", take_over=True)
        assert site.published() == 38
        with pytest.raises(ForeignMarker):
            site.sync()


def scripted(users: Collection[dict[str, Any]], user: int, referrer: int) -> None:
    """What the cron script did for one event: upserts, and counts that add up twice when it runs twice."""
    users.update_one(
        {"address": address(user)},
        {"$set": {"directReferrer": address(referrer), "referralTimestamp": 7}},
        upsert=True,
    )
    for field in ("level1Count", "level2Count"):
        users.update_one({"address": address(referrer)}, {"$inc": {field: 1}})


def test_a_collection_that_the_cron_script_filled_ends_right_with_nothing_of_the_application_lost(
    tmp_path: Path, mongo: Mongo, node: SimulatedNode, chain: SimulatedChain
) -> None:
    """Also after a reorg that removes users: their foreign fields, and their documents, stay."""
    client: MongoClient[dict[str, Any]]
    with node, MongoClient(mongo.url) as client:
        users = client[mongo.database]["users"]
        for number in range(1, 41):
            for _ in range(2):
                scripted(users, number + 1, number)
        users.update_many({}, {"$set": {"email": "somebody@example.org"}})
        users.insert_one({"address": address(999), "email": "nobody@example.org", "level1Count": 5})
        before = {document["address"]: document["_id"] for document in users.find()}
        site = Site(tmp_path, mongo, node.url)
        site.sync()
        chain.reorg(5, logs=[[], [], [], [], [], []])
        site.sync()
        found = {document["address"]: document for document in users.find()}
        assert {key: found[key]["_id"] for key in before} == before
        assert all(found[key]["email"].endswith("@example.org") for key in before)
        assert found[address(999)] == {
            "_id": before[address(999)],
            "address": address(999),
            "email": "nobody@example.org",
            "level1Count": 5,
        }
        removed = found[address(41)]
        assert removed["chainfold"]["removed"] is True
        assert "level1Count" not in removed
        shown = {
            key: (document["directReferrer"], document["level1Count"], document["level2Count"])
            for key, document in found.items()
            if "level1Count" in document and key != address(999)
        }
        assert shown == {
            address(n): (
                None if n == 1 else address(n - 1),
                int(n < 36),
                int(n < 35),
            )
            for n in range(1, 37)
        }


def test_a_projection_that_other_settings_built_stands_still_and_says_so(
    tmp_path: Path, mongo: Mongo, node: SimulatedNode, chain: SimulatedChain
) -> None:
    with node:
        site = Site(tmp_path, mongo, node.url)
        site.sync()
        chain.mine(logs=[emission(90, 1)])
        summary = site.sync(poison="quarantine")
        assert any("chainfold rebuild referrals" in note for note in summary.notes)
        assert site.status(poison="quarantine").projections["referrals"].state == "outdated"
        assert site.published() == 41


def test_status_says_how_far_everything_is(tmp_path: Path, mongo: Mongo, node: SimulatedNode) -> None:
    with node:
        site = Site(tmp_path, mongo, node.url)
        site.sync()
        found = site.status()
    chain, projection = found.chains["local"], found.projections["referrals"]
    assert (chain.head, chain.finalized, chain.covered_to, chain.logs) == (40, 30, 40, 40)
    assert (projection.state, projection.block, projection.documents) == ("live", 40, 41)
    assert projection.lag_blocks == 0
    assert (found.sinks["referrals.mongo"].state, found.healthy) == ("current", True)


def test_status_shows_a_node_that_is_down_until_it_answers_again(
    tmp_path: Path, mongo: Mongo, node: SimulatedNode
) -> None:
    with node:
        site = Site(tmp_path, mongo, node.url)
        site.sync()
        node.faults.down = True
        with pytest.raises(SourceUnavailable):
            site.sync(tries=1)
        assert "503" in str(site.status().chains["local"].error)
        assert not site.status().healthy
        node.faults.down = False
        site.sync()
        assert site.status().healthy
