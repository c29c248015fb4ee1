"""Nodes that cut answers short without a word, at counts that people like."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from eventstore.errors import (
    AnswerRefused,
    RangeTooLarge,
    SourceError,
)
from eventstore.ingest.window import Window
from eventstore.records import Answer, BlockRange, Query
from eventstore.sources.checks import check
from eventstore.sources.rpc.source import RpcSource
from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.node import Faults, SimulatedNode
from tests.blocks import ALICE, TOPIC

QUERY = Query((ALICE,), (TOPIC,))


@pytest.fixture
def busy() -> Iterator[SimulatedNode]:
    """Twenty blocks with ten logs of Alice's each, from a node that answers with 25 logs at most."""
    chain = SimulatedChain()
    for _ in range(20):
        for _ in range(10):
            chain.emit(ALICE, [TOPIC])
        chain.mine()
    with SimulatedNode(chain, faults=Faults(truncate_at=25, receipts_honest=True)) as node:
        yield node


@pytest.fixture
def cut(busy: SimulatedNode) -> Iterator[RpcSource]:
    source = RpcSource(busy.url, timeout=5)
    yield source
    source.close()


def test_an_answer_of_a_round_count_is_compared_with_its_halves(cut: RpcSource, busy: SimulatedNode) -> None:
    answer = cut.logs(QUERY, BlockRange(1, 4))
    assert answer.logs == busy.chain.logs_in(1, 4)
    assert answer.last == busy.chain.header(4)


def test_a_round_count_that_the_halves_agree_with_is_believed(cut: RpcSource, busy: SimulatedNode) -> None:
    busy.faults.truncate_at = None
    assert cut.logs(QUERY, BlockRange(1, 10)).logs == busy.chain.logs_in(1, 10)
    assert cut.requests["eth_getLogs"] == 3
    assert len(cut.logs(QUERY, BlockRange(1, 20)).logs) == 200


def test_a_count_that_is_not_round_costs_nothing_more(cut: RpcSource) -> None:
    cut.logs(QUERY, BlockRange(1, 2))
    assert cut.requests["eth_getLogs"] == 1


def test_where_a_node_cuts_answers_is_remembered(cut: RpcSource) -> None:
    cut.logs(QUERY, BlockRange(1, 4))
    before = cut.requests["eth_getLogs"]
    with pytest.raises(RangeTooLarge, match="answers with 25 logs at most"):
        cut.logs(QUERY, BlockRange(5, 9))
    assert cut.requests["eth_getLogs"] == before + 1


def test_a_range_whose_halves_are_cut_too_is_told_as_too_large(cut: RpcSource) -> None:
    with pytest.raises(RangeTooLarge):
        cut.logs(QUERY, BlockRange(1, 20))


def test_halves_that_hold_less_than_the_whole_are_refused(busy: SimulatedNode) -> None:
    busy.faults.truncate_at = None
    source = RpcSource(busy.url, max_batch=1)
    busy.at(3, lambda: setattr(busy.faults, "truncate_at", 24))
    with pytest.raises(AnswerRefused, match="gave 100 logs for blocks 1 to 10, and 48 for the two halves"):
        source.logs(QUERY, BlockRange(1, 10))
    source.close()


@pytest.mark.parametrize("by_hash", [False, True])
def test_a_block_of_a_round_count_is_compared_with_its_receipts(
    cut: RpcSource, busy: SimulatedNode, *, by_hash: bool
) -> None:
    for _ in range(30):
        busy.chain.emit(ALICE, [TOPIC])
    busy.chain.mine()
    where = busy.chain.head() if by_hash else BlockRange(21, 21)
    assert cut.logs(QUERY, where) == Answer(busy.chain.logs_in(21, 21), busy.chain.head(), "receipts")
    with pytest.raises(RangeTooLarge, match="answers with 25 logs at most"):
        cut.logs(QUERY, BlockRange(1, 20))
    assert cut.requests["eth_getLogs"] == 2 + (not by_hash)


def test_a_block_that_is_cut_and_has_no_receipts_is_an_error(cut: RpcSource, busy: SimulatedNode) -> None:
    cut.logs(QUERY, BlockRange(1, 4))
    busy.faults.no_receipts = busy.faults.no_transaction_receipts = True
    for _ in range(30):
        busy.chain.emit(ALICE, [TOPIC])
    busy.chain.mine()
    with pytest.raises(SourceError, match="no method left to read block 21 by"):
        cut.logs(QUERY, busy.chain.head())


def test_a_block_of_a_round_count_without_receipts_is_believed_where_no_cap_was_seen(
    cut: RpcSource, busy: SimulatedNode
) -> None:
    busy.faults.truncate_at = None
    busy.faults.no_receipts = busy.faults.no_transaction_receipts = True
    for _ in range(25):
        busy.chain.emit(ALICE, [TOPIC])
    busy.chain.mine()
    assert len(cut.logs(QUERY, busy.chain.head()).logs) == 25


@pytest.mark.parametrize("cap", [100, 256, 1_000])
def test_a_window_brings_every_log_home_from_a_node_that_cuts_answers(cap: int) -> None:
    chain = SimulatedChain(seed=cap)
    for number in range(300):
        for _ in range(1 + number % 13):
            chain.emit(ALICE, [TOPIC])
        chain.mine()
    with SimulatedNode(chain, faults=Faults(truncate_at=cap)) as node:
        source = RpcSource(node.url)
        window, first, logs = Window(), 0, []
        while first <= 300:
            asked = window.take(first, 300)
            try:
                answer = source.logs(QUERY, asked)
            except RangeTooLarge as error:
                window = window.refused(asked, error)
                continue
            logs += check(QUERY, asked, answer).logs
            window = window.answered(asked, logs=len(answer.logs))
            first = asked.last + 1
        source.close()
    assert logs == chain.logs_in(0, 300)
