"""One address that alerts go to: its backoff, and the messages that wait for it."""

from __future__ import annotations

import time

from eventstore.backoff import Backoff
from projections.service.alerts.delivery import AlertAddress
from projections.service.alerts.throttle import Message

BACKOFF = Backoff(1.0, 300.0)
"""Seconds between two attempts at an address that takes nothing, at most."""


BACKLOG = 100
"""Messages kept for an address that takes nothing while another one did."""


WAITS = "it is not tried again yet"


class Recipient:
    """One address, its patience, and what it has still to get."""

    def __init__(self, address: AlertAddress) -> None:
        self.name = address.name
        self.noted = True  # an earlier process may have noted that it fails
        self._address = address
        self._kept: list[Message] = []
        self._failures = 0
        self._next = 0.0

    def ready(self) -> bool:
        """May it be tried now?"""
        return time.monotonic() >= self._next

    def send(self, message: Message) -> str | None:
        """Why it was not taken; None where it was."""
        if not self.ready() or self._kept:
            return WAITS
        return self._try(message)

    def keep(self, message: Message) -> None:
        """Keeps it for later; the oldest are dropped where there are too many."""
        self._kept = [*self._kept, message][-BACKLOG:]

    def catch_up(self) -> str | None:
        """Sends what was kept, until it is taken no more: why not then."""
        while self._kept:
            if not self.ready():
                return WAITS
            reason = self._try(self._kept[0])
            if reason is not None:
                return reason
            del self._kept[0]
        return None if self.ready() and self._failures == 0 else WAITS

    def _try(self, message: Message) -> str | None:
        reason = self._address.send(message.title, message.body, message.mood)
        if reason is None:
            self._failures, self._next = 0, 0.0
        else:
            self._failures += 1
            self._next = time.monotonic() + BACKOFF.seconds(self._failures)
        return reason
