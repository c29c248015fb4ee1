"""JSON-RPC to nodes that refuse, lag, lie and break, all over real HTTP."""

from __future__ import annotations

import logging
import socket
import traceback
from collections.abc import Iterator

import msgspec
import pytest

from eventstore.errors import (
    AnswerRefused,
    BlockUnknown,
    RangeTooLarge,
    SourceError,
    SourceUnavailable,
    Throttled,
)
from eventstore.ingest.window import Window
from eventstore.records import Answer, BlockRange, Header, Log, Query
from eventstore.sources.checks import check
from eventstore.sources.rpc.source import RpcSource
from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.node import Faults, SimulatedNode
from tests.blocks import ALICE, BOB, TOPIC

QUERY = Query((ALICE,), (TOPIC,))
RANGE = BlockRange(0, 10)
KEY = "s3cr3t-k3y-of-mine"


@pytest.fixture
def chain() -> SimulatedChain:
    """Ten blocks, each with one log of Alice's and one of Bob's."""
    chain = SimulatedChain()
    for _ in range(10):
        chain.emit(ALICE, [TOPIC])
        chain.emit(BOB, [TOPIC])
        chain.mine()
    return chain


@pytest.fixture
def node(chain: SimulatedChain) -> Iterator[SimulatedNode]:
    with SimulatedNode(chain) as node:
        yield node


@pytest.fixture
def source(node: SimulatedNode) -> Iterator[RpcSource]:
    source = RpcSource(node.url, timeout=5)
    yield source
    source.close()


def known(chain: SimulatedChain, number: int) -> Header:
    header = chain.header(number)
    assert header is not None
    return header


def all_logs(chain: SimulatedChain) -> list[Log]:
    return [log for log in chain.logs_in(0, 10) if log.address == ALICE]


# --- what it costs ---------------------------------------------------------------------------------


def test_a_range_and_its_last_header_are_one_request(node: SimulatedNode, source: RpcSource) -> None:
    source.logs(QUERY, RANGE)
    assert node.requests == 1


def test_calls_are_counted_by_method(source: RpcSource) -> None:
    source.logs(QUERY, RANGE)
    source.headers([1, 2, 3])
    assert source.requests == {"eth_getLogs": 1, "eth_getBlockByNumber": 4}


def test_headers_travel_in_batches_of_the_size_allowed(node: SimulatedNode) -> None:
    source = RpcSource(node.url, max_batch=4)
    source.headers(range(10))
    source.close()
    assert node.requests == 3


# --- batches ---------------------------------------------------------------------------------------


def test_a_batch_may_be_answered_in_any_order(node: SimulatedNode, source: RpcSource) -> None:
    node.faults.batch_reversed = True
    found = source.headers(range(11))
    assert [header and header.number for header in found] == list(range(11))


def test_a_batch_that_lacks_an_answer_is_refused(node: SimulatedNode, source: RpcSource) -> None:
    node.faults.batch_incomplete = True
    with pytest.raises(AnswerRefused, match="left eth_getLogs out"):
        source.logs(QUERY, RANGE)


def test_a_node_that_refuses_batches_is_asked_one_by_one(
    node: SimulatedNode, source: RpcSource, chain: SimulatedChain
) -> None:
    node.faults.batch_refused = True
    assert source.logs(QUERY, RANGE).logs == all_logs(chain)


def test_that_a_node_refuses_batches_is_remembered(node: SimulatedNode, source: RpcSource) -> None:
    node.faults.batch_refused = True
    source.logs(QUERY, RANGE)
    before = node.requests
    source.logs(QUERY, RANGE)
    assert node.requests == before + 2


def test_a_node_that_takes_small_batches_gets_small_ones(node: SimulatedNode, source: RpcSource) -> None:
    node.faults.batch_cap = 4
    assert None not in source.headers(range(11))
    before = node.requests
    source.headers(range(8))
    assert node.requests <= before + 4


def test_one_by_one_the_last_header_is_asked_for_before_the_logs(node: SimulatedNode) -> None:
    """So the node knew the block when it looked for logs; the other way round, it may not have."""
    source = RpcSource(node.url, max_batch=1)
    source.logs(QUERY, RANGE)
    source.close()
    assert list(source.requests) == ["eth_getBlockByNumber", "eth_getLogs"]


# --- refusals --------------------------------------------------------------------------------------


def test_a_range_that_is_too_wide_is_told_with_its_limit(node: SimulatedNode, source: RpcSource) -> None:
    node.faults.range_cap = 5
    with pytest.raises(RangeTooLarge) as caught:
        source.logs(QUERY, RANGE)
    assert caught.value.limit == 5


