"""One endpoint's health: when it pauses, for how long, and when it is forgiven. Pure.

Law: one outage counts once, however many requests were under way when it began; a pause grows with
each failure that follows soon, so that an endpoint which comes and goes is not tried per request.
"""

from __future__ import annotations

from math import inf

from msgspec import Struct
from msgspec.structs import replace

from eventstore.backoff import Backoff
from eventstore.errors import SourceError, Throttled

LONGEST_PAUSE = 300.0
BACKOFF = Backoff(1.0, LONGEST_PAUSE)
LONGEST_PATIENCE = 3_600.0
"""Seconds. A node may ask for more patience than it gets, not for a pause without end."""
CALM = 60.0
"""Seconds without a failure, beyond the length of the last pause, after which pauses are short again."""


class Health(Struct, frozen=True):
    """What an endpoint's failures amount to. Times are seconds of one monotonic clock.

    `until` ends the pause, `reason` says what it is for and `heals` if waiting may help; `refused` is
    why the endpoint is never asked again; `lagging` means that others know newer blocks.
    """

    until: float = -inf
    streak: int = 0
    throttled: bool = False
    reason: str = ""
    heals: bool = True
    refused: str | None = None
    lagging: bool = False
    paused_at: float = -inf

    def usable(self, now: float) -> bool:
        """May it be asked now?"""
        return self.refused is None and self.until <= now

    def failed(self, error: SourceError, *, began: float, now: float) -> Health:
        """After a request that began at `began` ended in `error`."""
        throttled = isinstance(error, Throttled)
        fresh = began > self.paused_at
        if not fresh and not throttled:
            return self  # it was under way when the pause began, and says nothing new
        calm = now - self.until > CALM + _pause(self.streak)
        streak = 1 if calm else self.streak + fresh
        pause = _pause(streak)
        if isinstance(error, Throttled) and error.after is not None:
            pause = min(error.after, LONGEST_PATIENCE)
        return replace(
            self,
            until=max(self.until, now + pause),
            streak=streak,
            throttled=throttled,
            reason=error.message,
            heals=error.retry,
            paused_at=now if fresh else self.paused_at,
        )

    def answered(self, *, began: float, now: float) -> Health:
        """After an answer: an endpoint that answers in the middle of its pause, is back."""
        if self.until <= now or began < self.paused_at or self.throttled:
            return self
        return replace(self, until=now)


def _pause(streak: int) -> float:
    return BACKOFF.seconds(streak) if streak else 0.0
