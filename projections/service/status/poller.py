"""Polls where the served documents stand: one look for all readers that wait for changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from msgspec import Struct

from eventstore.errors import ChainfoldError
from eventstore.journal.totals import heads
from eventstore.storage.identity import identity_of
from eventstore.storage.sql import text
from eventstore.storage.store import Store

EVERY = 0.2
"""Seconds between two looks."""


class Served(Struct, frozen=True):
    """The generation of a projection that readers see: its newest revision and its block."""

    generation: int
    state: str
    block: int
    revision: int
    timestamp: int


class Beat(Struct, frozen=True):
    """One look, in one snapshot: the served generations by projection, the newest entry by chain id.

    `error` says why nothing could be seen; what was seen last stands beside it.
    """

    store: str
    served: Mapping[str, Served]
    entries: Mapping[int, int]
    error: ChainfoldError | None = None


NOTHING = Beat("", {}, {})


def look(store: Store) -> Beat:
    """Where everything stands now."""
    with store.read() as tx:
        identity = identity_of(tx)
        served = {
            row.projection: Served(row.id, row.state, row.block, row.revision, row.timestamp)
            for row in tx.execute(
                text(
                    "SELECT projection, id, state, block, revision, timestamp FROM generations "
                    "WHERE state IN ('live', 'stale') ORDER BY id"
                )
            )
        }
        entries = heads(tx)
    return Beat(identity or "", served, entries)


class Pulse(threading.Thread):
    """Looks until it is stopped; wakes all waiting readers when a look differs from the last."""

    def __init__(self, store: Store, *, every: float = EVERY) -> None:
        super().__init__(name="pulse", daemon=True)
        self._store = store
        self._every = every
        self._turn = threading.Condition()
        self._beat = NOTHING
        self._stopped = threading.Event()
        self._calls: list[Callable[[Beat], None]] = []

    @property
    def beat(self) -> Beat:
        """The last look."""
        return self._beat

    @property
    def stopped(self) -> bool:
        return self._stopped.is_set()

    def call(self, act: Callable[[Beat], None]) -> None:
        """Calls `act` at every look, in the thread of this; it must not raise, and be quick."""
        self._calls.append(act)

    def look(self) -> Beat:
        """Looks now, and wakes every reader."""
        try:
            seen = look(self._store)
        except ChainfoldError as error:
            seen = Beat(self._beat.store, self._beat.served, self._beat.entries, error)
        with self._turn:
            moved = seen != self._beat
            self._beat = seen
            if moved:
                self._turn.notify_all()
        for act in self._calls:
            act(seen)
        return seen

    def wait(self, until: Callable[[Beat], bool], *, seconds: float) -> Beat:
        """The first look for which `until` holds, or the last one within so many seconds."""
        end = time.monotonic() + seconds
        with self._turn:
            while not until(self._beat) and not self.stopped:
                left = end - time.monotonic()
                if left <= 0:
                    break
                self._turn.wait(left)
            return self._beat

    def run(self) -> None:
        while not self._stopped.is_set():
            self.look()
            self._stopped.wait(self._every)

    def stop(self) -> None:
        self._stopped.set()
        with self._turn:
            self._turn.notify_all()
        if self.ident is not None:
            self.join()
