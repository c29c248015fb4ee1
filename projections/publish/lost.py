"""Recovery of a sink that lost its marker: where it stood, and which documents the guard would keep wrongly.

Law: without a marker everything is sent, but the guard keeps what carries a revision that is not below. Whose
revision that is cannot be known, so a document that the guard keeps with wrong content gets one above it.

A sink that evicts the keys that are read least may evict its marker too. Then the marker is put back, and not
everything is sent again: where keys are evicted, a missing document is not a difference, but a document that
is older than the marker says is. The marker goes back to where the store last saw it, or to just below the
first document that is older than it must be. A sink that lacks every document was wiped, and begins again.
"""

from __future__ import annotations

from eventstore.storage.batches import batches
from eventstore.storage.store import Store
from projections.fold.changes import Changes
from projections.fold.generation import Generations
from projections.publish.current import as_change, current
from projections.publish.publications import LastSend
from projections.sinks import Readable, Sink
from projections.sinks.capabilities import Evicting

BATCH = 1_000
"""Documents that are looked at in one go."""


def place_of(store: Store, sink: Sink, projection: str, known: LastSend) -> tuple[int, str] | None:
    """Where the marker stood that is gone now; None where the sink was wiped, or drops no keys."""
    if known.sends == 0 or not isinstance(sink, Readable):
        return None
    if not isinstance(sink, Evicting) or not sink.evicts():
        return None
    last, held = (known.revision, known.key), 0
    after = (0, "")
    while True:
        with store.read() as tx:
            served = Generations(tx, projection).served()
            if served is None:
                return None
            found = Changes(tx, projection).after(*after, generation=served.id, limit=BATCH)
        sent = [
            item
            for item in found
            if item.revision <= last[0] or (item.revision == last[0] + 1 and item.key <= last[1])
        ]
        there = sink.read([item.key for item in sent])
        held += len(there)
        for item in sent:
            if item.key in there and there[item.key].revision < item.revision:
                return item.revision - 1, ""
        if len(sent) < BATCH:
            return last if held else None
        after = (sent[-1].revision, sent[-1].key)


def marked_otherwise(store: Store, sink: Readable, projection: str) -> tuple[int, list[str]]:
    """The keys of what a sink without a marker holds with wrong content and would keep in spite of what
    is sent, ascending; with the highest of their revisions."""
    top, keys = 0, set[str]()
    for held in batches(sink.scan(), BATCH):
        with store.read() as tx:
            served = Generations(tx, projection).served()
            if served is None:
                break
            wanted = current(tx, projection, served, [change.key for change in held])
        for change in held:
            item = wanted.get(change.key)
            if item is None:
                kept = change.fields is not None
            elif item.revision == change.revision:
                kept = sink.as_held(as_change(item, change.block)).fields != change.fields
            else:
                kept = change.revision > item.revision
            if kept:
                top = max(top, change.revision)
                keys.add(change.key)
    return top, sorted(keys)