def test_too_many_results_are_told_without_a_limit(node: SimulatedNode, source: RpcSource) -> None:
    node.faults.result_cap = 5
    with pytest.raises(RangeTooLarge) as caught:
        source.logs(QUERY, RANGE)
    assert caught.value.limit is None


@pytest.mark.parametrize("faults", [Faults(range_cap=3), Faults(result_cap=3)])
def test_a_window_brings_every_log_home_whatever_is_capped(chain: SimulatedChain, faults: Faults) -> None:
    with SimulatedNode(chain, faults=faults) as node:
        source = RpcSource(node.url)
        window, first, logs = Window(), 0, []
        while first <= 10:
            asked = window.take(first, 10)
            try:
                answer = source.logs(QUERY, asked)
            except SourceError as error:
                window = window.refused(asked, error)
                continue
            logs += check(QUERY, asked, answer).logs
            window = window.answered(asked, logs=len(answer.logs))
            first = asked.last + 1
        source.close()
    assert logs == all_logs(chain)


def test_throttling_is_told_with_the_seconds_to_wait(node: SimulatedNode, source: RpcSource) -> None:
    node.faults.throttled = 7
    with pytest.raises(Throttled) as caught:
        source.head()
    assert caught.value.after == 7


def test_a_node_that_is_down_is_unavailable(node: SimulatedNode, source: RpcSource) -> None:
    node.faults.down = True
    with pytest.raises(SourceUnavailable, match="503"):
        source.logs(QUERY, RANGE)


def test_an_answer_cut_short_is_unavailable(node: SimulatedNode, source: RpcSource) -> None:
    node.faults.garbage_json = True
    with pytest.raises(SourceUnavailable, match="not JSON-RPC"):
        source.logs(QUERY, RANGE)


def test_a_slow_answer_is_unavailable_after_the_timeout(node: SimulatedNode) -> None:
    node.faults.latency = 0.5
    source = RpcSource(node.url, timeout=0.1)
    with pytest.raises(SourceUnavailable, match=r"within 0\.1 seconds"):
        source.head()
    source.close()


def test_an_address_where_nobody_listens_is_unavailable() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    source = RpcSource(f"http://127.0.0.1:{port}")
    with pytest.raises(SourceUnavailable, match="cannot be reached"):
        source.identity()
    source.close()


def test_an_address_that_is_none_is_unavailable() -> None:
    source = RpcSource("not a url at all")
    with pytest.raises(SourceUnavailable):
        source.head()
    source.close()


def test_a_node_that_comes_back_is_used_again(node: SimulatedNode, source: RpcSource) -> None:
    node.faults.down = True
    with pytest.raises(SourceUnavailable):
        source.head()
    node.faults.down = False
    assert source.head().number == 10


def test_the_vendors_exception_is_kept_as_the_cause() -> None:
    source = RpcSource("http://127.0.0.1:1")
    with pytest.raises(SourceUnavailable) as caught:
        source.head()
    source.close()
    assert type(caught.value.__cause__).__name__ == "ConnectionError"


# --- what is not believed --------------------------------------------------------------------------


def test_a_node_that_lags_does_not_know_the_range(node: SimulatedNode, source: RpcSource) -> None:
    node.faults.lag = 1
    with pytest.raises(BlockUnknown, match="does not have block 10"):
        source.logs(QUERY, RANGE)


def test_a_null_block_is_unknown(node: SimulatedNode, source: RpcSource) -> None:
    node.faults.null_block = 10
    with pytest.raises(BlockUnknown):
        source.logs(QUERY, RANGE)


def test_an_empty_block_whose_bloom_disagrees_is_read_from_its_receipts(
    node: SimulatedNode, source: RpcSource, chain: SimulatedChain
) -> None:
    node.faults.empty_blocks = True
    assert source.logs(QUERY, known(chain, 4)).logs == [chain.logs_in(4, 4)[0]]


def test_an_empty_block_whose_bloom_agrees_needs_no_receipts(
    source: RpcSource, chain: SimulatedChain
) -> None:
    chain.mine()
    source.logs(QUERY, chain.head())
    assert "eth_getBlockReceipts" not in source.requests


def test_what_a_block_holds_is_checked_by_its_receipts_one_by_one_where_it_must_be(
    node: SimulatedNode, source: RpcSource, chain: SimulatedChain
) -> None:
    node.faults.empty_blocks = node.faults.no_receipts = True
    answer = source.logs(QUERY, known(chain, 4))
    assert answer == Answer([chain.logs_in(4, 4)[0]], known(chain, 4), "receipts")


