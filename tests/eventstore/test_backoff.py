"""Pauses between attempts: doubled up to a limit, with or without jitter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.backoff import Backoff

FAILURES = st.integers(1, 10_000)


def test_a_pause_doubles_with_each_failure_up_to_the_longest() -> None:
    backoff = Backoff(0.5, 5.0)
    assert [backoff.seconds(failures) for failures in (1, 2, 3, 4, 5, 9_999)] == [0.5, 1, 2, 4, 5, 5]


@given(FAILURES, st.floats(0.1, 10.0), st.floats(10.0, 3_600.0))
def test_equal_jitter_keeps_half_of_the_pause(failures: int, first: float, longest: float) -> None:
    whole = Backoff(first, longest).seconds(failures)
    assert whole / 2 <= Backoff(first, longest, "equal").seconds(failures) <= whole


@given(FAILURES, st.floats(1.0, 10.0), st.floats(10.0, 3_600.0))
def test_full_jitter_spreads_from_the_shortest_to_the_whole(
    failures: int, first: float, longest: float
) -> None:
    whole = Backoff(first, longest).seconds(failures)
    assert 0.1 <= Backoff(first, longest, "full", 0.1).seconds(failures) <= whole


@pytest.mark.parametrize(("jitter", "least"), [("equal", 2.0), ("full", 0.0)])
def test_jitter_uses_all_of_its_range(jitter: str, least: float) -> None:
    pauses = [Backoff(4.0, 60.0, jitter).seconds(1) for _ in range(2_000)]  # type: ignore[arg-type]
    assert least <= min(pauses) < least + 0.1
    assert 3.9 < max(pauses) <= 4.0
