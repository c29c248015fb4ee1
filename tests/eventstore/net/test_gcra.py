"""A rate limit held against a bucket of tokens, counted one by one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.net.gcra import RateLimit


@given(
    st.floats(0.01, 1_000.0),
    st.floats(1.0, 50.0),
    st.lists(st.floats(0.0, 10.0), min_size=1, max_size=60),
)
def test_it_admits_what_a_bucket_of_tokens_admits(rate: float, burst: float, rests: list[float]) -> None:
    limit, paid_until, now, tokens = RateLimit(rate, burst), 0.0, 0.0, burst
    for rest in rests:
        now += rest
        tokens = min(burst, tokens + rest * rate)
        wait = limit.start(paid_until) - now
        if abs(tokens - 1) < 1e-6:
            return  # the two round differently
        assert (wait <= 0) == (tokens >= 1)
        if wait > 0:
            assert wait == pytest.approx((1 - tokens) / rate, rel=1e-6, abs=1e-6)
        else:
            paid_until, tokens = limit.spend(paid_until, now), tokens - 1


def test_calls_that_are_made_together_are_paid_for_together() -> None:
    limit = RateLimit(4)
    paid_until = limit.spend(10.0, 10.0, 8)
    assert limit.start(paid_until) == 12.0