def test_without_any_receipts_an_empty_block_is_accepted_and_that_is_said(
    node: SimulatedNode, source: RpcSource, chain: SimulatedChain
) -> None:
    node.faults.empty_blocks = node.faults.no_receipts = node.faults.no_transaction_receipts = True
    assert source.logs(QUERY, known(chain, 4)) == Answer([], known(chain, 4), "linked")


def test_an_empty_block_whose_bloom_rules_logs_out_is_checked_by_it(
    source: RpcSource, chain: SimulatedChain
) -> None:
    query = Query((bytes([0xC0]) * 20,))
    assert source.logs(query, known(chain, 4)).completeness == "bloom"


def test_an_empty_block_whose_bloom_is_wrong_for_it_is_checked_by_its_receipts(
    node: SimulatedNode, source: RpcSource, chain: SimulatedChain
) -> None:
    node.faults.full_bloom = True
    answer = source.logs(Query((bytes([0xC0]) * 20,)), known(chain, 4))
    assert (answer.logs, answer.completeness) == ([], "receipts")


def test_a_zero_bloom_over_transactions_proves_nothing(
    node: SimulatedNode, source: RpcSource, chain: SimulatedChain
) -> None:
    """Some chains keep no blooms, and give zeros for all of them."""
    node.faults.empty_blocks = node.faults.zero_bloom = True
    assert source.logs(QUERY, known(chain, 4)).completeness == "linked"


def test_a_zero_bloom_over_no_transactions_rules_logs_out(source: RpcSource, chain: SimulatedChain) -> None:
    chain.mine()
    assert source.logs(QUERY, chain.head()).completeness == "bloom"


def test_logs_that_a_node_tells_are_checked_by_their_links_only(
    source: RpcSource, chain: SimulatedChain
) -> None:
    assert source.logs(QUERY, known(chain, 4)).completeness == "linked"
    assert source.logs(QUERY, RANGE).completeness == "linked"


@pytest.mark.parametrize("fault", ["receipts_partial", "receipts_reordered"])
def test_receipts_that_cannot_be_all_or_in_order_are_refused(
    node: SimulatedNode, source: RpcSource, chain: SimulatedChain, fault: str
) -> None:
    node.faults.empty_blocks = True
    setattr(node.faults, fault, True)
    with pytest.raises(AnswerRefused, match=r"The receipts of block 4 (lack|hold)"):
        source.logs(QUERY, known(chain, 4))


@pytest.mark.parametrize("one_by_one", [False, True])
def test_receipts_that_the_node_has_not_make_the_block_unknown(
    node: SimulatedNode, source: RpcSource, chain: SimulatedChain, *, one_by_one: bool
) -> None:
    node.faults.empty_blocks = node.faults.receipts_null = True
    node.faults.no_receipts = one_by_one
    with pytest.raises(BlockUnknown, match="has the header, but not the receipt"):
        source.logs(QUERY, known(chain, 4))


def test_a_node_without_receipts_is_asked_for_them_once(
    node: SimulatedNode, source: RpcSource, chain: SimulatedChain
) -> None:
    node.faults.empty_blocks = node.faults.no_receipts = node.faults.no_transaction_receipts = True
    source.logs(QUERY, known(chain, 4))
    before = source.requests.total()
    source.logs(QUERY, known(chain, 5))
    assert source.requests.total() == before + 2


def test_without_a_bloom_an_empty_block_is_accepted(
    node: SimulatedNode, source: RpcSource, chain: SimulatedChain
) -> None:
    node.faults.empty_blocks = node.faults.no_bloom = True
    assert source.logs(QUERY, known(chain, 4)).logs == []


def test_a_header_without_a_bloom_has_none(node: SimulatedNode, source: RpcSource) -> None:
    node.faults.no_bloom = True
    assert source.head().bloom is None


TOO_LARGE = [Faults(block_refused=True), Faults(one_block_cap=0), Faults(logs_refused=True)]


@pytest.mark.parametrize("faults", [*TOO_LARGE, Faults(no_logs_method=True)])
@pytest.mark.parametrize("one_by_one", [False, True])
def test_a_block_that_get_logs_does_not_give_is_read_from_its_receipts(
    chain: SimulatedChain, faults: Faults, *, one_by_one: bool
) -> None:
    with SimulatedNode(chain, faults=msgspec.structs.replace(faults, no_receipts=one_by_one)) as node:
        source = RpcSource(node.url)
        answer = source.logs(QUERY, known(chain, 4))
        source.close()
    assert answer == Answer([chain.logs_in(4, 4)[0]], known(chain, 4), "receipts")


