"""Which process works at which stage, as the leases tell it."""

from __future__ import annotations

from msgspec import Struct
from sqlalchemy import text

from eventstore.lease import Lease
from eventstore.store import Store


class Holder(Struct, frozen=True):
    """The process that holds a stage's lease, and the epoch: how often the stage was taken in all."""

    host: str
    pid: int
    epoch: int


def holders(store: Store) -> dict[str, Holder]:
    """By lease, ascending, whoever lives and holds it; stand-bys hold nothing and are not seen."""
    with store.read() as tx:
        rows = tx.execute(text("SELECT name, owner, epoch FROM leases WHERE owner <> '' ORDER BY name")).all()
    found: dict[str, Holder] = {}
    for name, owner, epoch in rows:
        host, _, pid, _ = owner.split("|")
        if pid and Lease(store, name).is_held():
            found[name] = Holder(host, int(pid), int(epoch))
    return found
