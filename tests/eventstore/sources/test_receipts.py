"""Receipts as a second opinion: those of a real node pass, and no list that lacks or mixes some does."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest
import requests
from msgspec.structs import replace

from eventstore.errors import AnswerRefused, Throttled
from eventstore.records import Log, Query
from eventstore.sources.rpc.codec import Receipt
from eventstore.sources.rpc.receipts import checked
from eventstore.sources.rpc.source import RpcSource
from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.http import Port, Response
from eventstore.sources.simulated.node import Faults, SimulatedNode
from eventstore.sources.simulated.recorded import recorded
from tests.blocks import ALICE, TOPIC, hash_, header, log
from tests.places import DATA

BLOCK = header(5)
TX = [bytes([n]) * 32 for n in range(3)]


def logs(*indexes: int, tx: bytes) -> list[Log]:
    return [replace(log(5, index), tx_hash=tx) for index in indexes]


def receipt(tx: bytes, *indexes: int) -> Receipt:
    return Receipt(tx, BLOCK.hash, logs(*indexes, tx=tx))


GOOD = [receipt(TX[0], 0, 1), receipt(TX[1]), receipt(TX[2], 2)]


def test_receipts_give_the_logs_of_the_block() -> None:
    assert [item.log_index for item in checked(BLOCK, TX, GOOD)] == [0, 1, 2]


def test_there_may_be_receipts_for_what_is_no_transaction() -> None:
    assert checked(BLOCK, TX[:2], GOOD) == checked(BLOCK, TX, GOOD)


def test_receipts_need_not_name_their_block() -> None:
    assert checked(BLOCK, TX, [Receipt(item.tx_hash, None, item.logs) for item in GOOD])


@pytest.mark.parametrize("left_out", range(3))
def test_a_list_that_lacks_a_transaction_is_refused(left_out: int) -> None:
    with pytest.raises(AnswerRefused, match=f"lack that of transaction 0x{TX[left_out].hex()}"):
        checked(BLOCK, TX, [*GOOD[:left_out], *GOOD[left_out + 1 :]])


def test_logs_that_are_counted_from_0_in_each_transaction_are_counted_through_the_block() -> None:
    counted = [receipt(TX[0], 0, 1), receipt(TX[1]), receipt(TX[2], 0)]
    assert [item.log_index for item in checked(BLOCK, TX, counted)] == [0, 1, 2]
    with pytest.raises(AnswerRefused, match="hold log 0 after log 0"):
        checked(BLOCK, TX, counted[::-1])


def test_a_list_in_another_order_is_refused() -> None:
    with pytest.raises(AnswerRefused, match="hold log 0 after log 2"):
        checked(BLOCK, TX, GOOD[::-1])


def test_one_index_for_two_logs_is_refused() -> None:
    with pytest.raises(AnswerRefused, match="hold log 1 after log 1"):
        checked(BLOCK, TX[:2], [receipt(TX[0], 1), receipt(TX[1], 1)])


def test_a_receipt_of_another_block_is_refused() -> None:
    with pytest.raises(AnswerRefused, match="hold one of block"):
        checked(BLOCK, TX[:1], [Receipt(TX[0], hash_(5, "b"), [])])


@pytest.mark.parametrize(
    "wrong", [{"block_hash": hash_(5, "b")}, {"tx_hash": TX[1]}], ids=["block", "transaction"]
)
def test_a_log_of_another_block_or_transaction_is_refused(wrong: dict[str, bytes]) -> None:
    stray = replace(logs(0, tx=TX[0])[0], **wrong)
    with pytest.raises(AnswerRefused, match="hold log 0 of another"):
        checked(BLOCK, TX[:1], [Receipt(TX[0], BLOCK.hash, [stray])])


@pytest.fixture(scope="module")
def real() -> Iterator[SimulatedChain]:
    """The official conformance chain of Ethereum's JSON-RPC."""
    with gzip.open(DATA / "execution-apis-chain.jsonl.gz") as lines:
        yield recorded(lines, chain_id=1)


@pytest.mark.parametrize("one_by_one", [False, True])
def test_the_receipts_of_a_real_chain_give_the_logs_of_its_blocks(
    real: SimulatedChain, *, one_by_one: bool
) -> None:
    faults = Faults(no_logs_method=True, no_receipts=one_by_one)
    everyone = Query(tuple({item.address for item in real.logs_in(0, 1_000)}))
    with SimulatedNode(real, faults=faults) as node:
        source = RpcSource(node.url)
        headers = [found for found in source.headers(range(real.head().number + 1)) if found]
        found = [item for each in headers for item in source.logs(everyone, each).logs]
        source.close()
    assert found == real.logs_in(0, 1_000)
    assert len(found) > 300


@contextmanager
def refusing(node: SimulatedNode, method: str, code: int, message: str) -> Iterator[str]:
    """The URL of a gateway to `node` that refuses one method like this."""

    def answer(body: bytes) -> Response:
        call = msgspec.json.decode(body)
        if isinstance(call, dict) and call["method"] == method:
            error = {"code": code, "message": message}
            return Response(msgspec.json.encode({"id": call["id"], "error": error}))
        return Response(requests.post(node.url, data=body, timeout=5).content)

    port = Port(answer)
    port.serve()
    yield f"http://127.0.0.1:{port.number}"
    port.close()


@pytest.fixture
def withholding() -> Iterator[SimulatedNode]:
    """A node that refuses every block's logs as too many; its block 1 has three, in three transactions."""
    chain = SimulatedChain()
    for _ in range(3):
        chain.emit(ALICE, [TOPIC])
    chain.mine()
    with SimulatedNode(chain, faults=Faults(block_refused=True)) as node:
        yield node


@pytest.mark.parametrize(
    ("code", "message"),
    [(-32000, "response too large"), (-32000, "the method eth_getBlockReceipts is not available")],
)
def test_receipts_that_do_not_come_at_once_are_read_one_by_one(
    withholding: SimulatedNode, code: int, message: str
) -> None:
    chain = withholding.chain
    with refusing(withholding, "eth_getBlockReceipts", code, message) as url:
        source = RpcSource(url)
        assert source.logs(Query((ALICE,)), chain.head()).logs == chain.logs_in(1, 1)
        assert source.requests["eth_getTransactionReceipt"] == 3
        source.close()


def test_patience_that_the_node_asks_for_is_not_taken_for_a_missing_method(
    withholding: SimulatedNode,
) -> None:
    with refusing(withholding, "eth_getBlockReceipts", -32005, "rate limit exceeded") as url:
        source = RpcSource(url)
        with pytest.raises(Throttled):
            source.logs(Query((ALICE,)), withholding.chain.head())
        source.close()
