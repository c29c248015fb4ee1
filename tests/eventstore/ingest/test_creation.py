"""The block that created a contract is found by asking for its code; what is below it is covered."""

from __future__ import annotations

import pytest

from eventstore.errors import SourceError
from eventstore.ingest.creation import created
from eventstore.ingest.ingestor import Ingestor
from eventstore.journal.coverage import Coverage
from eventstore.records import Filter, Watch
from eventstore.sources.rpc.source import RpcSource
from eventstore.sources.simulated.chain import Emission, SimulatedChain
from eventstore.sources.simulated.node import SimulatedNode
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from tests.blocks import ALICE, TOPIC

CHAIN = 31_337


@pytest.mark.parametrize("first", [0, 1, 2, 499, 500, 501, 999, 1000])
def test_the_first_block_with_code_is_found_in_few_questions(first: int) -> None:
    asked: list[int] = []

    def has_code(_: bytes, block: int) -> bool:
        asked.append(block)
        return block >= first

    assert created(has_code, ALICE, head=1000) == first
    assert len(asked) <= 12


def test_an_address_without_a_contract_is_refused() -> None:
    with pytest.raises(SourceError, match=f"There is no contract at 0x{ALICE.hex()} as of block 9"):
        created(lambda *_: False, ALICE, head=9)


@pytest.fixture
def chain() -> SimulatedChain:
    made = SimulatedChain()
    made.mine(300)
    made.mine(logs=[Emission(ALICE, (TOPIC,))])
    made.mine(20)
    made.finalize(310)
    return made


def ingestor(store: Store, source: RpcSource) -> Ingestor:
    lease = Lease(store, "ingest").acquire()
    made = Ingestor(store, source, lease, chain_id=CHAIN, watches=[Watch(Filter(ALICE))])
    made.open()
    return made


def test_what_is_below_the_creation_is_covered_without_being_fetched(
    store: Store, chain: SimulatedChain
) -> None:
    with SimulatedNode(chain) as node:
        source = RpcSource(node.url)
        stage = ingestor(store, source)
        assert stage.begin(Filter(ALICE), source.has_code) == 301
        with store.read() as tx:
            assert Coverage(tx, CHAIN).through(Watch(Filter(ALICE))) == 300
        assert stage.begin(Filter(ALICE), source.has_code) is None
        fetched = stage.step().fetched
        assert fetched is not None
        assert fetched.first == 301
        stage.close()
        source.close()


def test_a_node_without_old_state_is_told_apart(sqlite_store: Store, chain: SimulatedChain) -> None:
    with SimulatedNode(chain) as node:
        source = RpcSource(node.url)
        stage = ingestor(sqlite_store, source)
        node.faults.pruned_below = 250
        with pytest.raises(SourceError, match="needs a node that keeps old state") as caught:
            stage.begin(Filter(ALICE), source.has_code)
        assert not caught.value.retry
        stage.close()
        source.close()
