"""What can be wrong with the logs of a simulated node, as a client sees it over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.node import Faults, SimulatedNode
from tests.eventstore.sources.asking import HEAD, ask, block, by_hash, hash_of, places, reply, scripted, span


@pytest.fixture
def chain() -> SimulatedChain:
    return scripted()


@pytest.fixture
def node(chain: SimulatedChain) -> Iterator[SimulatedNode]:
    with SimulatedNode(chain) as node:
        yield node


# --- refusals --------------------------------------------------------------------------------------

TEN_RESULTS = "query returned more than 10 results"


@pytest.mark.parametrize(
    ("faults", "asked", "error"),
    [
        (Faults(), span(3, 2), {"code": -32602, "message": "invalid block range params"}),
        (
            Faults(range_cap=5),
            span(1, 6),
            {"code": -32602, "message": "exceed maximum block range: 5"},
        ),
        (
            Faults(range_cap=5, range_cap_code=35, range_cap_text="ranges over {cap} blocks [no]"),
            span(1, 6),
            {"code": 35, "message": "ranges over 5 blocks [no]"},
        ),
        (
            Faults(range_cap=5, said_in="data"),
            span(1, 6),
            {
                "code": -32602,
                "message": "invalid params",
                "data": {"payload": "exceed maximum block range: 5"},
            },
        ),
        (Faults(result_cap=10), span(1, 6), {"code": -32005, "message": TEN_RESULTS}),
        (
            Faults(result_cap=10, result_cap_code=-32602, result_cap_text="{cap} are {too} many"),
            span(1, 6),
            {"code": -32602, "message": "10 are {too} many"},
        ),
        (
            Faults(result_cap=10, suggestion="good"),
            span(1, 6),
            {
                "code": -32005,
                "message": f"{TEN_RESULTS}. Try with this block range [0x1, 0x5].",
                "data": {"from": "0x1", "limit": 10, "to": "0x5"},
            },
        ),
        (
            Faults(result_cap=10, suggestion="equal"),
            span(1, 6),
            {
                "code": -32005,
                "message": f"{TEN_RESULTS}. Try with this block range [0x1, 0x6].",
                "data": {"from": "0x1", "limit": 10, "to": "0x6"},
            },
        ),
        (
            Faults(result_cap=10, suggestion="inverted", said_in="data"),
            span(1, 6),
            {
                "code": -32005,
                "message": "invalid params",
                "data": {"from": "0x6", "limit": 10, "to": "0x1", "payload": TEN_RESULTS},
            },
        ),
        (
            Faults(one_block_cap=1),
            span(3, 3),
            {"code": -32005, "message": "query returned more than 1 results"},
        ),
        (Faults(logs_refused=True), span(3, 3), {"code": -32005, "message": "limit exceeded"}),
        (
            Faults(no_logs_method=True),
            span(3, 3),
            {"code": -32601, "message": "the method eth_getLogs does not exist"},
        ),
        (
            Faults(future_refused=True),
            span(3, 11),
            {
                "code": -32602,
                "message": "block range extends beyond current head block: requested 11, head 10",
            },
        ),
        (
            Faults(pruned_below=4),
            span(3, 9),
            {"code": 4444, "message": "pruned history unavailable"},
        ),
    ],
)
def test_get_logs_is_refused(
    node: SimulatedNode, faults: Faults, asked: object, error: dict[str, object]
) -> None:
    node.faults = faults
    assert reply(node, "eth_getLogs", asked)["error"] == error


@pytest.mark.parametrize(
    ("faults", "asked"),
    [
        (Faults(range_cap=5), span(1, 5)),
        (Faults(result_cap=10), span(1, 5)),
        (Faults(result_cap=1), span(3, 3)),
        (Faults(one_block_cap=2), span(3, 3)),
        (Faults(one_block_cap=1), span(1, 10)),
        (Faults(pruned_below=4), span(4, 9)),
        (Faults(future_refused=True), span(1, 10)),
        (Faults(gateway_cap=5), span(1, 5)),
        (Faults(slow_above=5), span(1, 5)),
        (Faults(slow_above=5, slow_seconds=0.01), span(1, 6)),
        (Faults(empty_near_head=3), span(1, 7)),
    ],
)
def test_what_a_cap_allows_is_answered_in_full(node: SimulatedNode, faults: Faults, asked: Any) -> None:
    node.faults = faults
    first, last = int(asked["fromBlock"], 16), int(asked["toBlock"], 16)
    assert places(ask(node, "eth_getLogs", asked)) == [
        (number, index) for number in range(first, last + 1) for index in (0, 2)
    ]


@pytest.mark.parametrize(
    ("faults", "error"),
    [
        (Faults(block_refused=True), "limit exceeded"),
        (Faults(one_block_cap=1), "query returned more than 1 results"),
        (Faults(logs_refused=True), "limit exceeded"),
        (Faults(pruned_below=4), "pruned history unavailable"),
        (Faults(null_block=3), "unknown block"),
        (Faults(lag=8), "unknown block"),
    ],
)
def test_get_logs_of_one_block_is_refused(
    node: SimulatedNode, chain: SimulatedChain, faults: Faults, error: str
) -> None:
    node.faults = faults
    assert reply(node, "eth_getLogs", by_hash(chain, 3))["error"]["message"] == error


# --- logs that are not told ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("faults", "told"),
    [
        (Faults(empty_near_head=1), []),
        (Faults(truncate_at=3), [(8, 0), (8, 2), (9, 0)]),
        (Faults(withheld={(8, 0), (9, 2)}), [(8, 2), (9, 0), (10, 0), (10, 2)]),
        (Faults(empty_below=10), [(10, 0), (10, 2)]),
        (Faults(lag=1), [(8, 0), (8, 2), (9, 0), (9, 2)]),
        (
            Faults(duplicate_log_index=True),
            [(8, 0), (8, 0), (9, 0), (9, 0), (10, 0), (10, 0)],
        ),
        (
            Faults(log_index_reset=True),
            [(8, 0), (8, 1), (9, 0), (9, 1), (10, 0), (10, 1)],
        ),
        (Faults(truncate_at=1, stray_log=True), [(8, 0), (7, 2)]),
    ],
)
def test_a_range_is_answered_wrongly(
    node: SimulatedNode, faults: Faults, told: list[tuple[int, int]]
) -> None:
    node.faults = faults
    assert places(ask(node, "eth_getLogs", span(8, 10))) == told


@pytest.mark.parametrize(
    ("faults", "told"),
    [
        (Faults(empty_blocks=True), []),
        (Faults(empty_near_head=1), [(10, 0), (10, 2)]),
        (Faults(truncate_at=1), [(10, 0)]),
        (Faults(withheld={(10, 0)}), [(10, 2)]),
        (Faults(empty_below=11), []),
        (Faults(stray_log=True), [(10, 0), (10, 2), (9, 2)]),
    ],
)
def test_a_block_is_answered_wrongly(
    node: SimulatedNode, chain: SimulatedChain, faults: Faults, told: list[tuple[int, int]]
) -> None:
    node.faults = faults
    assert places(ask(node, "eth_getLogs", by_hash(chain, 10))) == told


def test_logs_near_the_head_are_filled_in_after_so_many_answers(
    node: SimulatedNode, chain: SimulatedChain
) -> None:
    node.faults = Faults(empty_near_head=2, filled_after=2)
    assert [len(ask(node, "eth_getLogs", span(8, 10))) for _ in range(3)] == [0, 0, 6]
    chain.mine()
    assert ask(node, "eth_getLogs", span(8, 11)) == []


def test_logs_of_a_block_are_filled_in_after_so_many_answers(
    node: SimulatedNode, chain: SimulatedChain
) -> None:
    node.faults = Faults(empty_blocks=True, filled_after=1)
    assert [len(ask(node, "eth_getLogs", by_hash(chain, 10))) for _ in range(2)] == [0, 2]


@pytest.mark.parametrize(
    ("faults", "field", "value"),
    [
        (Faults(no_log_timestamp=True), "blockTimestamp", None),
        (Faults(zero_log_timestamp=True), "blockTimestamp", "0x0"),
        (Faults(removed_logs=True), "removed", True),
        (Faults(pending_logs=True), "blockNumber", None),
        (Faults(pending_logs=True), "blockHash", None),
    ],
)
def test_a_log_has_a_field_that_is_wrong(
    node: SimulatedNode, faults: Faults, field: str, value: object
) -> None:
    node.faults = faults
    assert {log.get(field) for log in ask(node, "eth_getLogs", span(1, 3))} == {value}


# --- what left the chain ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("faults", "removed"),
    [
        (Faults(orphaned_logs=True), [False] * 2),
        (Faults(removed_twice=True), [True] * 4),
        (Faults(orphaned_logs=True, removed_twice=True), [False] * 2 + [True] * 4),
        (Faults(), []),
    ],
)
def test_a_range_brings_logs_of_an_orphaned_block(
    node: SimulatedNode, chain: SimulatedChain, faults: Faults, removed: list[bool]
) -> None:
    node.faults = faults
    orphaned = hash_of(chain, HEAD)
    chain.reorg(1)
    logs = ask(node, "eth_getLogs", span(10, 10))
    assert [(log["blockHash"], log["removed"]) for log in logs] == [(orphaned, item) for item in removed]


def test_an_orphaned_block_is_forgotten_or_found_by_its_hash(
    node: SimulatedNode, chain: SimulatedChain
) -> None:
    asked = by_hash(chain, HEAD)
    chain.reorg(1)
    assert reply(node, "eth_getLogs", asked)["error"]["message"] == "unknown block"
    node.faults.orphans_known = True
    assert ask(node, "eth_getBlockByHash", asked["blockHash"], False)["hash"] == asked["blockHash"]
    assert {log["blockHash"] for log in ask(node, "eth_getLogs", asked)} == {asked["blockHash"]}


def test_an_orphaned_hash_is_answered_with_another_block(node: SimulatedNode, chain: SimulatedChain) -> None:
    asked = by_hash(chain, HEAD)
    chain.reorg(1, logs=[chain.logs_in(9, 9)])
    node.faults.orphans_mixed = True
    assert {log["blockHash"] for log in ask(node, "eth_getLogs", asked)} == {hash_of(chain, HEAD)}


@pytest.mark.parametrize("depth", [1, 20, 157])
def test_a_reorg_of_any_depth_and_back_again_is_served(node: SimulatedNode, depth: int) -> None:
    chain = node.chain
    chain.mine(150)
    before, tip = block(node, "latest"), chain.head().hash
    chain.reorg(depth)
    assert block(node, "latest") != before
    chain.switch(tip)
    assert block(node, "latest") == before


def test_the_chain_may_move_between_two_requests(node: SimulatedNode, chain: SimulatedChain) -> None:
    node.at(2, lambda: chain.reorg(3, logs=[()]))
    assert [ask(node, "eth_blockNumber") for _ in range(3)] == ["0xa", "0x8", "0x8"]
