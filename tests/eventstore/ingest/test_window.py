"""Windows: how wide to ask for next, after every answer and refusal of a node."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.errors import (
    BlockUnknown,
    RangeTooLarge,
    SourceError,
    SourceUnavailable,
    Throttled,
)
from eventstore.ingest.window import Window
from eventstore.records import BlockRange
from eventstore.sources.rpc.client import _seconds
from eventstore.sources.rpc.refusals import classify


def too_large(**kwargs: Any) -> RangeTooLarge:
    return RangeTooLarge("no", **kwargs)


def test_a_window_takes_no_more_than_is_there() -> None:
    assert Window(size=100).take(10, 50) == BlockRange(10, 50)


def test_a_window_takes_its_size() -> None:
    assert Window(size=100).take(10, 500) == BlockRange(10, 109)


def test_a_window_doubles_until_the_first_refusal() -> None:
    window = Window(size=100)
    for _ in range(3):
        window = window.answered(window.take(0, 10**9), logs=0)
    assert window.size == 800


def test_a_window_grows_by_an_eighth_of_where_a_refusal_left_it() -> None:
    window = Window(size=1600).refused(BlockRange(0, 1599), too_large())
    assert [window.size, window.answered(window.take(0, 9999), logs=0).size] == [800, 900]


def test_a_window_never_grows_past_its_most() -> None:
    window = Window(size=900, most=1000).answered(BlockRange(0, 899), logs=0)
    assert window.size == 1000


def test_an_answer_narrower_than_the_window_proves_nothing() -> None:
    assert Window(size=100).answered(BlockRange(0, 9), logs=0).size == 100


def test_a_window_does_not_grow_where_answers_are_full() -> None:
    assert Window(size=100, enough=50).answered(BlockRange(0, 99), logs=60).size == 100


def test_a_window_shrinks_where_answers_are_too_full() -> None:
    assert Window(size=100, enough=50).answered(BlockRange(0, 99), logs=101).size == 50


def test_a_refusal_without_numbers_halves() -> None:
    assert Window(size=100).refused(BlockRange(0, 99), too_large()).size == 50


def test_refusals_of_several_ranges_in_flight_halve_once() -> None:
    window = Window(size=100)
    for first in (0, 100, 200):
        window = window.refused(BlockRange(first, first + 99), too_large())
    assert window.size == 50


def test_a_cap_in_blocks_is_never_asked_past_again() -> None:
    window = Window(size=2000).refused(BlockRange(0, 1999), too_large(limit=500))
    for _ in range(20):
        window = window.answered(window.take(0, 10**9), logs=0)
    assert window.size == 500


def test_a_cap_that_is_refused_itself_was_one_too_many() -> None:
    """Some nodes count the blocks of a range, some the distance of its ends."""
    window = Window(size=2000).refused(BlockRange(0, 1999), too_large(limit=500))
    assert window.refused(window.take(0, 9999), too_large(limit=500)).size == 499


def test_a_cap_that_was_already_kept_is_not_believed_and_halves() -> None:
    assert Window(size=100).refused(BlockRange(0, 99), too_large(limit=500)).size == 50


def test_a_cap_in_results_is_outgrown_again() -> None:
    window = Window(size=1000).refused(BlockRange(0, 999), too_large())
    for _ in range(20):
        window = window.answered(window.take(0, 10**9), logs=0)
    assert window.size > 1000


def test_a_suggestion_that_is_narrower_is_taken() -> None:
    assert Window(size=1000).refused(BlockRange(0, 999), too_large(suggestion=(0, 299))).size == 300


@pytest.mark.parametrize("lie", [(0, 999), (0, 5000), (500, 100)])
def test_a_suggestion_that_is_not_narrower_or_not_ordered_halves(lie: tuple[int, int]) -> None:
    window = Window(size=1000).refused(BlockRange(0, 999), too_large(suggestion=lie))
    assert window.size == 500


def test_a_failure_without_words_halves() -> None:
    assert Window(size=100).refused(BlockRange(0, 99), SourceUnavailable("gone")).size == 50


def test_a_window_is_soon_wide_again_after_an_outage() -> None:
    window = Window(size=2000)
    for _ in range(20):
        window = window.refused(window.take(0, 10**9), SourceUnavailable("gone"))
    assert window.size == 1
    for _ in range(10):
        window = window.answered(window.take(0, 10**9), logs=0)
    assert window.size == 1000


def test_an_outage_of_a_single_block_is_no_refusal_of_it() -> None:
    assert Window(size=1).refused(BlockRange(7, 7), SourceUnavailable("gone")).size == 1


@pytest.mark.parametrize("error", [Throttled("slow down"), BlockUnknown("lag")])
def test_patience_does_not_narrow(error: SourceError) -> None:
    assert Window(size=100).refused(BlockRange(0, 99), error) == Window(size=100)


def test_a_single_block_that_is_refused_is_a_final_error_that_names_it() -> None:
    with pytest.raises(SourceError, match="single block 7") as caught:
        Window(size=1).refused(BlockRange(7, 7), too_large(limit=5))
    assert not caught.value.retry


refusals = st.builds(
    RangeTooLarge,
    st.just("no"),
    limit=st.none() | st.integers(-1, 5000),
    suggestion=st.none() | st.tuples(st.integers(0, 5000), st.integers(0, 5000)),
)


@given(st.integers(2, 10_000), st.lists(refusals, min_size=14, max_size=14))
def test_whatever_a_node_says_one_block_is_reached_and_never_less(
    size: int, said: list[RangeTooLarge]
) -> None:
    """Each refusal narrows strictly, so a node that refuses everything is found out."""
    window = Window(size=size)
    for error in said:
        asked = window.take(100, 10**6)
        if len(asked) == 1:
            break
        window = window.refused(asked, error)
        assert 1 <= window.size < len(asked)


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_a_window_settles_close_to_what_a_node_bears(bears: int, start: int) -> None:
    window, answered, refused = Window(size=start), 0, 0
    for turn in range(400):
        asked = window.take(0, 10**9)
        if len(asked) > bears:
            window = window.refused(asked, too_large())
            refused += turn > 100
        else:
            window = window.answered(asked, logs=0)
            answered += turn > 100
    assert answered > 4 * refused or bears < 8


DIGITS = "9" * 5_000


@pytest.mark.parametrize(
    ("message", "data"),
    [
        (f"exceed maximum block range: {DIGITS}", None),
        (f"query returned more than {DIGITS} results", None),
        (f"Query returned more than 10000 results. Try with this block range [{DIGITS}, 0x{DIGITS}].", None),
        (f"rate limited, retry in {DIGITS}", None),
        ("query returned more than 10000 results", {"from": DIGITS, "to": DIGITS}),
        ("query returned more than 10000 results", {"from": 2**70, "to": 2**80}),
        ("x" * 1_000_000, {"a": ["b"] * 1_000}),
    ],
)
def test_whatever_numbers_a_refusal_holds_it_is_an_error_of_ours(message: str, data: object) -> None:
    error = classify(-32005, message, data=data)
    assert len(str(error)) < 1_000
    if isinstance(error, RangeTooLarge):
        window = Window().refused(BlockRange(0, 1_999), error)
        assert 0 < window.size < 2_000


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("3", 3.0),
        ("nan", None),
        ("inf", None),
        ("1e999", None),
        ("-5", None),
        ("soon", None),
    ],
)
def test_a_pause_that_is_no_number_of_seconds_is_no_pause(said: str, seconds: float | None) -> None:
    assert _seconds(said) == seconds


@pytest.mark.parametrize("year", ["0000", "0001", "1969", "99999"])
def test_neither_is_a_date_that_is_past_or_outside_of_the_calendar(year: str) -> None:
    assert not _seconds(f"Mon, 01 Jan {year} 00:00:00 GMT")
