"""A node whose head is below the newest block that we know: it lags, or its chain moved back.

Both look alike until a competing header is seen; what was seen is written down for `status`.
"""

from __future__ import annotations

from msgspec import Struct
from sqlalchemy import Connection

from eventstore import clock
from eventstore.journal.progress import SyncProgress
from eventstore.storage.sql import text

LASTING = 120.0
"""Seconds for which a head within the unfinalised part may be below ours before that is an error: nodes
behind one name are rarely at the same block. Below finality it is one at once."""


class Behind(Struct, frozen=True):
    """The node's head `shown`, below `known`, at every look from `since` to `seen` (microseconds since 1970).
    `final` is the newest block that was ever called final on the chain that we follow."""

    shown: int
    known: int
    since: int
    seen: int
    final: int

    @property
    def is_wrong(self) -> bool:
        """Is it more than a node that is a little late?"""
        return self.shown < self.final or self.seen - self.since >= LASTING * 1e6

    def __str__(self) -> str:
        return said(self.shown, self.known)


def said(shown: int, known: int) -> str:
    """The sentence of it, with both heights."""
    return (
        f"The newest block of the node is {shown:,}, below block {known:,}, which is known and followed: the "
        "node lags, or its chain moved back. Nothing is taken back for a lower head alone; "
        "`chainfold heads` compares."
    )


def note(tx: Connection, chain_id: int, *, shown: int, known: int) -> None:
    """Writes down what a look found: `shown` below `known` begins it or lets it last, else it is over."""
    if shown >= known:
        forget(tx, chain_id)
        return
    tx.execute(
        text(
            "INSERT INTO behind VALUES (:chain, :shown, :known, :now) ON CONFLICT (chain_id) DO UPDATE "
            "SET shown = excluded.shown, known = excluded.known"
        ),
        {"chain": chain_id, "shown": shown, "known": known, "now": clock.now()},
    )


def forget(tx: Connection, chain_id: int) -> None:
    """It is over: the node shows our newest block or more, or the journal followed it back."""
    tx.execute(text("DELETE FROM behind WHERE chain_id = :chain"), {"chain": chain_id})


def read(tx: Connection, chain_id: int) -> Behind | None:
    """What the last looks found; None where the node showed all that we know."""
    row = tx.execute(
        text(
            "SELECT b.shown, b.known, b.since, "
            "(SELECT number FROM finality f WHERE f.chain_id = b.chain_id), "
            "(SELECT max(number) FROM tail t WHERE t.chain_id = b.chain_id) "
            "FROM behind b WHERE b.chain_id = :chain"
        ),
        {"chain": chain_id},
    ).first()
    if row is None:
        return None
    shown, known, since, final, tip = row
    if tip != known:  # the known end moved since: the next look tells
        return None
    progress = SyncProgress(tx, chain_id).read()
    seen = None if progress is None else progress.synced_at
    return Behind(shown, known, since, max(since, seen or 0), -1 if final is None else final)
