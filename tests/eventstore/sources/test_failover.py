"""Several endpoints as one source: lagging, throttled, down, lying, of another chain, and back again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from eventstore.errors import (
    AnswerRefused,
    BlockUnknown,
    RangeTooLarge,
    SourceError,
    SourceUnavailable,
    Throttled,
    WrongChain,
)
from eventstore.ingest.window import Window
from eventstore.records import BlockRange, Header, Log, Query
from eventstore.sources.failover.endpoint import EndpointStatus
from eventstore.sources.failover.source import FailoverSource
from eventstore.sources.rpc.source import RpcSource
from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.node import Faults, SimulatedNode
from tests.blocks import ALICE, TOPIC

QUERY = Query((ALICE,), (TOPIC,))
HEAD = 60
ALL = BlockRange(0, HEAD)
KEY = "s3cr3t-k3y-of-mine"


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += seconds


class Cast:
    """Nodes of one chain, and the source over them, in whose order the first is preferred."""

    def __init__(self, stack: ExitStack, chain: SimulatedChain, faults: tuple[Faults, ...]) -> None:
        self.chain = chain
        self.clock = Clock()
        self.nodes = [stack.enter_context(SimulatedNode(chain, faults=item)) for item in faults]
        self.endpoints = [RpcSource(f"{node.url}/v2/{KEY}", timeout=5) for node in self.nodes]
        self.source = FailoverSource(self.endpoints, chain_id=chain.chain_id, clock=self.clock)
        stack.callback(self.source.close)

    def used(self) -> int:
        """Which of the nodes is in use, 0 being the preferred."""
        return [status.state for status in self.source.status()].index("in use")

    def status(self, place: int) -> EndpointStatus:
        return self.source.status()[place]

    def asks(self, act: Callable[[], object]) -> list[bool]:
        """Which of the nodes are asked something by `act`."""
        before = [node.requests for node in self.nodes]
        act()
        return [node.requests > was for node, was in zip(self.nodes, before, strict=True)]


Casting = Callable[..., Cast]


@pytest.fixture
def chain() -> SimulatedChain:
    """Sixty blocks, each with one log of Alice's; 40 are final."""
    chain = SimulatedChain()
    for _ in range(HEAD):
        chain.emit(ALICE, [TOPIC])
        chain.mine()
    chain.finalize(40)
    return chain


@pytest.fixture
def cast(chain: SimulatedChain) -> Iterator[Casting]:
    with ExitStack() as stack:
        yield lambda *faults: Cast(stack, chain, faults)


def known(chain: SimulatedChain, number: int) -> Header:
    header = chain.header(number)
    assert header is not None
    return header


def all_logs(source: FailoverSource, last: int) -> list[Log]:
    """What a window brings home, block ranges and refusals as they come."""
    window, first, logs = Window(size=7), 0, []
    while first <= last:
        asked = window.take(first, last)
        try:
            answer = source.logs(QUERY, asked)
        except SourceError as error:
            window = window.refused(asked, error)
            continue
        logs += answer.logs
        window = window.answered(asked, logs=len(answer.logs))
        first = asked.last + 1
    return logs


# --- the sentence of the issue ---------------------------------------------------------------------


@pytest.mark.parametrize("good", range(4))
def test_one_good_endpoint_among_bad_ones_is_enough(cast: Casting, chain: SimulatedChain, good: int) -> None:
    bad = [Faults(lag=20), Faults(wrong_chain=5), Faults(throttled=30)]
    cast_ = cast(*bad[:good], Faults(), *bad[good:])
    assert cast_.source.head() == chain.head()
    assert all_logs(cast_.source, HEAD) == chain.logs_in(0, HEAD)
    assert "refused" in [status.state for status in cast_.source.status()]


def test_the_good_endpoint_bears_the_load_and_the_others_a_look(cast: Casting) -> None:
    cast_ = cast(Faults(lag=20), Faults(wrong_chain=5), Faults(throttled=30), Faults())
    cast_.source.head()
    all_logs(cast_.source, HEAD)
    assert [node.requests for node in cast_.nodes[:3]] == [2, 1, 1]


