"""A time of any number is written, and as the same text as before where a calendar has it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.values.moment import moment, precise, utc

FIRST, LAST = -62_135_596_800, 253_402_300_799


@given(
    st.one_of(
        st.integers(-(2**255), 2**256 - 1), st.integers(FIRST - 2, FIRST + 2), st.integers(LAST - 2, LAST + 2)
    )
)
def test_every_number_of_seconds_is_written(seconds: int) -> None:
    shown = moment(seconds)
    if FIRST <= seconds <= LAST:
        assert datetime.fromisoformat(shown.replace("Z", "+00:00")).timestamp() == seconds
    else:
        assert shown == f"{seconds} s since 1970"
        assert utc(seconds) is None


@given(st.floats())
def test_every_float_is_written(seconds: float) -> None:
    assert moment(seconds)


@given(st.integers(-(2**127), 2**127))
def test_every_number_of_microseconds_is_written(micros: int) -> None:
    shown = precise(micros)
    if FIRST * 1_000_000 <= micros <= LAST * 1_000_000:
        found = datetime.fromisoformat(shown.replace("Z", "+00:00")) - datetime(1970, 1, 1, tzinfo=UTC)
        assert (found.days * 86_400 + found.seconds) * 1_000_000 + found.microseconds == micros
    else:
        assert shown.endswith(" s since 1970")


@pytest.mark.parametrize("seconds", [0, 1_700_000_000, 1_796_127_809.25, -1])
def test_a_time_of_the_calendar_is_written_as_ever(seconds: float) -> None:
    assert moment(seconds) == datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def test_no_other_place_of_the_product_formats_a_time_by_itself() -> None:
    """They raise beyond the calendar; the schedule asks for the date of its own runs."""
    pattern = re.compile(r"\.strftime\(|\.fromtimestamp\(|utcfromtimestamp")
    found = [
        path.as_posix()
        for folder in ("eventstore", "projections")
        for path in sorted(Path(folder).rglob("*.py"))
        if pattern.search(path.read_text())
    ]
    assert found == ["projections/service/runtime/scheduler.py"]
