"""Refusals: what they mean in every wording, and that the questions end after each of them."""

from __future__ import annotations

import json
import tomllib
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
from eventstore.sources.rpc.refusals import classify
from tests.places import DATA

ROWS: list[dict[str, Any]] = json.loads((DATA / "getlogs-errors.json").read_text())

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

NO_SUCH_BLOCK = {
    "avalanchego": (-32000, "cannot query unfinalized data"),
    "lotus": (1, "requested a future epoch (beyond 'latest')"),
    "forest": (-32603, 'requested a future epoch (beyond "latest")'),
    "lotus, a block without a tipset": (12, "requested epoch was a null round (104)"),
    "ethermint": (-32000, "height 21 must be less than or equal to the current blockchain height 20"),
    "cosmos, pruned": (-32000, "height 5 is not available, lowest height is 100"),
    "sei": (-32000, "height is not available"),
    "frontier": (-32603, "Expect block number from id: BlockId::Number(15316)"),
    "harmony": (-32000, "requested block number greater than current block number"),
    "geth": (-32000, "header not found"),
    "besu": (-39001, "Unknown block"),
    "erigon": (-32000, "block not found 11185311"),
    "nitro": (-32000, "could not find block"),
    "kaia": (-32000, "the block does not exist (block number: 999)"),
    "zksync era": (-32602, "Block with such an ID doesn't exist yet"),
}
"""What nodes were seen to say to the number of a block that they have not, or have no more."""

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

TEXTS = tomllib.loads((DATA / "node-texts.toml").read_text())
TOO_LARGE = [(said.get("code"), said["text"], said.get("limit")) for said in TEXTS["too_large"]]
OF_ANOTHER_KIND: list[tuple[type[SourceError], int | None, str]] = [
    (expected, said.get("code"), said["text"])
    for expected, kind in (
        (Throttled, "throttled"),
        (BlockUnknown, "block_unknown"),
        (SourceUnavailable, "unavailable"),
        (SourceError, "refused"),
    )
    for said in TEXTS[kind]
]
MET: list[tuple[int | None, str]] = [
    *((row["code"], row["message"]) for row in ROWS),
    *((code, text) for code, text, _ in TOO_LARGE),
    *((code, text) for _, code, text in OF_ANOTHER_KIND),
]


# --- what it means ---------------------------------------------------------------------------------


def test_there_are_44_rows() -> None:
    assert len(ROWS) == 44


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


@pytest.mark.parametrize(("code", "message", "limit"), TOO_LARGE)
def test_other_wordings_of_too_large_are_known(code: int | None, message: str, limit: int | None) -> None:
    error = classify(code, message)
    assert isinstance(error, RangeTooLarge)
    assert error.limit == limit


@pytest.mark.parametrize(("expected", "code", "message"), OF_ANOTHER_KIND)
def test_what_is_no_matter_of_width_is_told_apart(
    expected: type[SourceError], code: int | None, message: str
) -> None:
    assert type(classify(code, message)) is expected


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


# --- asking on -------------------------------------------------------------------------------------


def walk(error: SourceError, *, size: int, bears: int, last: int) -> list[BlockRange]:
    """The ranges asked for until block `last` is reached, at a node that refuses more than `bears` blocks
    with `error`. After a refusal the next range is narrower."""
    window, first, asked = Window(size=size), 0, []
    while first <= last:
        wanted = window.take(first, last)
        if asked and asked[-1].first == first:
            assert len(wanted) < len(asked[-1])
        asked.append(wanted)
        if len(wanted) > bears:
            window = window.refused(wanted, error)
        else:
            window = window.answered(wanted, logs=0)
            first = wanted.last + 1
    return asked


OF_WIDTH = [said for said in MET if isinstance(classify(*said), RangeTooLarge | SourceUnavailable)]
TOO_WIDE = [said for said in MET if isinstance(classify(*said), RangeTooLarge)]
NOT_OF_WIDTH = [said for said in MET if said not in OF_WIDTH]


@given(st.sampled_from(OF_WIDTH), st.integers(1, 10_000), st.integers(1, 3_000))
def test_whatever_is_said_all_blocks_are_asked_for_in_the_end(
    said: tuple[int | None, str], size: int, bears: int
) -> None:
    """What the text names as its limit or suggests need not be what the node bears."""
    asked = walk(classify(*said), size=size, bears=bears, last=5 * bears)
    answered = [item for item in asked if len(item) <= bears]
    assert [block for item in answered for block in range(item.first, item.last + 1)] == list(
        range(5 * bears + 1)
    )


@pytest.mark.parametrize(("code", "message"), OF_WIDTH)
def test_each_text_leads_to_an_answer(code: int | None, message: str) -> None:
    assert walk(classify(code, message), size=2_000, bears=7, last=100)[-1].last == 100


@pytest.mark.parametrize(("code", "message"), TOO_WIDE)
def test_where_even_one_block_is_too_large_asking_ends_with_an_error(code: int | None, message: str) -> None:
    with pytest.raises(SourceError, match="even the single block 0") as caught:
        walk(classify(code, message), size=2_000, bears=0, last=100)
    assert not caught.value.retry


@pytest.mark.parametrize(("code", "message"), NOT_OF_WIDTH)
def test_what_is_not_of_ranges_narrows_nothing(code: int | None, message: str) -> None:
    window = Window(size=2_000)
    assert window.refused(window.take(0, 10_000), classify(code, message)) == window


@pytest.mark.parametrize("client", NO_SUCH_BLOCK)
def test_a_block_that_is_not_there_is_unknown_however_it_is_said(client: str) -> None:
    """Then it is asked for elsewhere or later; as a refusal or a failure it would end the step."""
    code, said = NO_SUCH_BLOCK[client]
    error = classify(code, said)
    assert type(error) is BlockUnknown
    assert error.retry