def test_a_throttled_endpoint_that_is_free_again_brings_what_the_lagging_one_lacked(
    cast: Casting, chain: SimulatedChain
) -> None:
    cast_ = cast(Faults(lag=20), Faults(wrong_chain=5), Faults(throttled=3))
    assert cast_.source.head().number == HEAD - 20
    assert all_logs(cast_.source, HEAD - 20) == chain.logs_in(0, HEAD - 20)
    cast_.nodes[2].faults.throttled = None
    cast_.clock.forward(3)
    assert cast_.source.head().number == HEAD
    assert all_logs(cast_.source, HEAD) == chain.logs_in(0, HEAD)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_fails_by_chance_all_logs_come_home_once(chain: SimulatedChain, seed: int) -> None:
    """Endpoints that fail, cap, lag and answer from several nodes at once."""
    clock = Clock()
    faults = [
        Faults(flaky=0.3, range_cap=3),
        Faults(flaky=0.3, backends=(0, 3, 30)),
        Faults(flaky=0.3, result_cap=5, null_block=17),
    ]
    with ExitStack() as stack:
        nodes = [stack.enter_context(SimulatedNode(chain, faults=item, seed=seed)) for item in faults]
        source = FailoverSource([RpcSource(node.url) for node in nodes], clock=clock)
        stack.callback(source.close)
        heads, logs, first = [], [], 0
        while first <= HEAD:
            clock.forward(3)
            try:
                heads.append(source.head().number)
                asked = BlockRange(first, min(HEAD, first + 4))
                logs += source.logs(QUERY, asked).logs
            except SourceError as error:
                assert error.retry
                continue
            first = asked.last + 1
    assert logs == chain.logs_in(0, HEAD)
    assert heads == sorted(heads)


# --- who is asked ----------------------------------------------------------------------------------


def test_the_preferred_endpoint_is_asked_while_it_is_well(cast: Casting) -> None:
    cast_ = cast(Faults(), Faults())
    cast_.source.head()
    assert cast_.asks(lambda: all_logs(cast_.source, HEAD)) == [True, False]


def test_the_next_endpoint_answers_for_one_that_is_down(cast: Casting, chain: SimulatedChain) -> None:
    cast_ = cast(Faults(), Faults())
    cast_.source.head()
    cast_.nodes[0].faults.down = True
    assert cast_.source.logs(QUERY, ALL).logs == chain.logs_in(0, HEAD)
    assert cast_.used() == 1


def test_one_that_failed_is_left_alone_for_a_while(cast: Casting) -> None:
    cast_ = cast(Faults(down=True), Faults())
    cast_.source.head()
    assert cast_.asks(cast_.source.head) == [False, True]


def test_the_preferred_endpoint_is_returned_to_after_its_pause(cast: Casting) -> None:
    cast_ = cast(Faults(down=True), Faults())
    cast_.source.head()
    cast_.nodes[0].faults.down = False
    cast_.clock.forward(2)
    cast_.source.logs(QUERY, ALL)
    assert cast_.used() == 0


def test_one_that_comes_and_goes_is_tried_less_and_less(cast: Casting) -> None:
    cast_ = cast(Faults(down=True), Faults())
    tried = 0
    for _ in range(60):
        tried += cast_.asks(cast_.source.head)[0]
        cast_.clock.forward(1)
    assert tried == 6  # after 0, 1, 3, 7, 15 and 31 seconds


def test_one_that_asks_for_patience_is_left_alone_for_that_long(cast: Casting) -> None:
    cast_ = cast(Faults(throttled=40), Faults())
    cast_.source.head()
    cast_.clock.forward(39)
    assert cast_.asks(cast_.source.head) == [False, True]
    cast_.clock.forward(1)
    assert cast_.asks(cast_.source.head) == [True, True]


def test_an_endpoint_whose_answers_fail_the_checks_is_left(cast: Casting, chain: SimulatedChain) -> None:
    cast_ = cast(Faults(stray_log=True), Faults())
    assert cast_.source.logs(QUERY, BlockRange(5, 9)).logs == chain.logs_in(5, 9)
    assert cast_.used() == 1
    assert cast_.status(0).errors == {"AnswerRefused": 1}


