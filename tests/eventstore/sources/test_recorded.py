"""The official conformance chain, served as it is: real hashes, every field, logs without topics too."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest

from eventstore.ingest.ingestor import Ingestor
from eventstore.journal import history
from eventstore.proof.proven import proven
from eventstore.proof.prover import Prover
from eventstore.records import BlockRange, Filter, Log, Query, Watch
from eventstore.sources.checks import check
from eventstore.sources.rpc.source import RpcSource
from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.node import Faults, SimulatedNode
from eventstore.sources.simulated.recorded import recorded
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from tests.eventstore.sources.asking import ask
from tests.places import DATA

CHAIN = 0xC72DD9D5E883E
FILE = DATA / "execution-apis-chain.jsonl.gz"
LINES = gzip.decompress(FILE.read_bytes()).splitlines()
RECORDED: list[dict[str, Any]] = [json.loads(line) for line in LINES]
HEAD = len(RECORDED) - 1
LOGS = [log for line in RECORDED for log in line["logs"]]
ADDRESSES = tuple(sorted({bytes.fromhex(log["address"][2:]) for log in LOGS}))


@pytest.fixture
def chain() -> SimulatedChain:
    return recorded(LINES, chain_id=CHAIN)


@pytest.fixture
def node(chain: SimulatedChain) -> Iterator[SimulatedNode]:
    with SimulatedNode(chain) as node:
        yield node


def shown(log: Log) -> dict[str, Any]:
    """As the file has it."""
    return {
        "removed": False,
        "logIndex": hex(log.log_index),
        "transactionIndex": hex(log.tx_index),
        "transactionHash": "0x" + log.tx_hash.hex(),
        "blockHash": "0x" + log.block_hash.hex(),
        "blockNumber": hex(log.block_number),
        "address": "0x" + log.address.hex(),
        "topics": ["0x" + topic.hex() for topic in log.topics],
        "data": "0x" + log.data.hex(),
    }


def ingested(store: Store, node: SimulatedNode) -> list[Log]:
    """What the journal holds, once all addresses of the file were watched to the end."""
    source = RpcSource(node.url)
    lease = Lease(store, f"ingest:{CHAIN}", owner="test||1|a").acquire()
    watches = [Watch(Filter(address)) for address in ADDRESSES]
    ingestor = Ingestor(store, source, lease, chain_id=CHAIN, watches=watches)
    ingestor.open()
    while not ingestor.step().idle:
        pass
    ingestor.close()
    source.close()
    with store.read() as tx:
        return [item.log for item in history.ask(tx, CHAIN, history.Question())]


def test_the_file_holds_383_logs_some_of_them_anonymous() -> None:
    assert len(LOGS) == 383
    assert sum(not log["topics"] for log in LOGS) == 57


@pytest.mark.parametrize("final", [None, 0, 30, HEAD])
def test_the_whole_chain_is_ingested_however_much_of_it_is_final(
    store: Store, node: SimulatedNode, chain: SimulatedChain, final: int | None
) -> None:
    """By blocks, by ranges, and by both."""
    if final is not None:
        chain.finalize(final)
    assert [shown(log) for log in ingested(store, node)] == LOGS


@pytest.mark.parametrize(
    "faults",
    [
        Faults(empty_blocks=True),
        Faults(block_refused=True),
        Faults(range_cap=3),
        Faults(result_cap=20, suggestion="equal"),
        Faults(batch_refused=True),
    ],
)
def test_the_whole_chain_is_ingested_from_a_node_that_makes_it_hard(
    sqlite_store: Store, node: SimulatedNode, chain: SimulatedChain, faults: Faults
) -> None:
    chain.finalize(30)
    node.faults = faults
    assert [shown(log) for log in ingested(sqlite_store, node)] == LOGS


@pytest.mark.parametrize("number", range(HEAD + 1))
def test_a_block_is_served_with_every_field(node: SimulatedNode, number: int) -> None:
    assert ask(node, "eth_getBlockByNumber", hex(number), True) == RECORDED[number]["block"]


def test_a_block_without_its_transactions_names_them(node: SimulatedNode) -> None:
    whole = RECORDED[2]["block"]
    found = ask(node, "eth_getBlockByHash", whole["hash"], False)
    assert found == {**whole, "transactions": [item["hash"] for item in whole["transactions"]]}


def test_receipts_are_served_with_every_field_and_the_logs_of_get_logs(node: SimulatedNode) -> None:
    for line in RECORDED:
        found = ask(node, "eth_getBlockReceipts", line["block"]["hash"])
        logs = [log for receipt in found for log in receipt["logs"]]
        assert {log.pop("blockTimestamp") for log in logs} <= {line["block"]["timestamp"]}
        assert logs == line["logs"]
        assert [{**item, "logs": []} for item in found] == [{**item, "logs": []} for item in line["receipts"]]


def test_receipts_are_numbered_as_in_the_file_where_the_node_misnumbers_them(node: SimulatedNode) -> None:
    node.faults = Faults(receipts_misnumbered=True, no_log_timestamp=True)
    for line in RECORDED:
        assert ask(node, "eth_getBlockReceipts", line["block"]["hash"]) == line["receipts"]


def test_each_transaction_has_its_receipt(node: SimulatedNode) -> None:
    node.faults = Faults(receipts_misnumbered=True, no_log_timestamp=True)
    for receipt in RECORDED[3]["receipts"]:
        assert ask(node, "eth_getTransactionReceipt", receipt["transactionHash"]) == receipt


def test_the_chain_can_be_scripted_further(node: SimulatedNode, chain: SimulatedChain) -> None:
    fork = chain.reorg(5)
    assert [header.number for header in fork.orphaned] == [50, 51, 52, 53, 54]
    chain.switch(fork.orphaned[-1].hash)
    source = RpcSource(node.url)
    where = BlockRange(0, HEAD)
    found = check(Query(ADDRESSES), where, source.logs(Query(ADDRESSES), where)).logs
    source.close()
    assert [shown(log) for log in found] == LOGS


def test_blocks_that_are_no_chain_are_refused() -> None:
    with pytest.raises(ValueError, match="begins with block 0, these with block 1"):
        recorded(LINES[1:], chain_id=CHAIN)
    with pytest.raises(ValueError, match="block 2 does not stand on block 0 0x44fd89"):
        recorded([LINES[0], LINES[2]], chain_id=CHAIN)


def test_the_whole_chain_proves_by_header_hash_bloom_and_receipts_root(
    store: Store, node: SimulatedNode, chain: SimulatedChain
) -> None:
    """383 logs and 55 blocks; one log that is left out is named."""
    chain.finalize(HEAD)
    ingested(store, node)
    watches = [Watch(Filter(address)) for address in ADDRESSES]
    source = RpcSource(node.url)
    lease = Lease(store, f"prove:{CHAIN}", owner="test||1|b").acquire()
    prover = Prover(store, source, lease, chain="conformance", chain_id=CHAIN, watches=watches)
    done = prover.step()
    assert (done.proven, done.failed, prover.step().idle) == (len(RECORDED), (), True)
    assert done.by_receipts >= len({log["blockNumber"] for log in LOGS})
    prover.close()
    source.close()
    with store.read() as tx:
        assert proven(tx, CHAIN, watches) == [BlockRange(0, HEAD)]
