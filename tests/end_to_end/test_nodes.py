"""The event store on the nodes that people develop on: anvil, Hardhat and Ganache.

What a node does its own way is a test that says so: a version that does it otherwise makes it fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from threading import Lock
from typing import Any

import pytest
import requests

from eventstore.errors import AnswerRefused, BlockUnknown, SourceError
from eventstore.ingest.branch import Ingested
from eventstore.ingest.ingestor import Ingestor
from eventstore.journal.history import Question, ask
from eventstore.proof import bloom
from eventstore.records import Answer, BlockRange, Filter, Header, Log, Query, Watch
from eventstore.sources.rpc.client import RpcClient
from eventstore.sources.rpc.receipts import Receipts
from eventstore.sources.rpc.source import Finality, RpcSource
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from tests.end_to_end.network import USERS, Network, bytes_of, log_of
from tests.servers.anvil import SLOTS_IN_AN_EPOCH

pytestmark = pytest.mark.server

Ingestors = Callable[[RpcSource], Ingestor]

CHAIN = 31_337
REGISTERED = bytes.fromhex("90eab5d1df713df401d810f26aa9718d2b9e6894af1eb4890a332d3b185dc0e5")
UNKNOWN = bytes([0xEE]) * 32
DEPTH = 6
"""Blocks below the head from which a chain is final, where the test says so instead of the node."""


class Moving(RpcSource):
    """A source whose chain makes a move when a step has read headers, and before it reads their logs."""

    def __init__(self, url: str) -> None:
        super().__init__(url, finality=DEPTH)
        self.moves: list[Callable[[], None]] = []
        self._turn = Lock()

    def logs(self, query: Query, where: BlockRange | Header) -> Answer:
        with self._turn:
            while self.moves and isinstance(where, Header):
                self.moves.pop()()
        return super().logs(query, where)


@pytest.fixture(params=["anvil", "hardhat", "ganache"])
def network(request: pytest.FixtureRequest) -> Iterator[Network]:
    name = request.param
    url = request.getfixturevalue("anvil").url if name == "anvil" else request.getfixturevalue(f"{name}_url")
    with closing(Network(name, url)) as made:
        yield made


@pytest.fixture(params=["finalized", DEPTH], ids=["as-the-node-says", "by-depth"])
def finality(request: pytest.FixtureRequest) -> Finality:
    found: Finality = request.param
    return found


@pytest.fixture
def source(network: Network) -> Iterator[RpcSource]:
    with closing(RpcSource(network.url)) as made:
        yield made


@pytest.fixture
def ingestor(sqlite_store: Store, network: Network) -> Iterator[Ingestors]:
    """Makes the ingester of the contract's logs from a source."""
    with ExitStack() as stack:

        def make(source: RpcSource) -> Ingestor:
            made = Ingestor(
                sqlite_store,
                stack.enter_context(closing(source)),
                Lease(sqlite_store, f"ingest:{CHAIN}", owner="test||1|a").acquire(),
                chain_id=CHAIN,
                watches=[Watch(Filter(network.address), network.first)],
            )
            stack.callback(made.close)
            made.open()
            return made

        yield make


def receipts_of(network: Network) -> Receipts:
    return Receipts(RpcClient(network.url, timeout=30.0, max_batch=100))


def to_end(stage: Ingestor) -> list[Ingested]:
    done = [stage.step()]
    while not done[-1].idle:
        assert len(done) < 100, "the ingester does not come to rest"
        done.append(stage.step())
    return done


def recorded(store: Store, *, orphaned: bool = False) -> dict[int, list[Log]]:
    """The journal by block: what is canonical, or what is orphaned."""
    found: dict[int, list[Log]] = {}
    with store.read() as tx:
        for item in ask(tx, CHAIN, Question(orphaned=orphaned)):
            found.setdefault(item.log.block_number, []).append(item.log)
    return found


def header_of(source: RpcSource, number: int) -> Header:
    [header] = source.headers([number])
    assert header is not None
    return header


def orphaned_block(network: Network, source: RpcSource) -> Header:
    """The newest block, with a registration in it, after it left the chain; none has its number now."""
    snapshot = network.rpc("evm_snapshot")
    header = header_of(source, network.register())
    assert network.rpc("evm_revert", snapshot)
    return header


def asked_by_user(network: Network, source: RpcSource) -> tuple[Query, Header]:
    """A question about a new block that only receipts answer: its bloom holds the user of a registration,
    and no log has it as its first topic."""
    network.contract.register(USERS[0], USERS[1])
    network.mine()
    user = bytes(12) + bytes_of(USERS[0])
    return Query((network.address,), (user,)), header_of(source, network.head())