def test_where_all_pause_the_one_that_is_back_first_is_asked(cast: Casting) -> None:
    cast_ = cast(Faults(throttled=40), Faults(down=True), Faults(throttled=50))
    with pytest.raises(SourceUnavailable):
        cast_.source.head()
    cast_.nodes[1].faults.down = False
    assert cast_.source.head().number == HEAD


def test_where_all_ask_for_patience_nobody_is_asked(cast: Casting) -> None:
    cast_ = cast(Faults(throttled=40), Faults(throttled=30))
    with pytest.raises(Throttled):
        cast_.source.head()
    cast_.clock.forward(10)
    with pytest.raises(Throttled) as caught:
        assert cast_.asks(cast_.source.head) == [False, False]
    assert caught.value.after == 20


def test_one_endpoint_alone_is_asked_again_at_once_after_a_failure(cast: Casting) -> None:
    cast_ = cast(Faults(down=True))
    with pytest.raises(SourceUnavailable):
        cast_.source.head()
    cast_.nodes[0].faults.down = False
    assert cast_.source.head().number == HEAD


# --- heads -----------------------------------------------------------------------------------------


def test_a_lagging_endpoint_is_not_followed_though_it_is_preferred(cast: Casting) -> None:
    cast_ = cast(Faults(lag=20), Faults())
    assert cast_.source.head().number == HEAD
    assert cast_.status(0).state == "lagging"


def test_an_endpoint_a_few_blocks_behind_stays_preferred(cast: Casting) -> None:
    cast_ = cast(Faults(lag=2), Faults())
    assert cast_.source.head().number == HEAD - 2


def test_a_lagging_endpoint_that_has_caught_up_is_preferred_again(cast: Casting) -> None:
    cast_ = cast(Faults(lag=20), Faults())
    cast_.source.head()
    cast_.nodes[0].faults.lag = 0
    cast_.clock.forward(15)
    cast_.source.head()
    assert cast_.used() == 0


def test_an_endpoint_below_the_head_that_was_shown_is_not_taken_up_before_it_is_there(cast: Casting) -> None:
    cast_ = cast(Faults(down=True), Faults())
    cast_.source.head()
    cast_.nodes[0].faults.down, cast_.nodes[0].faults.lag = False, 2
    cast_.clock.forward(15)
    assert cast_.source.head().number == HEAD
    assert cast_.used() == 1


def test_the_head_does_not_fall_because_only_a_lagging_endpoint_is_left(cast: Casting) -> None:
    cast_ = cast(Faults(), Faults(lag=20))
    cast_.source.head()
    cast_.nodes[0].faults.down = True
    with pytest.raises(SourceError, match=f"head is block {HEAD - 20}, block {HEAD} was seen"):
        cast_.source.head()


def test_a_lagging_endpoint_still_answers_for_what_it_has(cast: Casting, chain: SimulatedChain) -> None:
    cast_ = cast(Faults(), Faults(lag=20))
    cast_.source.head()
    cast_.nodes[0].faults.down = True
    assert cast_.source.logs(QUERY, BlockRange(1, 30)).logs == chain.logs_in(1, 30)


def test_a_lagging_endpoint_does_not_answer_for_what_it_has_not(cast: Casting) -> None:
    cast_ = cast(Faults(), Faults(lag=20))
    cast_.source.head()
    cast_.nodes[0].faults.down = True
    with pytest.raises(SourceError, match=f"does not have block {HEAD}"):
        cast_.source.logs(QUERY, ALL)


def test_an_endpoint_that_begins_to_sync_anew_does_not_make_the_head_fall(cast: Casting) -> None:
    cast_ = cast(Faults(), Faults())
    cast_.source.head()
    cast_.nodes[0].faults.lag = 50
    assert cast_.source.head().number == HEAD


