"""Any past block: the documents as they were, and the events that made them, by folding in memory.

Asks nothing of the committed documents: the answer is the fold of the canonical logs up to a block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection

from eventstore.journal.journal import Journal
from eventstore.journal.reading import StoredLog
from eventstore.records import NO_END
from eventstore.storage.store import Store
from projections.fold.document_type import Shape
from projections.fold.documents import TrackedDocuments
from projections.fold.fold import Fold, Projection
from projections.fold.generation import Generations
from projections.fold.skips import skips_of
from projections.fold.state import GenerationState

PAGE = 10_000


class Touch(Struct, frozen=True):
    """An event that changed a document, and the document after it (None: it was removed)."""

    log: StoredLog
    after: Any


class Replay:
    """Folds a projection's canonical logs from the first block, in memory, in one snapshot."""

    def __init__(self, store: Store, projection: Projection) -> None:
        self._store = store
        self._projection = projection
        self._shape = Shape(type(projection.projector))

    def to(
        self,
        block: int,
        *,
        watch: str | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> tuple[TrackedDocuments, list[Touch]]:
        """The documents after block `block`, and every event that changed the document `watch`.

        `progress` is called with the number of events folded so far.
        """
        with self._store.read() as tx:
            return self.within(tx, block, watch=watch, progress=progress)

    def within(
        self,
        tx: Connection,
        block: int,
        *,
        watch: str | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> tuple[TrackedDocuments, list[Touch]]:
        """The same, as the caller's snapshot has the journal."""
        own = self._projection
        documents = TrackedDocuments(self._shape, complete=True, room=NO_END)
        touches: list[Touch] = []
        done = 0
        last: Any = None

        def observe(log: StoredLog) -> None:
            nonlocal last
            if watch is not None and documents.get(watch) != last:
                last = documents.get(watch)
                touches.append(Touch(log, last))

        journal = Journal(tx, own.chain_id)
        routes = own.routed(journal.kinds(item.filter for item in own.watches))
        skips = skips_of(tx, own.name)
        after = own.first_block - 1
        while after < block:
            page = journal.read(routes, after=after, to=block, limit=PAGE)
            documents.begin(_Nothing())
            batch = Fold(own).page(
                documents,
                page,
                routes,
                after=after,
                timestamp=0,
                keep_undo_above=NO_END,
                skips=skips,
                observe=observe,
            )
            documents.committed()
            done += batch.events
            after = batch.through
            if progress is not None:
                progress(done)
            if batch.error is not None:
                break
        return documents, touches


class _Nothing:
    """The state before the first event."""

    def load(self, keys: object) -> Mapping[str, bytes]:
        return {}

    def find(self, field: str, value: str) -> list[str]:
        return []

    def find_all(self, field: str, values: Sequence[str], *, limit: int) -> dict[str, list[str]]:
        return {}


def undone(store: Store, projection: Projection, key: str, block: int) -> tuple[bool, bytes | None]:
    """The document after `block` by the before-images, if they reach that far.

    (True, its body or None where there was none), or (False, None) where only a replay can tell.
    """
    with store.read() as tx:
        served = Generations(tx, projection.name).served()
        if served is None or block < served.floor or block > served.block:
            return False, None
        return True, GenerationState(tx, served.id).at(key, block)
