"""The suite that every source passes: `SourceContract`, to subclass with nothing but a constructor.

    class TestMySource(SourceContract):
        def make(self, chain: SimulatedChain) -> Source:
            return MySource(serve(chain))

pytest runs the inherited tests. A source that other processes or files feed overrides `show` as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from eventstore.errors import BlockUnknown
from eventstore.proof import bloom
from eventstore.records import BlockRange, Header, Query
from eventstore.sources import Source
from eventstore.sources.checks import check, check_headers
from eventstore.sources.simulated.chain import SimulatedChain
from projections.testing.contracts.script import ScriptedSource, SimulatedScript

SHOP = bytes([0xA1]) * 20
BANK = bytes([0xB2]) * 20
SOLD = bytes([0x50]) * 32
PAID = bytes([0x60]) * 32
USER = bytes(12) + bytes([0x77]) * 20
BOTH = Query((SHOP, BANK))


class SourceContract:
    """What the port `Source` promises, as tests. Override `make`, and `show` where the source needs it.

    The chain has the id 31337 and begins with one empty block. Each test has its own chain and source.
    """

    def make(self, chain: SimulatedChain) -> Source:
        """A new source that shows `chain` as it is now and, after `show`, as it will be."""
        raise NotImplementedError

    def show(self, chain: SimulatedChain) -> None:
        """Makes the last change of `chain` visible to the source. By default the source reads the chain."""

    def end(self, source: Source) -> None:
        """Releases what `make` opened. By default a source that can be closed is closed."""
        close = getattr(source, "close", None)
        if close is not None:
            close()

    @pytest.fixture
    def stage(self) -> Iterator[ScriptedSource]:
        """The chain and the source. Override it where the chain is not a simulated one."""
        chain = SimulatedChain()
        source = self.make(chain)
        try:
            yield SimulatedScript(source, chain, lambda: self.show(chain))
        finally:
            self.end(source)

    @staticmethod
    def header_of(stage: ScriptedSource, number: int) -> Header:
        header = stage.source.headers([number])[0]
        assert header is not None
        return header

    def test_the_identity_is_the_chain_id_and_the_hash_of_block_0(self, stage: ScriptedSource) -> None:
        identity = stage.source.identity()
        assert identity.chain_id == 31_337
        assert identity.genesis == self.header_of(stage, 0).hash

    def test_the_identity_stays_when_the_chain_grows(self, stage: ScriptedSource) -> None:
        before = stage.source.identity()
        stage.mine(3)
        assert stage.source.identity() == before

    def test_the_head_is_the_newest_block(self, stage: ScriptedSource) -> None:
        stage.mine(3)
        assert stage.source.head() == self.header_of(stage, 3)

    def test_every_header_names_the_hash_of_the_one_before(self, stage: ScriptedSource) -> None:
        stage.mine(4)
        headers = [self.header_of(stage, number) for number in range(5)]
        assert [above.parent_hash for above in headers[1:]] == [below.hash for below in headers[:-1]]

    def test_timestamps_never_fall(self, stage: ScriptedSource) -> None:
        stage.mine(3)
        times = [self.header_of(stage, number).timestamp for number in range(1, 4)]
        assert times == sorted(times)

    def test_headers_come_in_the_order_asked(self, stage: ScriptedSource) -> None:
        stage.mine(4)
        assert [header and header.number for header in stage.source.headers([3, 1, 4])] == [3, 1, 4]

    def test_the_header_of_a_block_that_is_not_there_is_none(self, stage: ScriptedSource) -> None:
        stage.mine(2)
        found = stage.source.headers([1, 99])
        assert found[0] is not None
        assert found[1] is None

    def test_no_numbers_give_no_headers(self, stage: ScriptedSource) -> None:
        assert stage.source.headers([]) == []

    def test_more_headers_than_a_batch_holds_all_come(self, stage: ScriptedSource) -> None:
        stage.mine(250)
        found = stage.source.headers(range(251))
        assert [header and header.number for header in found] == list(range(251))

    def test_what_is_finalized_is_on_the_chain_and_not_above_the_head(self, stage: ScriptedSource) -> None:
        stage.mine(5)
        stage.settle()
        final = stage.source.finalized()
        assert final is not None
        assert final.number >= 5
        assert final == self.header_of(stage, final.number)

    def test_a_log_comes_with_its_whole_payload(self, stage: ScriptedSource) -> None:
        stage.emit(SHOP, [SOLD, USER], b"three apples")
        stage.mine()
        [log] = stage.source.logs(BOTH, BlockRange(0, 1)).logs
        assert (log.address, log.topics, log.data) == (SHOP, (SOLD, USER), b"three apples")

    def test_a_log_comes_with_its_place(self, stage: ScriptedSource) -> None:
        stage.emit(SHOP, [SOLD])
        stage.emit(BANK, [PAID])
        stage.mine()
        logs = stage.source.logs(BOTH, BlockRange(0, 1)).logs
        assert [(log.block_number, log.log_index, log.tx_index) for log in logs] == [
            (1, 0, 0),
            (1, 1, 1),
        ]
        assert {log.block_hash for log in logs} == {self.header_of(stage, 1).hash}
        assert len({log.tx_hash for log in logs}) == 2

    @pytest.mark.parametrize("topics", range(5))
    def test_a_log_may_have_any_number_of_topics(self, stage: ScriptedSource, topics: int) -> None:
        stage.emit(SHOP, [SOLD, USER, PAID, USER][:topics], b"x")
        stage.mine()
        [log] = stage.source.logs(BOTH, BlockRange(1, 1)).logs
        assert log.topics == (SOLD, USER, PAID, USER)[:topics]

    def test_logs_ascend_by_block_and_index(self, stage: ScriptedSource) -> None:
        for _ in range(3):
            stage.emit(SHOP, [SOLD])
            stage.emit(BANK, [PAID])
            stage.mine(2)
        places = [(log.block_number, log.log_index) for log in stage.source.logs(BOTH, BlockRange(0, 6)).logs]
        assert places == [(1, 0), (1, 1), (3, 0), (3, 1), (5, 0), (5, 1)]

    def test_only_logs_of_the_addresses_asked_for_come(self, stage: ScriptedSource) -> None:
        stage.emit(SHOP, [SOLD])
        stage.emit(BANK, [SOLD])
        stage.mine()
        logs = stage.source.logs(Query((BANK,)), BlockRange(0, 1)).logs
        assert [log.address for log in logs] == [BANK]

    def test_only_logs_of_the_first_topics_asked_for_come(self, stage: ScriptedSource) -> None:
        stage.emit(SHOP, [SOLD, PAID])
        stage.emit(SHOP, [PAID, SOLD])
        stage.mine()
        logs = stage.source.logs(Query((SHOP,), (PAID,)), BlockRange(0, 1)).logs
        assert [log.topics for log in logs] == [(PAID, SOLD)]

    def test_a_log_without_topics_matches_no_first_topic(self, stage: ScriptedSource) -> None:
        stage.emit(SHOP, [])
        stage.mine()
        assert stage.source.logs(Query((SHOP,), (SOLD,)), BlockRange(0, 1)).logs == []

    def test_several_first_topics_are_alternatives(self, stage: ScriptedSource) -> None:
        stage.emit(SHOP, [SOLD])
        stage.emit(SHOP, [PAID])
        stage.emit(SHOP, [USER])
        stage.mine()
        logs = stage.source.logs(Query((SHOP,), (SOLD, USER)), BlockRange(0, 1)).logs
        assert [log.topics for log in logs] == [(SOLD,), (USER,)]

    def test_both_ends_of_a_range_belong_to_it(self, stage: ScriptedSource) -> None:
        for _ in range(4):
            stage.emit(SHOP, [SOLD])
            stage.mine()
        logs = stage.source.logs(BOTH, BlockRange(2, 3)).logs
        assert [log.block_number for log in logs] == [2, 3]

    def test_a_range_comes_with_the_header_of_its_last_block(self, stage: ScriptedSource) -> None:
        stage.mine(4)
        assert stage.source.logs(BOTH, BlockRange(1, 3)).last == self.header_of(stage, 3)

    def test_a_range_that_ends_above_the_head_is_refused(self, stage: ScriptedSource) -> None:
        stage.mine(2)
        with pytest.raises(BlockUnknown):
            stage.source.logs(BOTH, BlockRange(1, 3))

    def test_a_range_far_above_the_head_is_refused(self, stage: ScriptedSource) -> None:
        with pytest.raises(BlockUnknown):
            stage.source.logs(BOTH, BlockRange(90, 99))

    def test_a_block_gives_the_same_logs_by_header_as_by_range(self, stage: ScriptedSource) -> None:
        stage.emit(SHOP, [SOLD])
        stage.emit(BANK, [PAID])
        stage.mine(2)
        header = self.header_of(stage, 1)
        by_header = stage.source.logs(BOTH, header)
        assert by_header == stage.source.logs(BOTH, BlockRange(1, 1))
        assert len(by_header.logs) == 2

    def test_a_block_without_logs_gives_none_by_header(self, stage: ScriptedSource) -> None:
        stage.mine()
        header = self.header_of(stage, 1)
        answer = stage.source.logs(BOTH, header)
        assert (answer.logs, answer.last) == ([], header)

    def test_a_header_that_the_source_does_not_have_is_refused(self, stage: ScriptedSource) -> None:
        stage.mine()
        with pytest.raises(BlockUnknown):
            stage.source.logs(BOTH, Header(1, bytes([0xEE]) * 32, bytes(32), 0))

    def test_an_orphaned_header_is_refused(self, stage: ScriptedSource) -> None:
        stage.emit(SHOP, [SOLD])
        stage.mine()
        orphaned = self.header_of(stage, 1)
        stage.reorg(1)
        with pytest.raises(BlockUnknown):
            stage.source.logs(BOTH, orphaned)

    def test_after_a_reorg_other_headers_stand_on_the_same_ancestor(self, stage: ScriptedSource) -> None:
        stage.mine(4)
        before = [self.header_of(stage, number) for number in range(5)]
        stage.reorg(2)
        after = [self.header_of(stage, number) for number in range(5)]
        assert after[:3] == before[:3]
        assert [new.hash != old.hash for new, old in zip(after, before, strict=True)][3:] == [True] * 2
        assert after[3].parent_hash == before[2].hash

    def test_after_a_reorg_the_logs_of_the_orphaned_blocks_are_gone(self, stage: ScriptedSource) -> None:
        for _ in range(3):
            stage.emit(SHOP, [SOLD])
            stage.mine()
        stage.reorg(2)
        logs = stage.source.logs(BOTH, BlockRange(0, 3)).logs
        assert [log.block_number for log in logs] == [1]

    def test_the_bloom_of_a_header_admits_the_logs_of_its_block(self, stage: ScriptedSource) -> None:
        stage.emit(SHOP, [SOLD, USER])
        stage.mine()
        header = self.header_of(stage, 1)
        assert header.bloom == bloom.make(stage.source.logs(BOTH, header).logs)

    def test_answers_pass_the_checks_that_nothing_enters_the_journal_without(
        self, stage: ScriptedSource
    ) -> None:
        for _ in range(5):
            stage.emit(SHOP, [SOLD])
            stage.emit(BANK, [PAID], b"1")
            stage.mine()
        where = BlockRange(1, 5)
        logs = check(BOTH, where, stage.source.logs(BOTH, where)).logs
        numbers = [1, 2, 3, 4, 5]
        check_headers(numbers, stage.source.headers(numbers), logs)
        assert len(logs) == 10

    def test_several_threads_may_ask_at_once(self, stage: ScriptedSource) -> None:
        for _ in range(8):
            stage.emit(SHOP, [SOLD])
            stage.mine()
        with ThreadPoolExecutor(8) as threads:
            answers = threads.map(
                lambda number: stage.source.logs(BOTH, BlockRange(number, number)), range(1, 9)
            )
            assert [log.block_number for answer in answers for log in answer.logs] == list(range(1, 9))
