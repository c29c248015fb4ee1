"""So many calls a second, and no more: who is too early waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock


class Pace:
    """Spreads calls so that no second sees more than `per_second` of them, but for one request's own.

    Safe for several threads: each is given its own moment, in the order in which they came.
    """

    def __init__(
        self,
        per_second: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        if per_second <= 0:
            raise ValueError(f"{per_second:g} calls per second would be none, ever")
        self.per_second = per_second
        self._clock = clock
        self._sleep = sleep
        self._lock = Lock()
        self._free_at = clock()

    def wait(self, calls: int) -> None:
        """Returns when `calls` may be made together; what they use up, who comes next waits for."""
        with self._lock:
            now = self._clock()
            start = max(now, self._free_at)
            self._free_at = start + calls / self.per_second
        if start > now:
            self._sleep(start - now)
