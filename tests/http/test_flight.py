"""Many who want the same at once ask once; a part that is away is left alone for a while."""

from __future__ import annotations

import threading

import pytest

from projections.service.http.base.circuit_breaker import LONGEST, SHORTEST, Breaker
from projections.service.http.base.single_flight import Flight

MANY = 8


def test_of_many_who_miss_the_same_at_once_one_asks() -> None:
    flight: Flight[int] = Flight()
    asked: list[str] = []
    under_way, go_on = threading.Event(), threading.Event()

    def ask() -> int:
        asked.append("asked")
        under_way.set()
        assert go_on.wait(20)
        return 7

    brought: list[int] = []
    threads = [threading.Thread(target=lambda: brought.append(flight.share("key", ask))) for _ in range(MANY)]
    threads[0].start()
    assert under_way.wait(20)
    for thread in threads[1:]:
        thread.start()
    assert flight.share("another", lambda: 8) == 8  # another key does not wait
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert brought == [7] * MANY
    assert 1 <= len(asked) < MANY  # a thread that came after the answer asks again


def test_an_error_is_everybodys_and_not_kept() -> None:
    flight: Flight[int] = Flight()

    def fail() -> int:
        raise ValueError("away")

    with pytest.raises(ValueError, match="away"):
        flight.share("key", fail)
    assert flight.share("key", lambda: 7) == 7


def test_a_part_that_failed_is_asked_by_one_after_a_pause_that_grows() -> None:
    now = [0.0]
    breaker = Breaker(clock=lambda: now[0])
    assert breaker.may_ask()
    assert breaker.may_ask()
    pause = SHORTEST
    for _ in range(6):
        breaker.failed()
        assert not breaker.may_ask()
        now[0] += pause
        assert breaker.may_ask()
        assert not breaker.may_ask()  # one at a time
        pause = min(LONGEST, 2 * pause)
    breaker.worked()
    assert breaker.may_ask()
    assert breaker.may_ask()