def test_a_chain_that_is_shorter_everywhere_is_shown_as_it_is(cast: Casting, chain: SimulatedChain) -> None:
    cast_ = cast(Faults(), Faults())
    cast_.source.head()
    chain.reorg(10, logs=[[]] * 3)
    assert cast_.source.head() == chain.head()
    assert cast_.source.head().number == HEAD - 7


def test_a_head_does_not_fall_on_the_word_of_one_while_others_cannot_be_asked(cast: Casting) -> None:
    """Behind its address there may be several nodes, and the next answer come from one that lags."""
    cast_ = cast(Faults(), Faults())
    cast_.source.head()
    cast_.nodes[0].faults.lag, cast_.nodes[1].faults.down = 3, True
    with pytest.raises(SourceError):
        cast_.source.head()
    with pytest.raises(SourceError):
        cast_.source.head()


def test_a_chain_that_is_shorter_at_the_only_endpoint_is_shown_as_it_is(
    cast: Casting, chain: SimulatedChain
) -> None:
    cast_ = cast(Faults())
    cast_.source.head()
    chain.reorg(10, logs=[[]] * 3)
    assert cast_.source.head().number == HEAD - 7


def test_a_head_that_nobody_shows_any_more_is_forgotten_with_time(cast: Casting) -> None:
    cast_ = cast(Faults(), Faults(lag=20))
    cast_.source.head()
    cast_.nodes[0].faults.down = True
    cast_.clock.forward(601)
    assert cast_.source.head().number == HEAD - 20


def test_a_slow_endpoint_does_not_hold_up_the_look_at_all(cast: Casting, chain: SimulatedChain) -> None:
    """Its answer would come after five seconds as a timeout; the look is over before."""
    cast_ = cast(Faults(), Faults(latency=4.5))
    assert cast_.source.head() == chain.head()
    assert cast_.status(1).head is None


# --- blocks that one lacks -------------------------------------------------------------------------


def test_a_block_that_one_lacks_is_asked_of_another(cast: Casting, chain: SimulatedChain) -> None:
    cast_ = cast(Faults(null_block=9), Faults())
    assert cast_.source.logs(QUERY, known(chain, 9)).logs == chain.logs_in(9, 9)
    assert cast_.source.headers([8, 9]) == [known(chain, 8), known(chain, 9)]
    assert cast_.used() == 0


def test_headers_above_the_head_are_none(cast: Casting, chain: SimulatedChain) -> None:
    cast_ = cast(Faults(), Faults())
    cast_.source.head()
    assert cast_.source.headers([HEAD, HEAD + 1]) == [chain.head(), None]


def test_a_header_that_nobody_has_is_none(cast: Casting) -> None:
    cast_ = cast(Faults(null_block=9), Faults(null_block=9))
    assert cast_.source.headers([9]) == [None]


def test_a_block_that_nobody_has_is_unknown(cast: Casting) -> None:
    cast_ = cast(Faults(), Faults())
    with pytest.raises(BlockUnknown):
        cast_.source.logs(QUERY, BlockRange(0, HEAD + 1))


# --- other chains ----------------------------------------------------------------------------------


def test_an_endpoint_of_another_chain_is_refused_with_both_ids(cast: Casting) -> None:
    cast_ = cast(Faults(), Faults(wrong_chain=5))
    cast_.source.identity()
    assert cast_.status(1).state == "refused"
    assert "serves chain 5, not chain 31337" in cast_.status(1).reason


def test_an_endpoint_of_another_chain_is_refused_for_good(cast: Casting) -> None:
    cast_ = cast(Faults(wrong_chain=5), Faults())
    cast_.source.head()
    cast_.clock.forward(100_000)
    assert cast_.asks(cast_.source.head) == [False, True]


def test_an_endpoint_with_another_first_block_is_refused(cast: Casting) -> None:
    cast_ = cast(Faults(), Faults(wrong_genesis=True))
    cast_.source.identity()
    assert cast_.status(1).state == "refused"
    assert "begins with block 0x" in cast_.status(1).reason