@pytest.mark.parametrize("faults", [Faults(one_block_cap=0), Faults(logs_refused=True)])
def test_a_range_of_one_block_that_is_too_large_is_read_by_its_hash_and_receipts(
    chain: SimulatedChain, faults: Faults
) -> None:
    with SimulatedNode(chain, faults=faults) as node:
        source = RpcSource(node.url)
        answer = source.logs(QUERY, BlockRange(4, 4))
        source.close()
    assert answer == Answer([chain.logs_in(4, 4)[0]], known(chain, 4), "receipts")


@pytest.mark.parametrize("faults", TOO_LARGE)
def test_a_block_that_no_method_gives_is_an_error_with_its_number(
    chain: SimulatedChain, faults: Faults
) -> None:
    faults = msgspec.structs.replace(faults, no_receipts=True, no_transaction_receipts=True)
    with SimulatedNode(chain, faults=faults) as node:
        source = RpcSource(node.url)
        with pytest.raises(SourceError, match="no method left to read block 4 by") as caught:
            source.logs(QUERY, known(chain, 4))
        source.close()
    assert not caught.value.retry


def test_a_range_of_several_blocks_that_is_too_large_is_told(node: SimulatedNode, source: RpcSource) -> None:
    node.faults.logs_refused = True
    with pytest.raises(RangeTooLarge):
        source.logs(QUERY, BlockRange(4, 5))


def test_removed_logs_are_refused(node: SimulatedNode, source: RpcSource) -> None:
    node.faults.removed_logs = True
    with pytest.raises(AnswerRefused, match="removed"):
        source.logs(QUERY, RANGE)


def test_pending_logs_are_refused(node: SimulatedNode, source: RpcSource) -> None:
    node.faults.pending_logs = True
    with pytest.raises(AnswerRefused, match="pending"):
        source.logs(QUERY, RANGE)


def test_two_logs_of_one_index_do_not_pass_the_check(
    node: SimulatedNode, source: RpcSource, chain: SimulatedChain
) -> None:
    chain.mine(logs=chain.logs_in(1, 1)[:1] * 2)
    node.faults.duplicate_log_index = True
    where = BlockRange(11, 11)
    with pytest.raises(AnswerRefused, match="twice"):
        check(QUERY, where, source.logs(QUERY, where))


def test_another_chain_shows_in_the_identity(node: SimulatedNode, source: RpcSource) -> None:
    node.faults.wrong_chain = 1
    assert source.identity().chain_id == 1


# --- secrets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:1/v2/{key}",
        "http://127.0.0.1:1/?apikey={key}",
        "http://user:{key}@127.0.0.1:1",
        "http://nowhere.invalid/v3/{key}?a={key}",
        "nonsense://127.0.0.1/{key}",
        "http://127.0.0.1:70000/{key}",
    ],
)
def test_the_key_in_an_address_is_in_no_traceback(address: str) -> None:
    source = RpcSource(address.format(key=KEY), timeout=2)
    with pytest.raises(SourceUnavailable) as caught:
        source.head()
    source.close()
    assert KEY not in "".join(traceback.format_exception(caught.value))


def test_the_key_is_not_shown_where_the_node_repeats_it(node: SimulatedNode) -> None:
    node.faults.range_cap = 1
    node.faults.range_cap_text = f"key {KEY} may ask for a block range of one"
    source = RpcSource(f"{node.url}/v2/{KEY}")
    with pytest.raises(RangeTooLarge) as caught:
        source.logs(QUERY, RANGE)
    source.close()
    assert "key ... may ask" in str(caught.value)
    assert KEY not in "".join(traceback.format_exception(caught.value))


def test_the_key_is_not_in_the_name() -> None:
    source = RpcSource(f"https://rpc.example/v2/{KEY}")
    assert repr(source) == "RpcSource('https://rpc.example/...')"
    source.close()


def test_an_error_names_the_node(node: SimulatedNode, source: RpcSource) -> None:
    node.faults.range_cap = 1
    with pytest.raises(RangeTooLarge, match=node.url):
        source.logs(QUERY, RANGE)


def test_the_key_is_not_logged_by_us_or_web3(node: SimulatedNode, caplog: pytest.LogCaptureFixture) -> None:
    source = RpcSource(f"{node.url}/v2/{KEY}")
    with caplog.at_level(logging.INFO):
        source.head()
    source.close()
    assert KEY not in caplog.text
