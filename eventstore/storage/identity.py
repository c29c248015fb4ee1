"""The identity of a store, which sinks and backups remember: the only file that speaks SQL to `store`."""

from __future__ import annotations

import secrets

from sqlalchemy import Connection, text

from eventstore import clock


def identity_of(tx: Connection) -> str | None:
    """The id that was drawn when the store was made; None where the store is not set up."""
    found = tx.execute(text("SELECT id FROM store")).scalar()
    return None if found is None else str(found)


def draw(tx: Connection) -> None:
    """Draws an id for a store that has none."""
    if identity_of(tx) is None:
        tx.execute(
            text("INSERT INTO store VALUES (:id, :now)"), {"id": secrets.token_hex(16), "now": clock.now()}
        )


def replace(tx: Connection, identity: str) -> None:
    """Gives the store the id of another one, whose place it takes."""
    tx.execute(text("UPDATE store SET id = :id"), {"id": identity})
