"""Answers: what is believed, what is refused, and that the refusal names the log."""

from __future__ import annotations

import ast
import inspect
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from eventstore.errors import AnswerRefused, BlockUnknown
from eventstore.ingest.ingestor import Ingestor
from eventstore.journal.history import Question, ask
from eventstore.journal.journal import Journal
from eventstore.records import Answer, BlockRange, Filter, Header, Log, Query, Watch
from eventstore.sources import checks
from eventstore.sources.checks import ROUND, CheckedAnswer, check, check_headers, joined
from eventstore.sources.failover.source import FailoverSource
from eventstore.sources.rpc.source import RpcSource
from eventstore.sources.simulated.chain import Emission, SimulatedChain
from eventstore.sources.simulated.node import Faults, SimulatedNode
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from tests.blocks import ALICE, BOB, TOPIC, header, log

ROOT = Path(__file__).resolve().parents[3]
QUERY = Query((ALICE,))
RANGE = BlockRange(5, 9)


def answered(*logs: Log) -> list[Log]:
    return check(QUERY, RANGE, Answer(list(logs), header(9))).logs


def test_an_answer_that_agrees_with_the_question_is_believed() -> None:
    assert answered(log(5), log(9, 1)) == [log(5), log(9, 1)]


def test_an_empty_answer_is_believed() -> None:
    assert answered() == []


def test_logs_come_back_in_chain_order() -> None:
    assert answered(log(7, 1), log(5, 3), log(7, 0)) == [log(5, 3), log(7, 0), log(7, 1)]


@pytest.mark.parametrize("block", [4, 10])
def test_a_log_outside_of_the_range_is_refused(block: int) -> None:
    with pytest.raises(AnswerRefused, match=f"Log 2 of block {block} lies outside"):
        answered(log(6), log(block, 2))


def test_a_log_of_another_address_is_refused() -> None:
    with pytest.raises(AnswerRefused, match="Log 0 of block 6 comes from 0xb0b0"):
        answered(log(6, address=BOB))


def test_a_log_of_another_first_topic_is_refused() -> None:
    query = Query((ALICE,), (bytes(32),))
    with pytest.raises(AnswerRefused, match="Log 0 of block 6 has another topic0"):
        check(query, RANGE, Answer([log(6)], header(9)))


def test_a_log_without_topics_is_refused_where_topics_were_asked_for() -> None:
    with pytest.raises(AnswerRefused, match="another topic0"):
        check(Query((ALICE,), (TOPIC,)), RANGE, Answer([log(6, topics=())], header(9)))


def test_two_hashes_for_one_block_are_refused() -> None:
    with pytest.raises(AnswerRefused, match="Log 1 of block 6 carries the block hash"):
        answered(log(6), log(6, 1, branch="b"))


def test_a_last_block_of_another_hash_than_its_logs_is_refused() -> None:
    with pytest.raises(AnswerRefused, match="Log 0 of block 9 carries the block hash"):
        answered(log(9, branch="b"))


def test_a_log_given_twice_is_refused() -> None:
    with pytest.raises(AnswerRefused, match=r"Log 0 of block 6 was given twice\."):
        answered(log(6), log(6))


def test_two_payloads_under_one_index_are_refused() -> None:
    """Some nodes restart the index inside a block; dropping one of the two would lose an event."""
    with pytest.raises(AnswerRefused, match="twice, with two different payloads"):
        answered(log(6, data=b"a"), log(6, data=b"b"))


def test_the_header_of_another_block_is_refused() -> None:
    with pytest.raises(AnswerRefused, match="header of block 9 was asked for"):
        check(QUERY, RANGE, Answer([], header(8)))


def test_a_block_asked_for_by_header_is_believed() -> None:
    assert check(QUERY, header(6), Answer([log(6)], header(6))).logs == [log(6)]


def test_another_block_of_the_same_number_is_refused() -> None:
    with pytest.raises(AnswerRefused, match=r"Block 6 .* was asked for, block 6 .* came"):
        check(QUERY, header(6), Answer([], header(6, "b")))


def test_a_log_of_another_block_is_refused_by_header() -> None:
    with pytest.raises(AnswerRefused, match="Log 0 of block 7 lies outside"):
        check(QUERY, header(6), Answer([log(7)], header(6)))


def test_a_log_of_the_same_number_and_another_hash_is_refused_by_header() -> None:
    with pytest.raises(AnswerRefused, match="Log 0 of block 6 carries the block hash"):
        check(QUERY, header(6), Answer([log(6, branch="b")], header(6)))


def test_a_refusal_may_be_tried_again() -> None:
    assert AnswerRefused.retry


def test_headers_that_agree_with_the_logs_are_believed() -> None:
    check_headers([5, 6], [header(5), header(6)], [log(5), log(6), log(6, 1)])


def test_a_missing_header_is_unknown_where_its_block_holds_logs() -> None:
    with pytest.raises(BlockUnknown, match="Block 6 holds logs"):
        check_headers([5, 6], [header(5), None], [log(6)])


def test_a_missing_header_does_not_matter_where_its_block_holds_no_logs() -> None:
    check_headers([5, 6], [header(5), None], [log(5)])


def test_a_header_that_was_not_asked_for_is_unknown_to_its_logs() -> None:
    with pytest.raises(BlockUnknown):
        check_headers([5], [header(5)], [log(6)])


def test_a_header_of_another_hash_than_its_logs_is_refused() -> None:
    with pytest.raises(AnswerRefused, match="Log 0 of block 6 carries"):
        check_headers([6], [header(6, "b")], [log(6)])


