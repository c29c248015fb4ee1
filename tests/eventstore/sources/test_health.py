"""When an endpoint pauses, for how long, and when it is forgiven."""

from __future__ import annotations

from eventstore.errors import SourceUnavailable, Throttled
from eventstore.sources.failover.health import CALM, LONGEST_PATIENCE, LONGEST_PAUSE, Health

DOWN = SourceUnavailable("down")


def pause_after(failures: int) -> float:
    """The length of the pause after so many failures, each at the end of the last one's pause."""
    health, now = Health(), 0.0
    for _ in range(failures):
        now = max(now, health.until)
        health = health.failed(DOWN, began=now, now=now)
    return health.until - now


def test_an_endpoint_is_usable_at_first() -> None:
    assert Health().usable(0.0)


def test_a_failure_pauses() -> None:
    health = Health().failed(DOWN, began=0, now=0)
    assert not health.usable(0.5)
    assert health.usable(1.0)


def test_pauses_double_up_to_the_longest() -> None:
    assert [pause_after(failures) for failures in (1, 2, 3, 4, 30)] == [1, 2, 4, 8, LONGEST_PAUSE]


def test_requests_that_were_under_way_when_the_pause_began_do_not_lengthen_it() -> None:
    first = Health().failed(DOWN, began=0, now=10)
    assert first.failed(DOWN, began=5, now=10.5) == first


def test_a_calm_time_makes_pauses_short_again() -> None:
    health = Health().failed(DOWN, began=0, now=0).failed(DOWN, began=1, now=1)
    late = health.until + CALM + 10
    assert health.failed(DOWN, began=late, now=late).until == late + 1


def test_throttling_pauses_for_as_long_as_the_node_says() -> None:
    health = Health().failed(Throttled("wait", after=7), began=0, now=0)
    assert not health.usable(6.9)
    assert health.usable(7.0)


def test_throttling_without_a_word_pauses_like_a_failure() -> None:
    assert Health().failed(Throttled("wait"), began=0, now=0).until == 1


def test_no_node_is_given_patience_without_end() -> None:
    health = Health().failed(Throttled("wait", after=1e9), began=0, now=0)
    assert health.until == LONGEST_PATIENCE


def test_the_longer_of_two_waits_holds() -> None:
    health = Health().failed(Throttled("wait", after=7), began=0, now=0)
    assert health.failed(Throttled("wait", after=1), began=0, now=1).until == 7


def test_an_answer_in_the_middle_of_a_pause_ends_it() -> None:
    health = Health().failed(DOWN, began=0, now=0)
    assert health.answered(began=0.5, now=0.6).usable(0.6)


def test_an_answer_that_was_under_way_before_the_pause_does_not_end_it() -> None:
    health = Health().failed(DOWN, began=5, now=6)
    assert not health.answered(began=4, now=6.5).usable(6.5)


def test_an_answer_does_not_end_the_wait_that_a_node_asked_for() -> None:
    health = Health().failed(Throttled("wait", after=7), began=0, now=0)
    assert not health.answered(began=1, now=1).usable(1)
