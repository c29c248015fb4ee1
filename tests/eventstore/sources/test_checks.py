"""Answers: what is believed, what is refused, and that the refusal names the log."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from eventstore.errors import AnswerRefused, BlockUnknown
from eventstore.records import Answer, BlockRange, Log, Query
from eventstore.sources.checks import ROUND, check, check_headers
from tests.blocks import ALICE, BOB, TOPIC, header, log

QUERY = Query((ALICE,))
RANGE = BlockRange(5, 9)


def answered(*logs: Log) -> list[Log]:
    return check(QUERY, RANGE, Answer(list(logs), header(9)))


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
    assert check(QUERY, header(6), Answer([log(6)], header(6))) == [log(6)]


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
