"""Refusals: what they mean, whoever words them. Windows: how wide to ask, whatever they meet."""

from __future__ import annotations

import json
from pathlib import Path
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
from eventstore.fetch import Window, classify
from eventstore.records import BlockRange

ROWS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "data" / "getlogs-errors.json").read_text()
)

NOT_OF_RANGES = {
    "503 Service Unavailable": SourceUnavailable,
    "no backend is currently healthy to serve traffic": SourceUnavailable,
    "exceed max addresses or topics per search position": SourceError,
    "pending logs are not supported": SourceError,
    "block range extends beyond current head block": BlockUnknown,
    "pruned history unavailable": BlockUnknown,
}
"""The rows whose text says something else than "ask for fewer blocks". A window halves at the two that
are unavailable too: see below."""

LIMITS = {
    "requested too many blocks from 1 to 5000, maximum is set to 2048": 2048,
    "Max range: 800": 800,
    "Maximum allowed number of requested blocks is 3500": 3500,
    "eth_getLogs is limited to a 10,000 range": 10_000,
    "eth_getLogs is limited to 1024 block range": 1024,
    "exceeds the range allowed for your plan (20000 > 3000)": 3000,
    "please limit the query to at most 1,000 blocks": 1000,
    "maximum block range: 50000": 50_000,
    "query exceeds max block range 1000": 1000,
    "block range greater than 2000 max": 2000,
    "block range exceeds 1000": 1000,
    "eth_getLogs range is too large, max is 10k blocks": 10_000,
    "query must be smaller than size 1024": 1024,
    "exceed maximum block range 10000": 10_000,
    "block range is too wide (maximum 1024)": 1024,
    "up to a 2,000 block range": 2000,
    "maximum [from, to] blocks distance: 10000": 10_000,
    "exceed max block range: 5000": 5000,
    "ranges over 10000 blocks are not supported on freetier": 10_000,
}
"""Rows that name the number of blocks they take. All others name none, or count results."""

MORE_LIMITS = [
    ("You can make eth_getLogs requests with up to a 500 block range.", 500),
    ("Under the Free tier plan, you can make requests with up to a 10 block range", 10),
    ("range 1000000 exceeds limit of 10000", 10_000),
    ("eth_getLogs is limited to a 1000 blocks range", 1000),
    ("eth_getLogs is limited to a 10.000 range", 10_000),
    ("eth_getLogs range is too large, max is 1k blocks", 1000),
    ("query block range exceeds server limit, narrow your filter: 1000", 1000),
    ("block range too large, max range: 4000", 4000),
    (
        "block range is larger than max block range, block range = 5120, max block range = 5000",
        5000,
    ),
    ("block range too large (2000), maximum allowed is 1000 blocks", 1000),
    ("block range is bigger than maxBlockRange", None),
    ("filter block range is higher than the limit", None),
    ("block range too high", None),
    ("Requested range exceeds maximum RPC range limit", None),
    ("Query timeout exceeded. Consider reducing your block range.", None),
    ("query timeout of 10 seconds exceeded", None),
    ("Too many logs requested. Max logs per response is 20000.", None),
    ("query returns too many logs, narrow your filter: 20000", None),
    ("websocket: read limit exceeded", None),
    ("limit exceeded", None),
    ("This provider dislikes a block range so generous", None),
]

THROTTLED = [
    "Your app has exceeded its compute units per second capacity.",
    "daily request count exceeded, request rate limited",
    "There are not enough CUPs left to cover the CU required for current request.",
    "call rate limit exhausted",
    "429 Too Many Requests",
    "rate limit exceeded",
    "request was rate-limited",
    "monthly quota exceeded",
    "throttled",
    "code 429",
]

UNKNOWN_BLOCKS = [
    "unknown block",
    "Unknown block number",
    "header not found",
    "block not found 11185311",
    "block hash 0xabc not found",
    "missing trie node",
    "old data not available due to pruning",
    "block range extends beyond current head block: requested 21000100, head 21000000",
    "request beyond head block",
    "invalid block range params",
    "requested from block after last accepted block 5",
    "Receipt not available for 'From' block '12'.",
    "BlockOutOfRangeError: block height is 5 but requested was 80",
    "upstream does not have the requested block yet",
    "safe block not found",
    "requested epoch was a null round",
    "Requested data is not available",
]


def too_large(**kwargs: Any) -> RangeTooLarge:
    return RangeTooLarge("no", **kwargs)


# --- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS, ids=[row["message"][:40] for row in ROWS])
def test_each_refusal_that_was_met_means_what_it_says(row: dict[str, Any]) -> None:
    expected: type[SourceError] = NOT_OF_RANGES.get(row["message"], RangeTooLarge)
    if row["hint"] == "back off, do not halve":
        expected = Throttled
    assert type(classify(row["code"], row["message"])) is expected


@pytest.mark.parametrize("row", ROWS, ids=[row["message"][:40] for row in ROWS])
def test_a_limit_is_read_where_it_counts_blocks(row: dict[str, Any]) -> None:
    error = classify(row["code"], row["message"])
    assert getattr(error, "limit", None) == LIMITS.get(row["message"])


