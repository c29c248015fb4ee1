"""One commit of the fold: the cursor, the documents, their before-images and the changes to publish."""

from __future__ import annotations

from msgspec.structs import replace
from sqlalchemy import Connection

from eventstore.storage.lease import Lease
from projections.fold.changes import Changes
from projections.fold.delta import Delta, Whole
from projections.fold.generation import Generation, Generations
from projections.fold.state import GenerationState
from projections.fold.uncommitted import Ahead


def commit(lease: Lease, ahead: Ahead) -> tuple[Generation, int]:
    """Commits what was folded beyond a row. Returns the row as it is then, and how many documents changed.

    Raises `Fenced` when the lease is lost or the row was changed meanwhile; nothing is written then.
    """
    old, new, changed = ahead.row, ahead.cursor, 0
    with lease.commit() as tx:
        generations, state = Generations(tx, old.projection), GenerationState(tx, old.id)
        generations.advance(old, new)  # first: another process that would move it waits here
        if ahead.rewound_to is not None:
            state.drop_undo(above=ahead.rewound_to)
            state.exhume(above=ahead.rewound_to)
        whole = ahead.documents.whole
        if whole is not None:
            state.load_whole(whole)
            changed += whole.count
            new = _advanced(old, new, whole, changed=whole.count > 0)
            if new.revision > old.revision:
                Changes(tx, old.projection).mark(whole.keys(), new.revision)
        for delta in ahead.documents.take():
            state.apply(delta)
            changed += len(delta.changed)
            new = _advanced(old, new, delta, changed=bool(delta.changed))
            _publish(tx, old, new, delta)
        generations.advance(ahead.cursor, new)
        state.bury(ahead.dead)
        if new.floor > old.floor:
            state.drop_undo(through=new.floor)
    ahead.documents.committed()
    return new, changed


def _publish(tx: Connection, old: Generation, new: Generation, delta: Delta) -> None:
    if new.revision > old.revision:
        keys = [key for key, _, _ in delta.changed]
        Changes(tx, old.projection).mark(keys, new.revision)


def _advanced(old: Generation, new: Generation, added: Delta | Whole, *, changed: bool) -> Generation:
    """`new` with what was `added` to it; its revision is the one after `old`'s, if anything changed."""
    digest = (int.from_bytes(new.digest, "big") + added.digest) % 2**256
    takes_revision = changed and old.state != "building"  # what is served, stale or not
    return replace(
        new,
        documents=new.documents + added.count,
        digest=digest.to_bytes(32, "big"),
        revision=old.revision + 1 if takes_revision else new.revision,
    )
