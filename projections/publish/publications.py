"""The store's record of what it sent to a sink, and the check that a marker found there is ours."""

from __future__ import annotations

import secrets

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import Connection

from eventstore.storage.identity import identity_of
from eventstore.storage.sql import text
from projections.errors import ForeignMarker
from projections.sinks import Marker


class LastSend(Struct, frozen=True):
    """The newest send: its number and nonce, the place of the marker before it, and why the sink takes
    nothing (None: it does)."""

    sends: int = 0
    nonce: str = ""
    revision: int = 0
    key: str = ""
    error: str | None = None


class Publications:
    """The row of one sink of one projection, within the caller's transaction or snapshot."""

    def __init__(self, tx: Connection, projection: str, sink: str) -> None:
        self._tx = tx
        self._own = {"projection": projection, "sink": sink}

    def known(self) -> LastSend:
        """What is known; of a sink that nothing was sent to, nothing."""
        row = self._tx.execute(
            text(
                "SELECT sends, nonce, revision, key, error FROM publications "
                "WHERE projection = :projection AND sink = :sink"
            ),
            self._own,
        ).first()
        return LastSend() if row is None else LastSend(*row)

    def announce(self, marker: Marker) -> Marker:
        """`marker` with the number and nonce of a new send, which this transaction writes down."""
        new = replace(marker, sends=max(self.known().sends, marker.sends) + 1, nonce=secrets.token_hex(8))
        self._tx.execute(
            text(
                "INSERT INTO publications (projection, sink, sends, nonce, revision, key) "
                "VALUES (:projection, :sink, :sends, :nonce, :revision, :key) "
                "ON CONFLICT (projection, sink) DO UPDATE SET sends = excluded.sends, "
                "nonce = excluded.nonce, revision = excluded.revision, key = excluded.key"
            ),
            {
                **self._own,
                "sends": new.sends,
                "nonce": new.nonce,
                "revision": new.revision,
                "key": new.key,
            },
        )
        return new

    def note(self, error: str | None) -> None:
        """Writes down why the sink takes nothing; None: it does."""
        self._tx.execute(
            text(
                "INSERT INTO publications (projection, sink, sends, nonce, error) "
                "VALUES (:projection, :sink, 0, '', :error) "
                "ON CONFLICT (projection, sink) DO UPDATE SET error = excluded.error"
            ),
            {**self._own, "error": error},
        )


def refusal(
    tx: Connection, marker: Marker, sink: str, *, chain_id: int, projection: str
) -> ForeignMarker | None:
    """Why this marker is not ours: another store's, another projection's, or of a later state of this
    store than the one it was put back to. None where it is ours.

    A marker of an earlier send is a sink that was put back, or a send that died: it is caught up.
    """
    sends, nonce = tx.execute(
        text("SELECT sends, nonce FROM publications WHERE projection = :projection AND sink = :sink"),
        {"projection": projection, "sink": sink},
    ).first() or (0, "")
    if marker.store != identity_of(tx):
        whose = "another event store"
    elif (marker.projection, marker.chain_id) != (projection, chain_id):
        whose = f"the projection {marker.projection} of chain {marker.chain_id}"
    elif marker.sends > sends or (marker.sends == sends and marker.nonce != nonce):
        whose = (
            f"this projection at revision {marker.revision} that this store knows nothing of: the store "
            "was restored from a backup"
        )
    else:
        return None
    return ForeignMarker(
        f"The {sink} sink of {projection} holds documents of {whose}.",
        hint="Point it elsewhere, or run `chainfold sync --take-over` to make it ours.",
    )