@pytest.mark.parametrize(("message", "limit"), MORE_LIMITS)
def test_other_wordings_of_too_large_are_known(message: str, limit: int | None) -> None:
    error = classify(-32000, message)
    assert isinstance(error, RangeTooLarge)
    assert error.limit == limit


@pytest.mark.parametrize("message", THROTTLED)
def test_throttling_is_no_matter_of_width(message: str) -> None:
    assert isinstance(classify(-32602, message), Throttled)


@pytest.mark.parametrize("message", UNKNOWN_BLOCKS)
def test_a_block_that_is_not_there_is_no_matter_of_width(message: str) -> None:
    assert isinstance(classify(-32602, message), BlockUnknown)


@pytest.mark.parametrize(
    "message",
    [
        "can't route your request to suitable provider",
        "request timed out",
        "execution aborted (timeout = 5s)",
        "empty reader set",
        "Unexpected error (code=40000)",
    ],
)
def test_a_node_that_failed_inside_is_unavailable(message: str) -> None:
    assert isinstance(classify(-32603, message), SourceUnavailable)


def test_the_text_counts_without_regard_to_case() -> None:
    assert isinstance(classify(None, "BLOCK RANGE TOO LARGE"), RangeTooLarge)


def test_the_text_counts_in_the_data_too() -> None:
    data = {"payload": "range 9009594 is bigger than range limit 2000"}
    error = classify(-32602, "invalid params", data=data)
    assert isinstance(error, RangeTooLarge)
    assert error.limit == 2000


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        (-32005, "daily request count exceeded, request rate limited", Throttled),
        (-32005, "query returned more than 10000 results", RangeTooLarge),
        (-32005, "limit exceeded", RangeTooLarge),
        (-32005, "", Throttled),
    ],
)
def test_minus_32005_means_what_its_text_says(code: int, message: str, expected: type[SourceError]) -> None:
    assert isinstance(classify(code, message), expected)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (429, Throttled),
        (42903, Throttled),
        (4444, BlockUnknown),
        (-39001, BlockUnknown),
        (-32614, RangeTooLarge),
        (-32601, SourceError),
        (-32603, SourceUnavailable),
        (31, SourceUnavailable),
        (None, SourceUnavailable),
    ],
)
def test_a_code_decides_where_the_text_says_nothing(code: int | None, expected: type[SourceError]) -> None:
    assert type(classify(code, "?")) is expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (429, Throttled),
        (413, RangeTooLarge),
        (503, SourceUnavailable),
        (504, SourceUnavailable),
        (520, SourceUnavailable),
        (401, SourceError),
        (404, SourceError),
    ],
)
def test_a_status_decides_where_there_is_nothing_else(status: int, expected: type[SourceError]) -> None:
    assert type(classify(None, "", http_status=status)) is expected


@pytest.mark.parametrize(
    ("message", "data", "suggestion"),
    [
        ("results. Try with this block range [0xBDE5F8, 0x102DBCC].", None, (12445176, 16964556)),
        ("query exceeds max results 20000, retry with the range 100-199", None, (100, 199)),
        ("this block range should work: [0x200, 0x100]", None, (0x200, 0x100)),
        (
            "query returned more than 10000 results",
            {"from": "0x10", "limit": 10000, "to": "0x20"},
            (16, 32),
        ),
        ("query returned more than 10000 results", {"from": None}, None),
    ],
)
def test_a_suggested_range_is_read_as_it_was_said(
    message: str, data: object, suggestion: tuple[int, int] | None
) -> None:
    error = classify(-32005, message, data=data)
    assert isinstance(error, RangeTooLarge)
    assert error.suggestion == suggestion


@pytest.mark.parametrize(
    ("message", "data", "after"),
    [
        ("rate limit exceeded, retry in 5s", None, 5.0),
        ("too many requests, try again in 250 ms", None, 0.25),
        ("rate limited, wait 2 minutes", None, 120.0),
        ("rate limited", {"rate": {"backoff_seconds": 30}}, 30.0),
        ("rate limited", None, None),
    ],
)
def test_the_patience_asked_for_is_read(message: str, data: object, after: float | None) -> None:
    error = classify(None, message, data=data)
    assert isinstance(error, Throttled)
    assert error.after == after


def test_a_refusal_quotes_the_node_with_its_code() -> None:
    assert '"strange thing" (code -1, HTTP 500)' in str(classify(-1, "strange thing.", http_status=500))


def test_a_long_text_is_quoted_in_part() -> None:
    assert len(str(classify(None, "x" * 100_000))) < 500


# --- windows ---------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    "message", [text for text, kind in NOT_OF_RANGES.items() if kind is SourceUnavailable]
)
def test_a_failure_without_words_halves(message: str) -> None:
    error = classify(None, message)
    assert Window(size=100).refused(BlockRange(0, 99), error).size == 50


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
