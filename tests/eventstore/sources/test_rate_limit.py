"""So many calls a second: who waits, and for how long."""

from __future__ import annotations

from itertools import pairwise

import pytest

from eventstore.sources.rpc.rate_limit import RateLimiter


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def moments(per_second: float, *calls: int) -> list[float]:
    """When requests of so many calls, each ready at once, are let go."""
    time = Time()
    pace = RateLimiter(per_second, clock=lambda: time.now, sleep=time.sleep)
    found = []
    for number in calls:
        pace.wait(number)
        found.append(time.now - 100)
    return found


def test_the_first_request_does_not_wait() -> None:
    assert moments(5, 1) == [0]


def test_requests_are_spread() -> None:
    assert moments(4, 1, 1, 1, 1, 1) == [0, 0.25, 0.5, 0.75, 1]


def test_a_batch_counts_as_the_calls_that_it_holds() -> None:
    assert moments(4, 8, 1, 1) == [0, 2, 2.25]


def test_no_second_sees_more_calls_than_allowed() -> None:
    times = moments(10, *[1, 3, 2, 4] * 20)
    for start, calls in pairwise(range(0, len(times), 4)):
        assert times[calls] - times[start] == pytest.approx(1)


def test_time_that_passed_unused_is_not_made_up_for() -> None:
    time = Time()
    pace = RateLimiter(2, clock=lambda: time.now, sleep=time.sleep)
    time.sleep(60)
    for _ in range(3):
        pace.wait(1)
    assert time.now == 161


def test_no_calls_at_all_are_no_pace() -> None:
    with pytest.raises(ValueError, match="would allow no call"):
        RateLimiter(0)
