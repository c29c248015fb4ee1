"""One of several endpoints, and what is known of it."""

from __future__ import annotations

from collections import Counter
from threading import Lock
from typing import Literal

from msgspec import Struct

from eventstore.errors import SourceError
from eventstore.sources import Node
from eventstore.sources.failover.health import Health

State = Literal["in use", "ready", "lagging", "paused", "refused"]


class EndpointStatus(Struct, frozen=True):
    """How one endpoint does. `pause` is the seconds left of it, `cap` the most blocks that it takes in a
    range, `errors` how often it failed, by the error's name."""

    name: str
    state: State
    reason: str
    head: int | None
    cap: int | None
    pause: float
    errors: dict[str, int]
    requests: dict[str, int]


class PooledEndpoint:
    """An endpoint and what is known of it. Only the pool changes it, but for `cap`."""

    def __init__(self, source: Node, place: int) -> None:
        self.source = source
        self.name = source.name
        self.place = place
        self.health = Health()
        self.head: int | None = None
        self.cap: int | None = None
        self.errors: Counter[str] = Counter()
        self.verified = False
        self.verifying = Lock()
        self.unverified: tuple[float, SourceError] | None = None

    def status(self, now: float, *, in_use: bool) -> EndpointStatus:
        """How it does at `now`."""
        state: State = "in use" if in_use else "lagging" if self.health.lagging else "ready"
        reason = ""
        if self.health.refused is not None:
            state, reason = "refused", self.health.refused
        elif not self.health.usable(now):
            state, reason = "paused", self.health.reason
        return EndpointStatus(
            self.name,
            state,
            reason,
            self.head,
            self.cap,
            max(0.0, self.health.until - now),
            dict(self.errors),
            dict(self.source.requests),
        )
