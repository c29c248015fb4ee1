"""Fills Redis with the documents that readers missed, in the background and many at a time.

The law: what is filled never outlives what is published. It is written through the script of the publisher,
under the revision that the document has in `changes`, so it never overwrites a newer one. What remains is a
newer one that went between the look and the write (it expired, or was evicted): so a fill lives a few
seconds only, until a second look has seen that it is still the newest; where it is not, the newest is written
over it.
A removed document is filled by no reader; its mark is, over a fill that it overtook. What the marker of the
sink does not tell of is the publisher's to write, and is left to it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from eventstore.errors import ChainfoldError
from eventstore.storage.store import Store
from projections.fold.generation import Generations
from projections.publish.current import as_change, current
from projections.publish.publications import refusal
from projections.sinks import Change
from projections.sinks.capabilities import Fillable

PROVISIONAL = 10
"""Seconds that a fill lives until it is confirmed."""

FRESH = 1.0
"""Seconds after which what was looked up is too old to be written."""

MANY = 500
"""Keys that are filled together."""

WAITING = 10_000
"""Keys that may wait to be filled; of more, some are filled when they are missed again."""

OnFill = Callable[[str, int], None]
"""Called with what became of fills (`written`, `refused`, `overtaken`, `failed`), and of how many."""


def _silent(_outcome: str, _count: int) -> None:
    return


class Filler(threading.Thread):
    """Fills one projection's hashes. `fill` does it now; `want` leaves it to the thread."""

    def __init__(
        self, store: Store, sink: Fillable, *, projection: str, chain_id: int, tell: OnFill = _silent
    ) -> None:
        super().__init__(name=f"fill {projection}", daemon=True)
        self._store = store
        self._sink = sink
        self._projection = projection
        self._chain = chain_id
        self._tell = tell
        self._turn = threading.Condition()
        self._wanted: dict[str, None] = {}
        self._stopped = False

    def want(self, key: str) -> None:
        """Has `key` filled soon; with too many waiting it is not."""
        with self._turn:
            if len(self._wanted) < WAITING:
                self._wanted[key] = None
                self._turn.notify()

    def fill(self, keys: Iterable[str]) -> int:
        """Fills what of `keys` has a document, and returns how many hashes were written and confirmed."""
        wanted = list(keys)
        looked_at, found = self._look(wanted, removed=False)
        kept = 0
        for _ in range(5):
            if not found or time.monotonic() - looked_at > FRESH:
                break
            written = self._sink.fill(found, seconds=PROVISIONAL)
            self._tell("refused", len(found) - len(written))
            if not written:
                break
            mine = {change.key: change.revision for change in written}
            looked_at, found = self._look(list(mine), removed=True)
            now = {change.key: change.revision for change in found}
            still = [change for change in written if now.get(change.key) == change.revision]
            self._sink.keep(still)
            kept += len(still)
            self._tell("written", len(still))
            found = [change for change in found if change.revision != mine[change.key]]
            self._tell("overtaken", len(found))
        return kept

    def run(self) -> None:
        while True:
            with self._turn:
                while not self._wanted and not self._stopped:
                    self._turn.wait()
                if self._stopped:
                    return
                some = list(self._wanted)[:MANY]
                for key in some:
                    del self._wanted[key]
            try:
                self.fill(some)
            except ChainfoldError:  # it is missed again, and filled then
                self._tell("failed", len(some))

    def stop(self) -> None:
        with self._turn:
            self._stopped = True
            self._turn.notify()
        if self.ident is not None:
            self.join()

    def _look(self, keys: list[str], *, removed: bool) -> tuple[float, list[Change]]:
        """When, and which of `keys` are as the marker tells: none where the marker is not ours."""
        marker = self._sink.marker()
        began = time.monotonic()
        if marker is None:
            return began, []
        with self._store.read() as tx:
            served = Generations(tx, self._projection).served()
            if served is None or refusal(
                tx, marker, self._sink.name, chain_id=self._chain, projection=self._projection
            ):
                return began, []
            found = current(tx, self._projection, served, keys)
        return began, [
            as_change(item, served.block)
            for item in found.values()
            if item.revision <= marker.revision and (removed or item.body is not None)
        ]
