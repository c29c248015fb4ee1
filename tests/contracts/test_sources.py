"""What every source promises, over each of them: simulated, JSON-RPC to it and to a real node, several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Protocol

import pytest

from eventstore.errors import BlockUnknown
from eventstore.proof import bloom
from eventstore.records import BlockRange, Header, Query
from eventstore.sources import Source
from eventstore.sources.checks import check, check_headers
from eventstore.sources.failover.source import FailoverSource
from eventstore.sources.rpc.source import RpcSource
from eventstore.sources.simulated.chain import SimulatedChain, SimulatedSource
from eventstore.sources.simulated.node import Faults, SimulatedNode
from tests.servers.anvil import SLOTS_IN_AN_EPOCH, Anvil

SHOP = bytes([0xA1]) * 20
BANK = bytes([0xB2]) * 20
SOLD = bytes([0x50]) * 32
PAID = bytes([0x60]) * 32
USER = bytes(12) + bytes([0x77]) * 20
BOTH = Query((SHOP, BANK))


class Stage(Protocol):
    """A chain that a test can script, and the source under test that reads it."""

    source: Source

    def emit(self, address: bytes, topics: Sequence[bytes], data: bytes = b"") -> None: ...

    def mine(self, n: int = 1) -> None: ...

    def reorg(self, depth: int) -> None:
        """Replaces the last `depth` blocks by as many empty ones."""

    def settle(self) -> None:
        """Makes the blocks that exist final."""


class SimulatedStage:
    def __init__(self, source: Source, chain: SimulatedChain) -> None:
        self.source = source
        self.emit = chain.emit
        self.mine = chain.mine
        self._chain = chain

    def reorg(self, depth: int) -> None:
        self._chain.reorg(depth)

    def settle(self) -> None:
        self._chain.finalize(self._chain.head().number)


class AnvilStage:
    """Emits by hand-made contracts: code that logs its call data, the topics first."""

    def __init__(self, source: Source, anvil: Anvil) -> None:
        self.source = source
        self._anvil = anvil
        self._sender = anvil.rpc("eth_accounts")[0]

    def emit(self, address: bytes, topics: Sequence[bytes], data: bytes = b"") -> None:
        self._anvil.rpc("anvil_setCode", "0x" + address.hex(), "0x" + _logging(len(topics)).hex())
        self._anvil.rpc(
            "eth_sendTransaction",
            {
                "from": self._sender,
                "to": "0x" + address.hex(),
                "data": "0x" + (b"".join(topics) + data).hex(),
                "gas": hex(200_000),
            },
        )

    def mine(self, n: int = 1) -> None:
        self._anvil.mine(n)

    def reorg(self, depth: int) -> None:
        self._anvil.reorg(depth)

    def settle(self) -> None:
        self._anvil.mine(2 * SLOTS_IN_AN_EPOCH)


def _logging(topics: int) -> bytes:
    """EVM code: LOG with so many topics, which the call data begins with; the rest of it is data."""
    size = bytes([0x60, 32 * topics, 0x36, 0x03])  # CALLDATASIZE - 32 * topics
    copy = size + bytes([0x60, 32 * topics, 0x60, 0x00, 0x37])  # CALLDATACOPY(0, 32 * topics, size)
    load = b"".join(bytes([0x60, 32 * place, 0x35]) for place in reversed(range(topics)))
    return copy + load + size + bytes([0x60, 0x00, 0xA0 + topics, 0x00])  # LOGn(0, size, ...), STOP


@pytest.fixture(
    params=[
        "simulated",
        "rpc-to-simulated",
        pytest.param("rpc-to-anvil", marks=pytest.mark.server),
        "failover",
    ]
)
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    with ExitStack() as stack:
        if request.param == "rpc-to-anvil":
            anvil: Anvil = request.getfixturevalue("anvil")
            source = RpcSource(anvil.url)
            stack.callback(source.close)
            yield AnvilStage(source, anvil)
            return
        chain = SimulatedChain()
        if request.param == "simulated":
            yield SimulatedStage(SimulatedSource(chain), chain)
            return
        node = stack.enter_context(SimulatedNode(chain))
        source = RpcSource(node.url)
        if request.param == "failover":
            narrow = stack.enter_context(SimulatedNode(chain, faults=Faults(range_cap=3)))
            several = FailoverSource([RpcSource(narrow.url), source])
            stack.callback(several.close)
            yield SimulatedStage(several, chain)
            return
        stack.callback(source.close)
        yield SimulatedStage(source, chain)


def header_of(stage: Stage, number: int) -> Header:
    header = stage.source.headers([number])[0]
    assert header is not None
    return header


def test_the_identity_is_the_chain_id_and_the_hash_of_block_0(stage: Stage) -> None:
    identity = stage.source.identity()
    assert identity.chain_id == 31_337
    assert identity.genesis == header_of(stage, 0).hash


def test_the_identity_stays_when_the_chain_grows(stage: Stage) -> None:
    before = stage.source.identity()
    stage.mine(3)
    assert stage.source.identity() == before


def test_the_head_is_the_newest_block(stage: Stage) -> None:
    stage.mine(3)
    assert stage.source.head() == header_of(stage, 3)


def test_every_header_names_the_hash_of_the_one_before(stage: Stage) -> None:
    stage.mine(4)
    headers = [header_of(stage, number) for number in range(5)]
    assert [above.parent_hash for above in headers[1:]] == [below.hash for below in headers[:-1]]


def test_timestamps_never_fall(stage: Stage) -> None:
    stage.mine(3)
    times = [header_of(stage, number).timestamp for number in range(1, 4)]
    assert times == sorted(times)


def test_headers_come_in_the_order_asked(stage: Stage) -> None:
    stage.mine(4)
    assert [header and header.number for header in stage.source.headers([3, 1, 4])] == [3, 1, 4]


def test_the_header_of_a_block_that_is_not_there_is_none(stage: Stage) -> None:
    stage.mine(2)
    found = stage.source.headers([1, 99])
    assert found[0] is not None
    assert found[1] is None


def test_no_numbers_give_no_headers(stage: Stage) -> None:
    assert stage.source.headers([]) == []


def test_more_headers_than_a_batch_holds_all_come(stage: Stage) -> None:
    stage.mine(250)
    found = stage.source.headers(range(251))
    assert [header and header.number for header in found] == list(range(251))


def test_what_is_finalized_is_on_the_chain_and_not_above_the_head(stage: Stage) -> None:
    stage.mine(5)
    stage.settle()
    final = stage.source.finalized()
    assert final is not None
    assert final.number >= 5
    assert final == header_of(stage, final.number)


def test_a_log_comes_with_its_whole_payload(stage: Stage) -> None:
    stage.emit(SHOP, [SOLD, USER], b"three apples")
    stage.mine()
    [log] = stage.source.logs(BOTH, BlockRange(0, 1)).logs
    assert (log.address, log.topics, log.data) == (SHOP, (SOLD, USER), b"three apples")


def test_a_log_comes_with_its_place(stage: Stage) -> None:
    stage.emit(SHOP, [SOLD])
    stage.emit(BANK, [PAID])
    stage.mine()
    logs = stage.source.logs(BOTH, BlockRange(0, 1)).logs
    assert [(log.block_number, log.log_index, log.tx_index) for log in logs] == [
        (1, 0, 0),
        (1, 1, 1),
    ]
    assert {log.block_hash for log in logs} == {header_of(stage, 1).hash}
    assert len({log.tx_hash for log in logs}) == 2


@pytest.mark.parametrize("topics", range(5))
def test_a_log_may_have_any_number_of_topics(stage: Stage, topics: int) -> None:
    stage.emit(SHOP, [SOLD, USER, PAID, USER][:topics], b"x")
    stage.mine()
    [log] = stage.source.logs(BOTH, BlockRange(1, 1)).logs
    assert log.topics == (SOLD, USER, PAID, USER)[:topics]


def test_logs_ascend_by_block_and_index(stage: Stage) -> None:
    for _ in range(3):
        stage.emit(SHOP, [SOLD])
        stage.emit(BANK, [PAID])
        stage.mine(2)
    places = [(log.block_number, log.log_index) for log in stage.source.logs(BOTH, BlockRange(0, 6)).logs]
    assert places == [(1, 0), (1, 1), (3, 0), (3, 1), (5, 0), (5, 1)]


def test_only_logs_of_the_addresses_asked_for_come(stage: Stage) -> None:
    stage.emit(SHOP, [SOLD])
    stage.emit(BANK, [SOLD])
    stage.mine()
    logs = stage.source.logs(Query((BANK,)), BlockRange(0, 1)).logs
    assert [log.address for log in logs] == [BANK]


def test_only_logs_of_the_first_topics_asked_for_come(stage: Stage) -> None:
    stage.emit(SHOP, [SOLD, PAID])
    stage.emit(SHOP, [PAID, SOLD])
    stage.mine()
    logs = stage.source.logs(Query((SHOP,), (PAID,)), BlockRange(0, 1)).logs
    assert [log.topics for log in logs] == [(PAID, SOLD)]


def test_a_log_without_topics_matches_no_first_topic(stage: Stage) -> None:
    stage.emit(SHOP, [])
    stage.mine()
    assert stage.source.logs(Query((SHOP,), (SOLD,)), BlockRange(0, 1)).logs == []


def test_several_first_topics_are_alternatives(stage: Stage) -> None:
    stage.emit(SHOP, [SOLD])
    stage.emit(SHOP, [PAID])
    stage.emit(SHOP, [USER])
    stage.mine()
    logs = stage.source.logs(Query((SHOP,), (SOLD, USER)), BlockRange(0, 1)).logs
    assert [log.topics for log in logs] == [(SOLD,), (USER,)]


def test_both_ends_of_a_range_belong_to_it(stage: Stage) -> None:
    for _ in range(4):
        stage.emit(SHOP, [SOLD])
        stage.mine()
    logs = stage.source.logs(BOTH, BlockRange(2, 3)).logs
    assert [log.block_number for log in logs] == [2, 3]


def test_a_range_comes_with_the_header_of_its_last_block(stage: Stage) -> None:
    stage.mine(4)
    assert stage.source.logs(BOTH, BlockRange(1, 3)).last == header_of(stage, 3)


def test_a_range_that_ends_above_the_head_is_refused(stage: Stage) -> None:
    stage.mine(2)
    with pytest.raises(BlockUnknown):
        stage.source.logs(BOTH, BlockRange(1, 3))


def test_a_range_far_above_the_head_is_refused(stage: Stage) -> None:
    with pytest.raises(BlockUnknown):
        stage.source.logs(BOTH, BlockRange(90, 99))


def test_a_block_gives_the_same_logs_by_header_as_by_range(stage: Stage) -> None:
    stage.emit(SHOP, [SOLD])
    stage.emit(BANK, [PAID])
    stage.mine(2)
    header = header_of(stage, 1)
    by_header = stage.source.logs(BOTH, header)
    assert by_header == stage.source.logs(BOTH, BlockRange(1, 1))
    assert len(by_header.logs) == 2


def test_a_block_without_logs_gives_none_by_header(stage: Stage) -> None:
    stage.mine()
    header = header_of(stage, 1)
    answer = stage.source.logs(BOTH, header)
    assert (answer.logs, answer.last) == ([], header)


def test_a_header_that_the_source_does_not_have_is_refused(stage: Stage) -> None:
    stage.mine()
    with pytest.raises(BlockUnknown):
        stage.source.logs(BOTH, Header(1, bytes([0xEE]) * 32, bytes(32), 0))


def test_an_orphaned_header_is_refused(stage: Stage) -> None:
    stage.emit(SHOP, [SOLD])
    stage.mine()
    orphaned = header_of(stage, 1)
    stage.reorg(1)
    with pytest.raises(BlockUnknown):
        stage.source.logs(BOTH, orphaned)


def test_after_a_reorg_other_headers_stand_on_the_same_ancestor(stage: Stage) -> None:
    stage.mine(4)
    before = [header_of(stage, number) for number in range(5)]
    stage.reorg(2)
    after = [header_of(stage, number) for number in range(5)]
    assert after[:3] == before[:3]
    assert [new.hash != old.hash for new, old in zip(after, before, strict=True)][3:] == [True] * 2
    assert after[3].parent_hash == before[2].hash


def test_after_a_reorg_the_logs_of_the_orphaned_blocks_are_gone(stage: Stage) -> None:
    for _ in range(3):
        stage.emit(SHOP, [SOLD])
        stage.mine()
    stage.reorg(2)
    logs = stage.source.logs(BOTH, BlockRange(0, 3)).logs
    assert [log.block_number for log in logs] == [1]


def test_the_bloom_of_a_header_admits_the_logs_of_its_block(stage: Stage) -> None:
    stage.emit(SHOP, [SOLD, USER])
    stage.mine()
    header = header_of(stage, 1)
    assert header.bloom == bloom.make(stage.source.logs(BOTH, header).logs)


def test_answers_pass_the_checks_that_nothing_enters_the_journal_without(stage: Stage) -> None:
    for _ in range(5):
        stage.emit(SHOP, [SOLD])
        stage.emit(BANK, [PAID], b"1")
        stage.mine()
    where = BlockRange(1, 5)
    logs = check(BOTH, where, stage.source.logs(BOTH, where))
    numbers = [1, 2, 3, 4, 5]
    check_headers(numbers, stage.source.headers(numbers), logs)
    assert len(logs) == 10


def test_several_threads_may_ask_at_once(stage: Stage) -> None:
    for _ in range(8):
        stage.emit(SHOP, [SOLD])
        stage.mine()
    with ThreadPoolExecutor(8) as threads:
        answers = threads.map(lambda number: stage.source.logs(BOTH, BlockRange(number, number)), range(1, 9))
        assert [log.block_number for answer in answers for log in answer.logs] == list(range(1, 9))
