"""A rate limit: the generic cell rate algorithm (ITU-T I.371), a token bucket kept as one timestamp. Pure.

Why not the library `limits`: it counts whole hits per window and answers only yes or no. Callers here must
know when they may start, and one batch may be larger than what a second allows.
"""

from __future__ import annotations

from msgspec import Struct


class RateLimit(Struct, frozen=True):
    """`per_second` calls; after a rest `burst` (1 or more) of them may come at one moment.

    Its state is `paid_until`: the time in seconds at which all calls so far are paid for at this rate.
    """

    per_second: float
    burst: float = 1.0

    def start(self, paid_until: float) -> float:
        """When the next call may be made: a time that is past means at once."""
        return paid_until - (self.burst - 1) / self.per_second

    def spend(self, paid_until: float, now: float, calls: float = 1) -> float:
        """The state once `calls` are made. Time that passed unused is not made up for beyond the burst."""
        return max(paid_until, now) + calls / self.per_second
