"""The whole river on a real node: anvil, the event store, MongoDB and Redis, held against the definition."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis
from pymongo import MongoClient

from eventstore.journal.history import Question, ask
from eventstore.journal.journal import Journal
from eventstore.journal.tail import Tail
from projections.fold.generation import Generations
from projections.service.application.sync import synchronise
from projections.service.application.verify import verify
from projections.service.config.loader import load
from projections.service.demo.contract import DevelopmentNode, ReferralContract
from projections.service.records.calls import calls_of
from projections.service.runtime.summary import Summary
from projections.service.runtime.wiring import planned
from tests.oracle import ZERO, folded
from tests.servers.anvil import Anvil
from tests.servers.mongo import Mongo
from tests.stores import ENGINES

CHAIN = 31_337

CONFIG = """
[store]
url = "{store}"
[mongo]
url = "{mongo}"
database = "{database}"
[redis]
url = "{redis}"
[chains.local]
rpc = ["{rpc}"]
chain_id = 31337
[contracts.v1]
chain = "local"
address = "{address}"
events = [
  "ReferralRegistered(address indexed user, address indexed referrer, uint256 timestamp)",
  "Joined(address indexed inviter, address indexed referee)",
  "Left(address indexed user)",
]
[projections.referrals]
projector = "referrals"
from = [
  {{ contract = "v1" }},
  {{ contract = "v1", roles = {{ user = "referee", referrer = "inviter" }} }},
  {{ contract = "v1", roles = {{ user = "user" }} }},
]
mongo = {{ collection = "users" }}
redis = {{ key = "user:{{address}}", ttl = "1h" }}
"""


class Site:
    """A configured chainfold, and what its readers see."""

    def __init__(
        self, folder: Path, *, store: str, mongo: Mongo, redis_url: str, rpc: str, address: str
    ) -> None:
        self.path = folder / "chainfold.toml"
        self.path.write_text(
            CONFIG.format(
                store=store,
                mongo=mongo.url,
                database=mongo.database,
                redis=redis_url,
                rpc=rpc,
                address=address,
            )
        )
        self.mongo = mongo
        self.redis_url = redis_url

    def sync(self) -> Summary:
        with planned(load(self.path)) as plan:
            return synchronise(plan)

    def in_mongo(self) -> dict[str, dict[str, Any]]:
        client: MongoClient[dict[str, Any]]
        with MongoClient(self.mongo.url, tz_aware=True) as client:
            found = {}
            for document in client[self.mongo.database]["users"].find({"chainfold.removed": {"$ne": True}}):
                mark = document.pop("chainfold")
                assert mark["revision"] > 0
                assert document.pop("_id") == document["address"]
                found[document["address"]] = document
            return found

    def in_redis(self) -> dict[str, dict[str, str]]:
        with redis.Redis.from_url(self.redis_url, decode_responses=True) as client:
            found = {}
            for key in client.scan_iter("user:*"):
                fields = client.hgetall(key)
                assert client.ttl(key) > 0
                if "address" in fields:
                    assert int(fields.pop("revision")) > 0
                    fields.pop("block")
                    found[key.removeprefix("user:")] = fields
            return found

    def orphaned(self) -> int:
        with planned(load(self.path)) as plan, plan.store.read() as tx:
            return len(list(ask(tx, CHAIN, Question(orphaned=True))))

    def position(self) -> tuple[int, int, bytes]:
        with planned(load(self.path)) as plan, plan.store.read() as tx:
            served = Generations(tx, "referrals").served()
            assert served is not None
            return Journal(tx, CHAIN).head(), served.revision, served.digest


class Network:
    """A node with the contract on it, and a random life of its users."""

    def __init__(self, url: str, *, seed: int) -> None:
        self.node = DevelopmentNode(url)
        self.contract = ReferralContract.deploy(self.node)
        self._random = random.Random(seed)
        self._users = [f"0x{number:040x}" for number in range(1, 41)]

    def pairs(self, count: int) -> list[tuple[str, str]]:
        """Registrations, with re-registrations, late referrers, cycles, oneself and the zero address."""
        choose = self._random.choice
        return [(choose([*self._users, ZERO]), choose([*self._users, ZERO])) for _ in range(count)]

    def live(self, blocks: int) -> None:
        """Mines blocks with random registrations, joins, leaves and noise in them."""
        for _ in range(blocks):
            for _ in range(self._random.randint(0, 3)):
                kind = self._random.random()
                user, referrer = self.pairs(1)[0]
                if kind < 0.6:
                    self.contract.register_many(self.pairs(self._random.randint(1, 4)))
                elif kind < 0.75:
                    self.contract.join(referrer, user)
                elif kind < 0.85:
                    self.contract.leave(user)
                else:
                    self.contract.noise(b"what" * 9)
            self.node.mine()

    def reorg(self, depth: int) -> None:
        """Replaces the last blocks by as many with other registrations in them."""
        new = [
            [self.contract.call_register_many(self.pairs(2)), offset]
            for offset in range(depth)
            if self._random.random() < 0.7
        ]
        self.node.rpc("anvil_reorg", depth, new)

    def definition(self) -> dict[str, dict[str, Any]]:
        """The documents by the plain definition, from the node's own logs."""
        logs = self.node.rpc(
            "eth_getLogs", {"fromBlock": "0x0", "toBlock": "latest", "address": self.contract.address}
        )
        times: dict[str, int] = {}
        events: list[tuple[str, str | None, int, int]] = []
        for log in logs:
            number = log["blockNumber"]
            if number not in times:
                times[number] = int(self.node.rpc("eth_getBlockByNumber", number, False)["timestamp"], 16)
            at = times[number]
            words = ["0x" + topic[26:] for topic in log["topics"][1:]]
            match len(words), len(log["data"]):
                case 2, 66:
                    events.append((words[0], words[1], int(log["data"], 16), at))
                case 2, _:
                    events.append((words[1], words[0], at, at))
                case 1, _:
                    events.append((words[0], None, at, at))
        return folded(events)


