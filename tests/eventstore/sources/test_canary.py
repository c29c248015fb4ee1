"""Emptiness is believed from who still has what we know: pruned nodes, lost indexes, our own errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from msgspec.structs import replace

from eventstore.errors import AnswerRefused
from eventstore.records import BlockRange, Log, Query
from eventstore.sources.failover.source import FailoverSource
from eventstore.sources.rpc.canary import Canary
from eventstore.sources.rpc.source import RpcSource
from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.node import Faults, SimulatedNode
from tests.blocks import ALICE, BOB, TOPIC, log

QUERY = Query((ALICE,), (TOPIC,))
EMPTY = BlockRange(20, 30)
"""Nothing of Alice's is in these blocks."""


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def knowing(*logs: Log) -> Callable[[Query, BlockRange], Log | None]:
    """A journal that holds `logs`."""

    def known(query: Query, where: BlockRange) -> Log | None:
        found = [item for item in logs if query.matches(item) and item.block_number <= where.last]
        return max(found, key=lambda item: item.block_number, default=None)

    return known


# --- what is wanted --------------------------------------------------------------------------------


def test_the_log_that_is_known_is_wanted() -> None:
    assert Canary(knowing(log(5))).wanted(QUERY, EMPTY, era=0) == log(5)


def test_where_nothing_is_known_nothing_is_wanted() -> None:
    assert Canary(knowing()).wanted(QUERY, EMPTY, era=0) is None


def test_a_log_above_the_range_says_nothing_about_it() -> None:
    assert Canary(lambda _query, _where: log(31)).wanted(QUERY, EMPTY, era=0) is None


def test_what_was_shown_speaks_for_the_blocks_above_it_and_no_others() -> None:
    canary = Canary(knowing(log(3), log(5)))
    canary.shown(log(5), era=0)
    assert canary.wanted(QUERY, EMPTY, era=0) is None
    assert canary.wanted(QUERY, BlockRange(4, 4), era=0) == log(3)


def test_what_was_shown_is_good_for_a_while() -> None:
    clock = Clock()
    canary = Canary(knowing(log(5)), every=600, clock=clock)
    canary.shown(log(5), era=0)
    clock.now = 599
    assert canary.wanted(QUERY, EMPTY, era=0) is None
    clock.now = 600
    assert canary.wanted(QUERY, EMPTY, era=0) == log(5)


def test_what_was_shown_before_the_connection_was_lost_is_wanted_again() -> None:
    canary = Canary(knowing(log(5)))
    canary.shown(log(5), era=0)
    assert canary.wanted(QUERY, EMPTY, era=1) == log(5)


# --- what a node makes of it -----------------------------------------------------------------------


@pytest.fixture
def chain() -> SimulatedChain:
    """Ten blocks with one log of Alice's each, then thirty with one of Bob's."""
    chain = SimulatedChain()
    for number in range(40):
        chain.emit(ALICE if number < 10 else BOB, [TOPIC])
        chain.mine()
    return chain


@pytest.fixture
def node(chain: SimulatedChain) -> Iterator[SimulatedNode]:
    with SimulatedNode(chain) as node:
        yield node


@pytest.fixture
def source(node: SimulatedNode, chain: SimulatedChain) -> Iterator[RpcSource]:
    source = RpcSource(node.url, timeout=5, canary=Canary(knowing(*chain.logs_in(0, 40))))
    yield source
    source.close()


def test_a_node_that_has_what_we_know_is_believed(source: RpcSource) -> None:
    assert source.logs(QUERY, EMPTY).logs == []


def test_it_is_asked_for_it_once(source: RpcSource) -> None:
    source.logs(QUERY, BlockRange(11, 15))
    source.logs(QUERY, BlockRange(16, 40))
    assert source.requests["eth_getLogs"] == 3


def test_it_is_asked_again_after_it_could_not_be_reached(node: SimulatedNode, source: RpcSource) -> None:
    source.logs(QUERY, EMPTY)
    with node.refusing_connections(), pytest.raises(Exception, match="cannot be reached"):
        source.head()
    node.faults.empty_below = 11
    with pytest.raises(AnswerRefused):
        source.logs(QUERY, EMPTY)


def test_an_answer_with_logs_needs_no_witness(source: RpcSource) -> None:
    source.logs(QUERY, BlockRange(1, 40))
    assert source.requests["eth_getLogs"] == 1


def test_a_node_that_pruned_what_we_know_is_not_believed(node: SimulatedNode, source: RpcSource) -> None:
    node.faults.empty_below = 11
    with pytest.raises(AnswerRefused, match=r"pruned or lost block 10, .*that blocks 20 to 30 are empty"):
        source.logs(QUERY, EMPTY)


def test_a_node_that_lost_its_logs_but_has_the_receipts_is_not_believed(
    node: SimulatedNode, source: RpcSource
) -> None:
    node.faults.withheld, node.faults.receipts_honest = {(10, 0)}, True
    with pytest.raises(AnswerRefused, match="pruned or lost block 10"):
        source.logs(QUERY, EMPTY)


def test_a_node_that_cannot_disprove_what_we_know_is_not_believed(
    node: SimulatedNode, source: RpcSource
) -> None:
    node.faults.withheld = {(10, 0)}
    node.faults.no_bloom = node.faults.no_receipts = node.faults.no_transaction_receipts = True
    with pytest.raises(AnswerRefused, match="pruned or lost block 10"):
        source.logs(QUERY, EMPTY)


def test_a_range_that_holds_what_we_know_cannot_be_empty(node: SimulatedNode, source: RpcSource) -> None:
    """The node has the log, and gives it by itself, but not in this range."""
    node.faults.empty_near_head = 40
    node.at(2, lambda: setattr(node.faults, "empty_near_head", 0))
    with pytest.raises(AnswerRefused, match="gives it only sometimes"):
        source.logs(QUERY, BlockRange(5, 30))


def test_what_left_the_chain_is_no_witness_against_the_node(
    node: SimulatedNode, source: RpcSource, chain: SimulatedChain
) -> None:
    node.faults.no_bloom = True  # so that nothing else clears it
    chain.reorg(31, logs=[[]] * 31)
    assert source.logs(QUERY, EMPTY).logs == []


def test_a_log_of_ours_that_the_receipts_disprove_is_no_witness(
    node: SimulatedNode, chain: SimulatedChain
) -> None:
    """Else a log that another node made up could never be found to be false."""
    false = replace(chain.logs_in(15, 15)[0], address=ALICE, log_index=9)
    source = RpcSource(node.url, canary=Canary(knowing(false)))
    node.faults.full_bloom = True
    assert source.logs(QUERY, EMPTY).logs == []
    source.close()


def test_before_anything_is_known_a_node_is_believed(node: SimulatedNode) -> None:
    source = RpcSource(node.url, canary=Canary(knowing()))
    node.faults.empty_below = 11
    assert source.logs(QUERY, EMPTY).logs == []
    source.close()


def test_a_pruned_node_is_passed_over_where_there_are_several(chain: SimulatedChain) -> None:
    known = knowing(*chain.logs_in(0, 10))
    with SimulatedNode(chain, faults=Faults(empty_below=11)) as pruned, SimulatedNode(chain) as node:
        source = FailoverSource([RpcSource(each.url, canary=Canary(known)) for each in (pruned, node)])
        assert source.logs(QUERY, EMPTY).logs == []
        assert [status.state for status in source.status()] == ["paused", "in use"]
        source.close()
