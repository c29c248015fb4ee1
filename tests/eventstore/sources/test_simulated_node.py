"""What can be wrong with a simulated node, its blocks and receipts, as a client sees it over HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from eventstore.proof import bloom
from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.node import Faults, SimulatedNode
from tests.eventstore.sources.asking import (
    HEAD,
    ask,
    block,
    call,
    hash_of,
    places,
    post,
    reply,
    scripted,
    span,
)


@pytest.fixture
def chain() -> SimulatedChain:
    return scripted()


@pytest.fixture
def node(chain: SimulatedChain) -> Iterator[SimulatedNode]:
    with SimulatedNode(chain) as node:
        yield node


# --- nothing wrong ---------------------------------------------------------------------------------


def test_a_log_carries_the_time_of_its_block(node: SimulatedNode) -> None:
    [first, _] = ask(node, "eth_getLogs", span(3, 3))
    assert first["blockTimestamp"] == block(node, 3)["timestamp"]


def test_a_block_names_its_transactions_and_each_has_its_receipt(node: SimulatedNode) -> None:
    receipts = [ask(node, "eth_getTransactionReceipt", item) for item in block(node, 3)["transactions"]]
    assert receipts == ask(node, "eth_getBlockReceipts", block(node, 3)["hash"])
    assert places([log for receipt in receipts for log in receipt["logs"]]) == [(3, 0), (3, 1), (3, 2)]


def test_whole_transactions_come_where_they_are_asked_for(node: SimulatedNode) -> None:
    full = ask(node, "eth_getBlockByNumber", "0x3", True)["transactions"]
    assert [item["hash"] for item in full] == block(node, 3)["transactions"]


def test_receipts_may_be_asked_for_by_number(node: SimulatedNode) -> None:
    assert ask(node, "eth_getBlockReceipts", "0x3") == ask(
        node, "eth_getBlockReceipts", block(node, 3)["hash"]
    )


def test_a_transaction_that_was_mined_again_has_the_receipt_of_its_new_block(
    node: SimulatedNode, chain: SimulatedChain
) -> None:
    [moved, *_] = chain.logs_in(HEAD, HEAD)
    chain.reorg(1, logs=[(), (moved,)])
    receipt = ask(node, "eth_getTransactionReceipt", "0x" + moved.tx_hash.hex())
    assert receipt["blockHash"] == hash_of(chain, HEAD + 1)


def test_an_unknown_transaction_has_no_receipt(node: SimulatedNode) -> None:
    assert ask(node, "eth_getTransactionReceipt", "0x" + "ee" * 32) is None


@pytest.mark.parametrize(("tag", "number"), [("latest", 10), ("safe", 6), ("finalized", 6), ("earliest", 0)])
def test_blocks_go_by_their_tags_too(node: SimulatedNode, tag: str, number: int) -> None:
    assert block(node, tag) == block(node, number)


def test_calls_are_counted_by_method(node: SimulatedNode) -> None:
    post(node, [call("eth_chainId"), call("eth_chainId", number=2), call("eth_blockNumber", number=3)])
    assert (node.requests, node.calls) == (1, {"eth_chainId": 2, "eth_blockNumber": 1})


# --- blocks and heads ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("faults", "number", "field", "value"),
    [
        (Faults(no_bloom=True), 3, "logsBloom", None),
        (Faults(zero_bloom=True), 3, "logsBloom", "0x" + "00" * 256),
        (Faults(full_bloom=True), 3, "logsBloom", "0x" + "ff" * 256),
        (Faults(lag=4), "latest", "number", "0x6"),
        (Faults(lag=5), "finalized", "number", "0x5"),
        (Faults(backends=(4,)), "latest", "number", "0x6"),
    ],
)
def test_a_header_has_a_field_that_is_wrong(
    node: SimulatedNode, faults: Faults, number: int | str, field: str, value: object
) -> None:
    node.faults = faults
    assert block(node, number).get(field) == value


@pytest.mark.parametrize(
    ("faults", "number"),
    [(Faults(wrong_genesis=True), 0), (Faults(moved_finality=True), "finalized")],
)
def test_a_block_has_another_hash_than_it_had(node: SimulatedNode, faults: Faults, number: int | str) -> None:
    before = block(node, number)
    node.faults = faults
    after = block(node, number)
    assert after.pop("hash") != before.pop("hash")
    assert after == before


def test_finality_that_moved_disagrees_with_the_block_by_number(node: SimulatedNode) -> None:
    node.faults.moved_finality = True
    assert block(node, "finalized")["hash"] != block(node, 6)["hash"]


@pytest.mark.parametrize("faults", [Faults(null_block=3), Faults(lag=8)])
def test_a_block_is_null(node: SimulatedNode, faults: Faults) -> None:
    node.faults = faults
    assert block(node, 3) is None


def test_another_chain_id_is_told(node: SimulatedNode) -> None:
    node.faults.wrong_chain = 1
    assert ask(node, "eth_chainId") == "0x1"


def test_there_may_be_no_finality(node: SimulatedNode) -> None:
    node.faults.no_finalized_tag = True
    found = reply(node, "eth_getBlockByNumber", "finalized", False)
    assert found["error"]["message"] == "finalized block not found"


def test_a_head_that_went_back_catches_up(node: SimulatedNode) -> None:
    node.faults.syncing = 3
    heads = [int(ask(node, "eth_blockNumber"), 16) for _ in range(5)]
    assert heads == [7, 8, 9, 10, 10]


def test_two_nodes_behind_one_address_answer_by_chance(node: SimulatedNode) -> None:
    node.faults.backends = (0, 4)
    assert {ask(node, "eth_blockNumber") for _ in range(30)} == {"0xa", "0x6"}


def heads_of_a_batch(node: SimulatedNode) -> set[str]:
    found = post(node, [call("eth_blockNumber", number=number) for number in range(30)]).json()
    return {item["result"] for item in found}


def test_a_batch_is_answered_by_one_node_or_by_several(node: SimulatedNode) -> None:
    node.faults.backends = (0, 4)
    assert len(heads_of_a_batch(node)) == 1
    node.faults.batch_split = True
    assert len(heads_of_a_batch(node)) == 2


def test_chance_depends_on_the_seed_and_on_nothing_else(chain: SimulatedChain) -> None:
    def drawn(seed: int) -> list[object]:
        with SimulatedNode(chain, faults=Faults(backends=(0, 4), flaky=0.5), seed=seed) as node:
            return [post(node, call("eth_blockNumber")).content for _ in range(30)]

    assert drawn(1) == drawn(1) != drawn(2)


# --- receipts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("faults", "told"),
    [
        (Faults(), [(3, 0), (3, 1), (3, 2)]),
        (Faults(receipts_partial=True), [(3, 0), (3, 1)]),
        (Faults(receipts_reordered=True), [(3, 2), (3, 1), (3, 0)]),
        (Faults(withheld={(3, 1)}), [(3, 0), (3, 2)]),
        (Faults(withheld={(3, 1)}, receipts_honest=True), [(3, 0), (3, 1), (3, 2)]),
        (Faults(duplicate_log_index=True), [(3, 0), (3, 0), (3, 0)]),
        (Faults(duplicate_log_index=True, receipts_honest=True), [(3, 0), (3, 1), (3, 2)]),
        (Faults(empty_blocks=True, empty_near_head=9), [(3, 0), (3, 1), (3, 2)]),
    ],
)
def test_receipts_are_answered(
    node: SimulatedNode, chain: SimulatedChain, faults: Faults, told: list[tuple[int, int]]
) -> None:
    node.faults = faults
    receipts = ask(node, "eth_getBlockReceipts", hash_of(chain, 3))
    assert places([log for receipt in receipts for log in receipt["logs"]]) == told


@pytest.mark.parametrize("faults", [Faults(receipts_null=True), Faults(empty_below=4), Faults(lag=8)])
def test_receipts_are_null(node: SimulatedNode, chain: SimulatedChain, faults: Faults) -> None:
    node.faults = faults
    assert ask(node, "eth_getBlockReceipts", hash_of(chain, 3)) is None
    assert ask(node, "eth_getTransactionReceipt", "0x" + chain.logs_in(3, 3)[0].tx_hash.hex()) is None


@pytest.mark.parametrize(
    ("faults", "method", "code"),
    [
        (Faults(no_receipts=True), "eth_getBlockReceipts", -32601),
        (Faults(no_transaction_receipts=True), "eth_getTransactionReceipt", -32601),
        (Faults(pruned_below=4), "eth_getBlockReceipts", 4444),
        (Faults(pruned_below=4), "eth_getTransactionReceipt", 4444),
    ],
)
def test_receipts_are_refused(
    node: SimulatedNode, chain: SimulatedChain, faults: Faults, method: str, code: int
) -> None:
    node.faults = faults
    [log, *_] = chain.logs_in(3, 3)
    wanted = log.block_hash if method == "eth_getBlockReceipts" else log.tx_hash
    assert reply(node, method, "0x" + wanted.hex())["error"]["code"] == code


def test_a_receipts_bloom_is_that_of_its_logs(node: SimulatedNode, chain: SimulatedChain) -> None:
    [first, *_] = ask(node, "eth_getBlockReceipts", "0x3")
    assert first["logsBloom"] == "0x" + bloom.make(chain.logs_in(3, 3)[:1]).hex()


# --- the way there and back ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("faults", "status"),
    [
        (Faults(gateway_cap=5), 413),
        (Faults(gateway_cap=5, gateway_status=504), 504),
        (Faults(down=True), 503),
        (Faults(throttled=2), 429),
        (Faults(flaky=1), 503),
    ],
)
def test_a_request_ends_in_an_http_status(node: SimulatedNode, faults: Faults, status: int) -> None:
    node.faults = faults
    assert post(node, call("eth_getLogs", span(1, 6))).status_code == status


def test_a_wide_range_may_take_longer_than_the_client_waits(node: SimulatedNode) -> None:
    node.faults.slow_above = 5
    with pytest.raises(requests.ReadTimeout):
        post(node, call("eth_getLogs", span(1, 6)), timeout=0.3)


def test_connections_are_refused_while_the_port_is_closed(node: SimulatedNode) -> None:
    with node.refusing_connections(), pytest.raises(requests.ConnectionError, match="refused"):
        post(node, call("eth_chainId"))
    assert ask(node, "eth_chainId") == "0x7a69"


@pytest.mark.parametrize("faults", [Faults(garbage_json=True), Faults(truncated_json=True)])
def test_an_answer_is_no_json(node: SimulatedNode, faults: Faults) -> None:
    node.faults = faults
    response = post(node, call("eth_getLogs", span(1, 3)))
    assert response.status_code == 200
    with pytest.raises(requests.JSONDecodeError):
        response.json()


def test_an_answer_that_is_cut_short_begins_right(node: SimulatedNode) -> None:
    whole = post(node, call("eth_blockNumber")).text
    node.faults.truncated_json = True
    assert post(node, call("eth_blockNumber")).text == whole[: len(whole) // 2]


@pytest.mark.parametrize(
    ("faults", "ids"),
    [
        (Faults(), [1, 2, 3]),
        (Faults(batch_reversed=True), [3, 2, 1]),
        (Faults(batch_incomplete=True), [1, 2]),
        (Faults(batch_reversed=True, batch_incomplete=True), [3, 2]),
        (Faults(batch_cap=3), [1, 2, 3]),
    ],
)
def test_a_batch_is_answered(node: SimulatedNode, faults: Faults, ids: list[int]) -> None:
    node.faults = faults
    found = post(node, [call("eth_chainId", number=number) for number in (1, 2, 3)]).json()
    assert [item["id"] for item in found] == ids


@pytest.mark.parametrize(
    ("faults", "code"), [(Faults(batch_refused=True), -32600), (Faults(batch_cap=2), -32005)]
)
def test_a_batch_is_refused_as_a_whole(node: SimulatedNode, faults: Faults, code: int) -> None:
    node.faults = faults
    found = post(node, [call("eth_chainId", number=number) for number in (1, 2, 3)]).json()
    assert found["error"]["code"] == code


@pytest.mark.parametrize("faults", [Faults(latency=0.3), Faults(jitter=1e6)])
def test_an_answer_may_take_its_time(node: SimulatedNode, faults: Faults) -> None:
    node.faults = faults
    with pytest.raises(requests.ReadTimeout):
        post(node, call("eth_chainId"), timeout=0.1)
