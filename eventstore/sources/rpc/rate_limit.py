"""At most so many calls a second: a caller that is too early waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

from eventstore.net.gcra import RateLimit


class RateLimiter:
    """Spreads calls so that no second sees more than `per_second` of them, unless one request has more.

    Safe for several threads: each gets a moment of its own, in the order in which they came.
    """

    def __init__(
        self,
        per_second: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        if per_second <= 0:
            raise ValueError(f"{per_second:g} calls per second would allow no call")
        self.per_second = per_second
        self._limit = RateLimit(per_second)
        self._clock = clock
        self._sleep = sleep
        self._lock = Lock()
        self._paid_until = clock()

    def wait(self, calls: int) -> None:
        """Returns when `calls` may be made together; the next caller waits for what they use up."""
        with self._lock:
            now = self._clock()
            start = self._limit.start(self._paid_until)
            self._paid_until = self._limit.spend(self._paid_until, now, calls)
        if start > now:
            self._sleep(start - now)
