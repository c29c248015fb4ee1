"""The batches of changes that a publisher sends, read one ahead of the sink.

While the sink takes a batch the next one is read. It is sent only if marker and generation are still those
that it was read for, so that it is what a read at that moment would give; otherwise it is read again.
"""

from __future__ import annotations

from msgspec import Struct
from sqlalchemy import Connection

from eventstore.storage.store import Store
from projections.fold.changes import Changes
from projections.fold.generation import Generation, Generations
from projections.publish.current import as_change, current
from projections.sinks import Change, Marker


class ChangeBatch(Struct, frozen=True):
    """The changes above (revision, key), read from a generation that stood at `served`, and the place of the
    marker once they are sent. With `again` they are documents that are set aside, and the marker stays."""

    revision: int
    key: str
    served: Generation
    changes: list[Change]
    through: tuple[int, str]
    again: bool = False


class BatchReader:
    """Reads the batches of one projection, `size` changes each."""

    def __init__(self, store: Store, projection: str, *, size: int) -> None:
        self.size = size
        self._store = store
        self._projection = projection
        self._ahead: ChangeBatch | None = None

    def next(self, tx: Connection, marker: Marker, served: Generation) -> ChangeBatch:
        """The batch after the marker: what was read ahead, if it still fits, or a batch read now."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and (ahead.revision, ahead.key, ahead.served) == (
            marker.revision,
            marker.key,
            served,
        ):
            return ahead
        return self._read(tx, marker, served)

    def again(self, tx: Connection, marker: Marker, served: Generation, keys: list[str]) -> ChangeBatch:
        """The documents under these keys, which are set aside, as they are now."""
        found = current(tx, self._projection, served, keys)
        changes = [as_change(item, served.block) for item in found.values()]
        at = (marker.revision, marker.key)
        return ChangeBatch(*at, served, changes, at, again=True)

    def read_ahead(self, marker: Marker) -> None:
        """Reads the batch after `marker` in a snapshot of its own, and keeps it for `next`."""
        with self._store.read() as tx:
            served = Generations(tx, self._projection).served()
            self._ahead = None if served is None else self._read(tx, marker, served)

    def _read(self, tx: Connection, marker: Marker, served: Generation) -> ChangeBatch:
        found = Changes(tx, self._projection).after(
            marker.revision + 1, marker.after, generation=served.id, limit=self.size
        )
        changes = [as_change(item, served.block) for item in found]
        full = len(found) == self.size
        through = (found[-1].revision - 1, Marker.of(found[-1].key)) if full else (served.revision, "")
        return ChangeBatch(marker.revision, marker.key, served, changes, through)
