"""Circuit breaker: stop calling a failing dependency for a while, then probe it with one call."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

from eventstore.backoff import Backoff

SHORTEST, LONGEST = 0.5, 5.0
"""Seconds for which a part that failed is left alone: the first time, and at most."""

BACKOFF = Backoff(SHORTEST, LONGEST)


class Breaker:
    """Open while a part is left alone; then one asks it, and closes it or opens it for longer."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._until = 0.0
        self._failures = 0

    @property
    def is_open(self) -> bool:
        return self._failures > 0

    def may_ask(self) -> bool:
        """Whether the part may be asked: always while it is well, by one at a time when it may be again."""
        if self._failures == 0:
            return True
        with self._lock:
            now = self._clock()
            if now < self._until:
                return False
            self._until = now + BACKOFF.seconds(self._failures)
            return True

    def worked(self) -> None:
        if self._failures:
            with self._lock:
                self._failures = 0

    def failed(self) -> None:
        with self._lock:
            self._failures += 1
            self._until = self._clock() + BACKOFF.seconds(self._failures)