def test_the_first_block_expected_may_be_told(chain: SimulatedChain) -> None:
    with SimulatedNode(chain, faults=Faults(wrong_genesis=True)) as other, SimulatedNode(chain) as node:
        endpoints = [RpcSource(other.url), RpcSource(node.url)]
        source = FailoverSource(endpoints, genesis=known(chain, 0).hash)
        assert source.identity().genesis == known(chain, 0).hash
        source.close()


def test_an_endpoint_that_moved_to_another_chain_in_its_pause_is_refused(cast: Casting) -> None:
    cast_ = cast(Faults(), Faults())
    cast_.source.head()
    cast_.nodes[0].faults.down = True
    cast_.source.head()
    cast_.nodes[0].faults.down, cast_.nodes[0].faults.wrong_chain = False, 5
    cast_.clock.forward(60)
    assert cast_.source.head().number == HEAD
    assert cast_.status(0).state == "refused"


def test_an_endpoint_that_moved_to_another_chain_while_another_was_in_use_is_refused(cast: Casting) -> None:
    cast_ = cast(Faults(), Faults())
    cast_.source.head()
    cast_.nodes[0].faults.lag = 20
    cast_.clock.forward(15)
    cast_.source.head()
    cast_.nodes[0].faults.lag, cast_.nodes[0].faults.wrong_chain = 0, 5
    cast_.clock.forward(15)
    cast_.source.head()
    assert cast_.status(0).state == "refused"


def test_the_only_endpoint_must_show_its_chain_again_after_an_outage(cast: Casting) -> None:
    cast_ = cast(Faults())
    cast_.source.head()
    cast_.nodes[0].faults.down = True
    with pytest.raises(SourceUnavailable):
        cast_.source.head()
    cast_.nodes[0].faults.down, cast_.nodes[0].faults.wrong_chain = False, 5
    with pytest.raises(WrongChain, match="No endpoint is left"):
        cast_.source.head()


def test_where_all_are_of_other_chains_that_is_the_error(cast: Casting) -> None:
    cast_ = cast(Faults(wrong_chain=5), Faults(wrong_chain=6))
    with pytest.raises(WrongChain, match=r"chain 5, not chain 31337.*chain 6, not chain 31337"):
        cast_.source.identity()


# --- ranges ----------------------------------------------------------------------------------------


def test_a_range_wider_than_one_endpoint_takes_is_asked_for_in_pieces(
    cast: Casting, chain: SimulatedChain
) -> None:
    cast_ = cast(Faults(range_cap=7), Faults())
    answer = cast_.source.logs(QUERY, ALL)
    assert answer.logs == chain.logs_in(0, HEAD)
    assert answer.last == chain.head()
    assert cast_.used() == 0


def test_a_cap_in_blocks_is_remembered_for_the_endpoint_that_has_it(cast: Casting) -> None:
    cast_ = cast(Faults(range_cap=7), Faults())
    cast_.source.logs(QUERY, ALL)
    assert (cast_.status(0).cap, cast_.status(1).cap) == (7, None)


def test_a_range_that_would_be_too_many_pieces_is_refused_with_what_would_do(cast: Casting) -> None:
    cast_ = cast(Faults(range_cap=2), Faults())
    with pytest.raises(RangeTooLarge) as caught:
        cast_.source.logs(QUERY, ALL)
    assert caught.value.suggestion == (0, 31)
    assert caught.value.limit is None


def test_the_cap_of_the_only_endpoint_is_for_the_caller_to_know(cast: Casting) -> None:
    with pytest.raises(RangeTooLarge) as caught:
        cast(Faults(range_cap=7)).source.logs(QUERY, ALL)
    assert caught.value.limit == 7


def test_too_many_results_are_for_the_caller_to_know(cast: Casting) -> None:
    cast_ = cast(Faults(result_cap=7), Faults())
    with pytest.raises(RangeTooLarge):
        assert cast_.asks(lambda: cast_.source.logs(QUERY, ALL)) == [True, False]
    assert cast_.used() == 0


