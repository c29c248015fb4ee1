"""The canary: a log that we know, which an endpoint must give before its empty answers are believed.

Law: a node that has pruned a range, or lost it from its index, answers it as empty, with the right
headers. Only what it once had, and still gives, tells it from a node that knows.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec import Struct

from eventstore.records import BlockRange, Log, Query

KnownLog = Callable[[Query, BlockRange], Log | None]
"""The newest canonical log that is known to match a query, at or below the last block of a range."""


class _Shown(Struct, frozen=True):
    block: int
    at: float
    era: int


class Canary:
    """Which known log one endpoint has to show, and how long that is good for.

    What it showed speaks for all blocks above, for `every` seconds, and within one `era` (which
    the caller counts up when the connection was lost, as another node may be behind it since).
    """

    def __init__(
        self, known: KnownLog, *, every: float = 600.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._known = known
        self._every = every
        self._clock = clock
        self._shown: _Shown | None = None

    def wanted(self, query: Query, where: BlockRange, *, era: int) -> Log | None:
        """The log to be shown before an empty answer for `where` is believed, or None where one was shown
        that speaks for it, or no log is known."""
        shown, now = self._shown, self._clock()
        if shown and shown.era == era and now - shown.at < self._every and shown.block < where.first:
            return None
        log = self._known(query, where)
        return log if log is not None and log.block_number <= where.last else None

    def shown(self, log: Log, *, era: int) -> None:
        """Notes that the endpoint gave `log` again."""
        self._shown = _Shown(log.block_number, self._clock(), era)