def test_the_journal_equals_the_nodes_own_logs_block_by_block(
    network: Network, finality: Finality, ingestor: Ingestors, sqlite_store: Store
) -> None:
    stage = ingestor(RpcSource(network.url, finality=finality))
    for _ in range(2):
        network.live(9)
        to_end(stage)
        assert recorded(sqlite_store) == network.logs()
    assert recorded(sqlite_store, orphaned=True) == {}


@pytest.mark.parametrize("blocks", [2, 4], ids=["shorter", "longer"])
def test_a_reorg_ends_in_the_new_branch_and_keeps_the_logs_of_the_old(
    network: Network,
    finality: Finality,
    blocks: int,
    ingestor: Ingestors,
    sqlite_store: Store,
) -> None:
    """Three blocks die after they were seen: below finality, where the node calls its head final."""
    network.live(4)
    network.register()
    stage = ingestor(RpcSource(network.url, finality=finality))
    snapshot, fork = network.rpc("evm_snapshot"), network.head()
    network.register()
    network.live(2)
    to_end(stage)
    dying = network.logs(fork + 1)
    assert network.rpc("evm_revert", snapshot)
    network.register()
    network.live(blocks - 1)
    [reorg] = [done for done in to_end(stage) if done.rewound_to is not None]
    assert (reorg.rewound_to, reorg.depth) == (fork, 3)
    assert reorg.below_finality == (finality == "finalized" and network.name != "anvil")
    assert recorded(sqlite_store) == network.logs()
    assert recorded(sqlite_store, orphaned=True) == dying


def test_a_revert_alone_is_no_reorg_as_a_node_that_lags_shows_the_same(
    network: Network, finality: Finality, ingestor: Ingestors, sqlite_store: Store
) -> None:
    """Also where what was left was called final."""
    stage = ingestor(RpcSource(network.url, finality=finality))
    snapshot = network.rpc("evm_snapshot")
    network.register()
    to_end(stage)
    before = network.logs()
    assert network.rpc("evm_revert", snapshot)
    assert [done.rewound_to for done in to_end(stage)] == [None]
    assert recorded(sqlite_store) == before


def test_a_reorg_between_the_headers_and_the_logs_of_a_step_is_noticed(
    network: Network, ingestor: Ingestors, sqlite_store: Store
) -> None:
    """The node is asked for orphaned hashes then, and Ganache has logs to give for them."""
    source = Moving(network.url)
    stage = ingestor(source)
    to_end(stage)
    snapshot = network.rpc("evm_snapshot")
    for _ in range(3):
        network.register()

    def reorganise() -> None:
        assert network.rpc("evm_revert", snapshot)
        for _ in range(4):
            network.register()

    source.moves.append(reorganise)
    with pytest.raises((AnswerRefused, BlockUnknown)):
        stage.step()
    to_end(stage)
    assert recorded(sqlite_store) == network.logs()
    assert recorded(sqlite_store, orphaned=True) == {}


# --- what each of them does its own way ---


def test_hardhat_and_ganache_call_their_head_final_and_anvil_two_epochs_below_it(
    network: Network, source: RpcSource
) -> None:
    network.mine(8)
    below = {"anvil": 2 * SLOTS_IN_AN_EPOCH, "hardhat": 0, "ganache": 0}[network.name]
    assert source.finalized() == header_of(source, network.head() - below)


@pytest.mark.parametrize("network", ["anvil", "hardhat"], indirect=True)
def test_anvil_and_hardhat_refuse_the_logs_of_an_orphaned_hash(network: Network, source: RpcSource) -> None:
    orphaned = orphaned_block(network, source)
    network.register()
    with pytest.raises(SourceError, match=r"unknown block|cannot be found"):
        network.rpc("eth_getLogs", {"blockHash": "0x" + orphaned.hash.hex()})
    with pytest.raises(BlockUnknown, match="does not have block"):
        source.logs(Query((network.address,)), orphaned)


@pytest.mark.parametrize("network", ["ganache"], indirect=True)
def test_ganache_answers_an_orphaned_hash_with_the_block_that_took_its_number_and_is_refused(
    network: Network, source: RpcSource
) -> None:
    orphaned = orphaned_block(network, source)
    usurper = header_of(source, network.register())
    by_hash = {"blockHash": "0x" + orphaned.hash.hex()}
    assert [log_of(item).block_hash for item in network.rpc("eth_getLogs", by_hash)] == [usurper.hash]
    assert bytes_of(network.rpc("eth_getBlockByHash", by_hash["blockHash"], False)["hash"]) == usurper.hash
    query = Query((network.address,))
    with pytest.raises(BlockUnknown, match="gives another block"):
        source.logs(query, orphaned)