def test_a_single_block_that_one_refuses_as_too_large_is_asked_of_another(
    cast: Casting, chain: SimulatedChain
) -> None:
    cast_ = cast(Faults(logs_refused=True, no_receipts=True, no_transaction_receipts=True), Faults())
    assert cast_.source.logs(QUERY, BlockRange(9, 9)).logs == chain.logs_in(9, 9)
    assert cast_.source.logs(QUERY, known(chain, 9)).logs == chain.logs_in(9, 9)


def test_a_wide_range_that_two_fail_at_is_not_tried_by_a_third(cast: Casting) -> None:
    """A failure without words may be one of width: the caller shall ask for less."""
    cast_ = cast(Faults(), Faults(), Faults())
    cast_.source.head()
    for node in cast_.nodes:
        node.faults.gateway_cap, node.faults.gateway_status = 5, 504
    with pytest.raises(SourceUnavailable):
        cast_.source.logs(QUERY, ALL)
    assert [status.state for status in cast_.source.status()] == ["paused", "paused", "ready"]


# --- errors, counts, threads -----------------------------------------------------------------------


def test_where_all_fail_the_error_is_the_preferred_ones_and_names_all(cast: Casting) -> None:
    cast_ = cast(Faults(garbage_json=True), Faults(throttled=5), Faults(wrong_chain=5))
    with pytest.raises(SourceUnavailable) as caught:
        cast_.source.identity()
    for node in cast_.nodes:
        assert node.url in str(caught.value)
    assert KEY not in str(caught.value)


def test_an_error_that_may_heal_goes_before_one_that_will_not(chain: SimulatedChain) -> None:
    """Else a wrong key at the first endpoint would end everything when the second pauses."""
    with SimulatedNode(chain, faults=Faults(down=True)) as node, SimulatedNode(chain) as closed:
        closed.faults.gateway_cap, closed.faults.gateway_status = 0, 401
        source = FailoverSource([RpcSource(closed.url), RpcSource(node.url)])
        with pytest.raises(SourceError, match=r"503.*401|401.*503") as caught:
            source.logs(QUERY, ALL)
        assert caught.value.retry
        source.close()


def test_calls_are_counted_over_all_endpoints(cast: Casting) -> None:
    cast_ = cast(Faults(lag=20), Faults())
    cast_.source.head()
    counts = [endpoint.requests for endpoint in cast_.endpoints]
    assert cast_.source.requests == counts[0] + counts[1]
    assert cast_.source.requests["eth_chainId"] == 2


def test_finality_is_that_of_the_endpoint_in_use(cast: Casting, chain: SimulatedChain) -> None:
    cast_ = cast(Faults(down=True), Faults())
    assert cast_.source.finalized() == known(chain, 40)


def test_an_outage_under_many_threads_is_one_failure(cast: Casting, chain: SimulatedChain) -> None:
    cast_ = cast(Faults(), Faults())
    cast_.source.head()
    cast_.nodes[0].faults.latency = 0.05
    cast_.nodes[0].faults.down = True
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda n: cast_.source.logs(QUERY, BlockRange(n, n)), range(1, 9)))
    assert [log for answer in answers for log in answer.logs] == chain.logs_in(1, 8)
    assert cast_.status(0).pause == 1


def test_many_threads_do_not_queue_up_to_ask_a_dead_endpoint_for_its_chain(cast: Casting) -> None:
    cast_ = cast(Faults(down=True, latency=0.2), Faults())
    source = FailoverSource(cast_.endpoints)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: source.logs(QUERY, BlockRange(n, n)), range(1, 9)))
    assert cast_.nodes[0].requests == 1


def test_no_endpoint_is_no_source() -> None:
    with pytest.raises(ValueError, match="at least one"):
        FailoverSource([])


def test_all_the_names_are_shown_and_no_key(cast: Casting) -> None:
    cast_ = cast(Faults(), Faults())
    assert repr(cast_.source).count("http://127.0.0.1") == 2
    assert KEY not in repr(cast_.source)


def test_a_lie_that_only_one_tells_is_not_told(cast: Casting) -> None:
    cast_ = cast(Faults(removed_logs=True), Faults(removed_logs=True))
    with pytest.raises(AnswerRefused):
        cast_.source.logs(QUERY, ALL)
