"""Exponential backoff: how long to wait before an attempt is repeated. Pure, but for the jitter's dice.

The jitters are those of "Exponential Backoff and Jitter" (AWS Architecture Blog, 2015): `full` spreads
clients the most, `equal` keeps at least half of the pause.
"""

from __future__ import annotations

from random import uniform
from typing import Literal

from msgspec import Struct

DOUBLINGS = 64
"""More than bring any pause to its limit, and no overflow of a float."""


class Backoff(Struct, frozen=True):
    """Pauses in seconds: `first` after the first failure, doubled at each further one, up to `longest`.

    `full` jitter draws from `shortest` to this pause, `equal` from half of it to all of it.
    """

    first: float
    longest: float
    jitter: Literal["none", "equal", "full"] = "none"
    shortest: float = 0.0

    def seconds(self, failures: int) -> float:
        """The pause after so many failures in a row, 1 or more."""
        pause = min(self.longest, self.first * 2.0 ** min(max(failures, 1) - 1, DOUBLINGS))
        if self.jitter == "none":
            return pause
        return uniform(pause / 2 if self.jitter == "equal" else self.shortest, pause)