@pytest.fixture(params=ENGINES)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def network(anvil: Anvil) -> Iterator[Network]:
    made = Network(anvil.url, seed=7)
    yield made
    made.node.close()


def assert_served(site: Site, wanted: dict[str, dict[str, Any]]) -> None:
    """MongoDB and Redis show exactly the documents of the definition, in their own types."""
    assert site.in_mongo() == {
        key: document | {"updatedAt": datetime.fromtimestamp(document["updatedAt"], UTC)}
        for key, document in wanted.items()
    }
    fields = ("address", "level1Count", "level2Count", "directReferrer", "indirectReferrer")
    assert site.in_redis() == {
        key: {field: "" if document[field] is None else str(document[field]) for field in fields}
        for key, document in wanted.items()
    }


def test_documents_are_the_definition_before_and_after_reorgs_of_every_depth(
    tmp_path: Path, store_url: str, mongo: Mongo, redis_url: str, network: Network
) -> None:
    """Depths 1 to 12 on a chain that is final after four blocks: undone above finality, rebuilt below."""
    site = Site(
        tmp_path,
        store=store_url,
        mongo=mongo,
        redis_url=redis_url,
        rpc=network.node.url,
        address=network.contract.address,
    )
    network.live(14)
    site.sync()
    assert_served(site, network.definition())
    for depth in range(1, 13):
        network.live(2)
        site.sync()
        seen = site.orphaned()
        network.reorg(depth)
        summary = site.sync()
        assert_served(site, network.definition())
        assert site.orphaned() == seen + summary.orphaned
        assert len(summary.reorgs) == 1
    assert site.orphaned() > 0
    before = site.position()
    again = site.sync()
    assert (again.appended, again.orphaned, again.sent, again.written) == (0, 0, 0, 0)
    assert site.position() == before


def test_the_block_that_created_the_contract_is_found(
    tmp_path: Path, mongo: Mongo, redis_url: str, anvil: Anvil
) -> None:
    before = DevelopmentNode(anvil.url)
    for _ in range(20):
        before.mine()
    network = Network(anvil.url, seed=8)
    network.live(5)
    site = Site(
        tmp_path,
        store=f"sqlite:///{tmp_path / 'store.db'}",
        mongo=mongo,
        redis_url=redis_url,
        rpc=network.node.url,
        address=network.contract.address,
    )
    site.path.write_text(
        site.path.read_text().replace("[contracts.v1]", '[contracts.v1]\nstart_block = "auto"')
    )
    site.sync()
    assert_served(site, network.definition())
    with planned(load(site.path)) as plan, plan.store.read() as tx:
        calls = calls_of(tx, CHAIN)
    assert 2 <= calls["eth_getCode"] <= 8
    network.node.close()
    before.close()


def test_the_history_of_a_real_node_is_proved_also_after_a_reorg_below_finality(
    tmp_path: Path, store_url: str, mongo: Mongo, redis_url: str, network: Network
) -> None:
    """Header hashes, blooms and receipts roots that we did not make ourselves."""
    site = Site(
        tmp_path,
        store=store_url,
        mongo=mongo,
        redis_url=redis_url,
        rpc=network.node.url,
        address=network.contract.address,
    )
    for _ in range(2):
        network.live(14)
        site.sync()
        with planned(load(site.path)) as plan:
            [check] = verify(plan, ["events"])
            with plan.store.read() as tx:
                final, filled = Tail(tx, CHAIN).finalized(), len(list(ask(tx, CHAIN, Question())))
        assert (check.found, check.error, check.note, check.checked) == (0, "", "", final + 1)
        assert filled > 0
        network.reorg(10)
