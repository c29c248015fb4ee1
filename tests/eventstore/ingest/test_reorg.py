"""What a new header means: every case of the pure decision, typed in a line."""

from __future__ import annotations

from eventstore.ingest.reorg import Extend, Halt, Older, Rewind, Wait, decide
from tests.blocks import header

KNOWN = [header(number) for number in range(5, 11)]


def test_the_first_header_ever_extends_nothing() -> None:
    assert decide([], [header(7)]) == Extend((header(7),))


def test_a_child_of_the_tip_extends_it() -> None:
    assert decide(KNOWN, [header(11)]) == Extend((header(11),))


def test_a_branch_that_overlaps_extends_by_what_is_new() -> None:
    assert decide(KNOWN, [header(9), header(10), header(11)]) == Extend((header(11),))


def test_the_known_tip_again_is_nothing_new() -> None:
    assert decide(KNOWN, [header(10)]) == Wait()


def test_a_lower_head_of_the_known_chain_is_a_node_that_lags_not_a_reorg() -> None:
    assert decide(KNOWN, [header(7)]) == Wait()


def test_another_block_at_the_height_of_the_tip_rewinds_below_it() -> None:
    assert decide(KNOWN, [header(10, "b", parent="a")]) == Rewind(9)


def test_a_competing_chain_rewinds_to_the_newest_block_both_share() -> None:
    branch = [header(8, "b", parent="a"), header(9, "b"), header(10, "b"), header(11, "b")]
    assert decide(KNOWN, branch) == Rewind(7)


def test_a_shorter_competing_chain_is_a_reorg_as_well() -> None:
    assert decide(KNOWN, [header(8, "b", parent="a")]) == Rewind(7)


def test_a_head_without_a_known_parent_asks_for_older_headers() -> None:
    assert decide(KNOWN, [header(11, "b")]) == Older(10)
    assert decide(KNOWN, [header(10, "b"), header(11, "b")]) == Older(9)


def test_a_branch_that_leaves_the_known_headers_behind_asks_below_them() -> None:
    assert decide(KNOWN, [header(n, "b") for n in range(5, 12)]) == Older(4)


def test_a_chain_that_shares_not_even_the_first_block_shares_nothing() -> None:
    known = [header(0), header(1)]
    assert decide(known, [header(0, "b"), header(1, "b")]) == Rewind(-1)


def test_headers_that_form_no_chain_halt() -> None:
    assert isinstance(decide(KNOWN, [header(10), header(11, "b")]), Halt)