@pytest.mark.parametrize("network", ["ganache"], indirect=True)
def test_ganache_has_no_logs_for_a_hash_it_does_not_know_where_others_have_an_error_and_is_not_believed(
    network: Network, source: RpcSource
) -> None:
    """The hash of a block whose number is gone as well, and one that never was (EIP-234 wants errors)."""
    orphaned = orphaned_block(network, source)
    for header in (orphaned, Header(orphaned.number, UNKNOWN, bytes(32), 0)):
        assert network.rpc("eth_getLogs", {"blockHash": "0x" + header.hash.hex()}) == []
        with pytest.raises(BlockUnknown, match="does not have block"):
            source.logs(Query((network.address,)), header)


def test_a_range_beyond_the_head_is_answered_with_what_there_is_and_not_believed(
    network: Network, source: RpcSource
) -> None:
    head = network.register()
    where = {"fromBlock": hex(head), "toBlock": hex(head + 9), "address": network.contract.address}
    assert len(network.rpc("eth_getLogs", where)) == 1
    with pytest.raises(BlockUnknown):
        source.logs(Query((network.address,)), BlockRange(head, head + 9))


def test_a_range_that_begins_beyond_the_head_is_empty_but_for_anvil_and_not_believed(
    network: Network, source: RpcSource
) -> None:
    beyond = network.head() + 5
    where = {"fromBlock": hex(beyond), "toBlock": hex(beyond)}
    if network.name == "anvil":
        with pytest.raises(SourceError, match="BlockOutOfRange"):
            network.rpc("eth_getLogs", where)
    else:
        assert network.rpc("eth_getLogs", where) == []
    with pytest.raises(BlockUnknown):
        source.logs(Query((network.address,)), BlockRange(beyond, beyond))


def test_hardhat_and_ganache_have_no_receipts_by_block_and_are_asked_transaction_by_transaction(
    network: Network, source: RpcSource
) -> None:
    answer = source.logs(*asked_by_user(network, source))
    assert (answer.logs, answer.completeness) == ([], "receipts")
    assert source.requests["eth_getBlockReceipts"] == 1
    assert source.requests["eth_getTransactionReceipt"] == (0 if network.name == "anvil" else 1)


@pytest.mark.parametrize("network", ["ganache"], indirect=True)
def test_ganache_counts_the_logs_of_every_receipt_from_0_and_they_are_counted_through_the_block(
    network: Network, source: RpcSource
) -> None:
    """Its eth_getLogs counts them through the block, as all nodes' receipts do too."""
    network.contract.register(USERS[2], USERS[3])
    query, block = asked_by_user(network, source)
    both = source.logs(Query((network.address,)), block).logs
    named = network.block(block.number)["transactions"]
    receipts = [network.rpc("eth_getTransactionReceipt", tx_hash) for tx_hash in named]
    transactions = [bytes_of(tx_hash) for tx_hash in named]
    assert [log.log_index for log in both] == [0, 1]
    assert [item["logIndex"] for receipt in receipts for item in receipt["logs"]] == ["0x0", "0x0"]
    answer = receipts_of(network).logs(block, transactions)
    assert answer == both
    assert source.logs(query, block).completeness == "receipts"


def test_the_bloom_of_a_header_is_that_of_its_logs(network: Network, source: RpcSource) -> None:
    header = header_of(source, network.register())
    logs = source.logs(Query((network.address,), (REGISTERED,)), header).logs
    assert len(logs) == 1
    assert header.bloom == bloom.make(logs)


def test_an_empty_block_is_proved_empty_by_its_bloom(network: Network, source: RpcSource) -> None:
    network.mine()
    answer = source.logs(Query((network.address,)), header_of(source, network.head()))
    assert (answer.logs, answer.completeness) == ([], "bloom")


def test_a_batch_of_five_hundred_calls_is_answered_whole_a_failure_in_its_place(network: Network) -> None:
    calls: Sequence[tuple[str, list[object]]] = [
        *[("eth_getBlockByNumber", ["0x0", False])] * 498,
        ("eth_nobodyKnowsThis", []),
        ("eth_getBlockByNumber", ["0xffffff", False]),
    ]
    batch: list[Any] = [
        {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        for number, (method, params) in enumerate(calls)
    ]
    replies = requests.post(network.url, json=batch, timeout=30).json()
    by_id = {reply["id"]: reply for reply in replies}
    assert by_id.keys() == set(range(500))
    assert [number for number, reply in by_id.items() if "error" in reply] == [498]
    assert by_id[499]["result"] is None


def test_every_block_proves_itself(network: Network, source: RpcSource) -> None:
    """From the first to the newest, under any fork of the node: headers link, and receipts hash to them."""
    network.live(4)
    network.mine(2)
    head = source.head()
    found = source.linked(BlockRange(0, head.number), head.hash)
    assert [block.number for block in found] == list(range(head.number + 1))
    assert all(block.holds for block in found)
    assert sum(len(source.rooted(block)) for block in found) == sum(
        len(block.transactions) for block in found
    )
