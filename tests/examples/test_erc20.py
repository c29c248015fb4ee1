"""Token holders, an example outside the packages: by the kit, the plain sums, and the command's parts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from eventstore.sources.simulated.chain import Emission, SimulatedChain
from eventstore.sources.simulated.node import SimulatedNode
from examples.erc20.balances import NOBODY, Balances, Holder
from projections.decoding.event import parse
from projections.service.application.sync import synchronise
from projections.service.config.loader import load
from projections.service.config.tables import StoreSettings
from projections.service.runtime.wiring import planned
from projections.service.status.projections import served_documents
from projections.sinks.mongo import MongoSettings
from projections.sinks.mongo.sink import MongoSink
from projections.sinks.redis import RedisSettings
from projections.testing.kit import Kit, address
from projections.values.integers import from_sortable
from tests.servers.mongo import Mongo

A, B, C = address(1), address(2), address(3)
FOLDER = Path("examples/erc20").resolve()
WHOLE = 2**256 - 1


@pytest.fixture
def kit() -> Iterator[Kit]:
    with Kit(Balances) as made:
        yield made


def send(kit: Kit, sender: str, receiver: str, value: int) -> None:
    kit.emit("Transfer", from_=sender, to=receiver, value=value)


def test_a_transfer_leaves_one_balance_and_enters_the_other(kit: Kit) -> None:
    send(kit, NOBODY, A, 100)
    first = kit.mine().timestamp
    send(kit, A, B, 30)
    second = kit.mine().timestamp
    assert first < second
    assert kit.documents() == {
        A: Holder(A, 70, transfersIn=1, transfersOut=1, firstBlock=1, updatedAt=second),
        B: Holder(B, 30, transfersIn=1, transfersOut=0, firstBlock=2, updatedAt=second),
    }


def test_the_zero_address_mints_and_burns_and_is_no_holder(kit: Kit) -> None:
    send(kit, NOBODY, A, 5)
    send(kit, A, NOBODY, 5)
    send(kit, NOBODY, NOBODY, 7)
    at = kit.mine().timestamp
    assert kit.documents() == {A: Holder(A, 0, 1, 1, firstBlock=1, updatedAt=at)}


def test_a_transfer_to_oneself_is_counted_and_moves_nothing(kit: Kit) -> None:
    send(kit, NOBODY, A, 5)
    send(kit, A, A, 5)
    holder = kit.documents()[A]
    assert (holder.balance, holder.transfersIn, holder.transfersOut) == (5, 2, 1)


def test_a_balance_is_as_wide_as_a_uint256(kit: Kit) -> None:
    send(kit, NOBODY, A, WHOLE)
    assert kit.documents()[A].balance == WHOLE


def test_whoever_sends_more_than_it_holds_halts_the_projection(kit: Kit) -> None:
    send(kit, NOBODY, A, 5)
    kit.mine()
    send(kit, A, B, 6)
    with pytest.raises(AssertionError, match=r"halted: block 2, log 0.* sends 6 and holds 5\."):
        kit.documents()


def test_a_reorg_takes_a_transfer_back(kit: Kit) -> None:
    send(kit, NOBODY, A, 5)
    kit.mine()
    send(kit, A, B, 5)
    kit.mine()
    assert kit.documents()[B].balance == 5
    kit.reorg()
    send(kit, A, C, 2)
    assert {key: holder.balance for key, holder in kit.documents().items()} == {A: 3, C: 2}


@pytest.mark.long
def test_delivered_twice_rebuilt_reorganised_and_crashed_at_every_boundary_it_is_the_same(kit: Kit) -> None:
    send(kit, NOBODY, A, 100)
    kit.mine()
    send(kit, A, B, 30)
    send(kit, A, A, 1)
    kit.mine(2)
    send(kit, B, C, 30)
    kit.mine()
    send(kit, C, NOBODY, 10)
    send(kit, C, A, 20)
    kit.mine()
    kit.check()


Move = tuple[int, int, int]


def possible(moves: list[Move]) -> tuple[list[Move], dict[int, int]]:
    """The moves, each cut to what its sender holds, and the plain balances after them; 0 mints and burns."""
    held: dict[int, int] = {}
    cut = []
    for sender, receiver, wanted in moves:
        value = wanted if sender == 0 else min(wanted, held.get(sender, 0))
        cut.append((sender, receiver, value))
        for who, change in ((sender, -value), (receiver, value)):
            if who != 0:
                held[who] = held.get(who, 0) + change
    return cut, held


MOVE = st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 2**200))


@given(moves=st.lists(MOVE, min_size=1, max_size=20), data=st.data())
@settings(max_examples=30, deadline=None)
def test_balances_are_the_plain_sums_and_add_up_to_minted_less_burned(
    moves: list[Move], data: st.DataObject
) -> None:
    """A block for each transfer; the last few are taken off the chain and mined again in one."""
    cut, held = possible(moves)
    depth = data.draw(st.integers(0, len(cut)), label="depth")
    with Kit(Balances) as kit:
        for sender, receiver, value in cut:
            send(kit, address(sender), address(receiver), value)
            kit.mine()
        if depth:
            kit.reorg(depth)
        for sender, receiver, value in cut[len(cut) - depth :]:
            send(kit, address(sender), address(receiver), value)
        found = {key: holder.balance for key, holder in kit.documents().items()}
    assert found == {address(who): balance for who, balance in held.items()}
    minted = sum(value for sender, _, value in cut if sender == 0)
    burned = sum(value for _, receiver, value in cut if receiver == 0)
    assert sum(found.values()) == minted - burned


def test_configured_by_its_import_path_a_sync_publishes_the_holders(
    tmp_path: Path, mongo: Mongo, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The configuration as it stands in the example, also across a reorg; only the servers are others."""
    monkeypatch.chdir(FOLDER)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "balances", raising=False)
    random = Random(20)
    chain = SimulatedChain(chain_id=1)
    monkeypatch.setenv("RPC_URL", "http://127.0.0.1:1")
    token = load().contracts["token"]
    topic = parse("Transfer(address indexed from, address indexed to, uint256 value)").topic0

    def logs(count: int) -> list[Emission]:
        return [
            Emission(
                token.addresses[0],
                (topic, bytes(32), random.randint(1, 9).to_bytes(32, "big")),
                random.randint(1, 2**100).to_bytes(32, "big"),
            )
            for _ in range(count)
        ]

    for _ in range(12):
        chain.mine(logs=logs(3))
    with SimulatedNode(chain) as node:
        monkeypatch.setenv("RPC_URL", node.url)
        config = load()
        contract = replace(token, start_block=0)
        config = replace(
            config,
            folder=tmp_path,
            store=StoreSettings(url=f"sqlite:///{tmp_path / 'store.db'}"),
            servers={
                "mongo": MongoSettings(url=mongo.url, database=mongo.database),
                "redis": RedisSettings(url=redis_url),
            },
            contracts={"token": contract},
        )
        for _ in range(2):
            with planned(config) as plan:
                assert type(plan.projections["holders"].projector).__module__ == "balances"
                synchronise(plan)
                stored = {
                    item["address"]: item["balance"] for item in served_documents(plan.store, "holders")
                }
                [sink] = plan.sinks("holders", only="mongo")
                assert isinstance(sink, MongoSink)
                with closing(sink):
                    published = {
                        item["address"]: str(from_sortable(item["balance"]))
                        for item in sink.collection().find({"chainfold.removed": {"$ne": True}})
                    }
            plain: dict[str, int] = {}
            for log in chain.logs_in(0, chain.head().number):
                holder = "0x" + log.topics[2][12:].hex()
                plain[holder] = plain.get(holder, 0) + int.from_bytes(log.data, "big")
            assert stored == published == {key: str(balance) for key, balance in plain.items()}
            chain.reorg(4, logs=[logs(2) for _ in range(5)])