def test_a_header_of_another_number_is_refused() -> None:
    with pytest.raises(AnswerRefused, match="block 6 was asked for, that of 7 came"):
        check_headers([6], [replace(header(6), number=7)], [])


def test_fewer_headers_than_numbers_are_refused() -> None:
    with pytest.raises(AnswerRefused, match="2 headers were asked for, 1 came"):
        check_headers([5, 6], [header(5)], [])


@pytest.mark.parametrize(
    "count", [25, 100, 250, 256, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000]
)
def test_counts_that_nodes_cut_answers_at_are_round(count: int) -> None:
    assert count in ROUND


@pytest.mark.parametrize("count", [0, 1, 2, 5, 10, 20, 24, 99, 101, 999, 9_999, 10_001])
def test_counts_that_happen_by_themselves_are_not(count: int) -> None:
    assert count not in ROUND


# --- an answer is checked once ---


def test_an_answer_that_was_checked_for_this_question_is_the_same_answer() -> None:
    found = check(QUERY, RANGE, Answer([log(7), log(5)], header(9)))
    assert check(Query((ALICE,)), BlockRange(5, 9), found) is found


def test_an_answer_says_the_same_before_and_after_its_check() -> None:
    answer = Answer([log(5), log(7)], header(9))
    assert check(QUERY, RANGE, answer) == answer
    assert answer == check(QUERY, RANGE, answer)
    assert check(QUERY, RANGE, answer) != Answer([log(5)], header(9))
    assert check(QUERY, RANGE, answer) != Answer([log(5), log(7)], header(9), "bloom")


@pytest.mark.parametrize(
    ("query", "where"), [(Query((BOB,)), RANGE), (QUERY, BlockRange(6, 9)), (QUERY, header(9))]
)
def test_an_answer_that_was_checked_for_another_question_is_checked_again(
    query: Query, where: BlockRange | Header
) -> None:
    with pytest.raises(AnswerRefused):
        check(query, where, check(QUERY, RANGE, Answer([log(5)], header(9))))


def part(first: int, last: int, *logs: Log, query: Query = QUERY) -> CheckedAnswer:
    return check(query, BlockRange(first, last), Answer(list(logs), header(last)))


def test_the_answers_for_the_parts_of_a_range_are_one_for_the_range() -> None:
    whole = joined(QUERY, RANGE, [part(5, 6, log(5)), part(7, 7), part(8, 9, log(9), log(8))])
    assert whole.logs == [log(5), log(8), log(9)]
    assert whole.last == header(9)
    assert check(QUERY, RANGE, whole) is whole


@pytest.mark.parametrize(
    "parts",
    [
        [part(5, 6), part(8, 9)],
        [part(5, 7), part(7, 9)],
        [part(7, 9), part(5, 6)],
        [part(5, 8)],
        [part(5, 6), part(7, 9, query=Query((ALICE, BOB)))],
    ],
)
def test_what_are_not_the_parts_of_a_range_is_no_answer_for_it(parts: list[CheckedAnswer]) -> None:
    with pytest.raises(ValueError, match="parts of"):
        joined(QUERY, RANGE, parts)


@pytest.mark.parametrize("endpoints", [1, 2])
def test_every_log_passes_the_checks_once_on_its_way_to_the_journal(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch, endpoints: int
) -> None:
    seen: Counter[tuple[int, int]] = Counter()
    whole = checks._agree

    def counting(logs: Sequence[Log], *question: Any) -> bool:
        seen.update((item.block_number, item.log_index) for item in logs)
        return whole(logs, *question)

    monkeypatch.setattr(checks, "_agree", counting)
    chain = SimulatedChain()
    for number in range(40):
        chain.mine(logs=[Emission(ALICE, (TOPIC,), bytes([number, at])) for at in range(3)])
    chain.finalize(30)
    with ExitStack() as stack:
        faults = [Faults(range_cap=7), Faults()][-endpoints:]  # of two the first takes a range in pieces
        nodes = [stack.enter_context(SimulatedNode(chain, faults=item)) for item in faults]
        sources = [RpcSource(node.url) for node in nodes]
        source = sources[0] if endpoints == 1 else FailoverSource(sources)
        stack.callback(source.close)
        lease = Lease(sqlite_store, "ingest:31337").acquire()
        ingestor = Ingestor(sqlite_store, source, lease, chain_id=31_337, watches=[Watch(Filter(ALICE))])
        stack.callback(ingestor.close)
        ingestor.open()
        while not ingestor.step().idle:
            pass
    with sqlite_store.read() as tx:
        held = list(ask(tx, 31_337, Question()))
    assert len(held) == 120
    assert seen == Counter((item.log.block_number, item.log.log_index) for item in held)


MAKERS = {
    "eventstore/sources/checks.py": {"CheckedAnswer", "CheckedLogs"},
    "eventstore/proof/repair.py": {"CheckedLogs"},
    "projections/testing/river.py": {"CheckedLogs"},
}
"""Which modules may say that logs were checked: the checks; a repair, of receipts that prove themselves; the
kit, which makes its events itself."""


def test_no_other_module_says_that_logs_were_checked() -> None:
    found: dict[str, set[str]] = {}
    for package in ("chainfold", "eventstore", "projections"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                name = getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""
                if name in ("CheckedAnswer", "CheckedLogs"):
                    found.setdefault(str(path.relative_to(ROOT)), set()).add(name)
    assert found == MAKERS


def test_the_journal_takes_checked_logs_only() -> None:
    assert inspect.signature(Journal.append).parameters["logs"].annotation == "CheckedLogs"
