"""Requests: what a command asks of whoever holds a lease, so that it works while the service runs.

The command writes a row and waits; the holder executes it between two steps. With no holder, the command
takes the lease and is the holder itself. A holder that dies leaves the row pending for the next one.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from eventstore import clock
from eventstore.storage.legible import legible
from eventstore.storage.sql import text
from eventstore.storage.store import Store


class Request(Struct, frozen=True):
    """What is asked: `kind` and its arguments. `state` is pending, done or failed; `detail` the answer.

    While it is pending, `done` of `total` says how far it is (None: not begun, or done at once), and
    `detail` is what the next holder goes on from.
    """

    id: int
    lease: str
    kind: str
    arguments: dict[str, Any]
    state: str
    detail: str
    done: int | None = None
    total: int | None = None


class Requests:
    """The requests of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def submit(self, lease: str, kind: str, **arguments: Any) -> int:
        """Asks the holder of `lease`; the number to ask for the answer with."""
        with self._store.write() as tx:
            return int(
                tx.execute(
                    text(
                        "INSERT INTO requests (lease, kind, arguments, state, detail, created_at) "
                        "VALUES (:lease, :kind, :arguments, 'pending', '', :now) RETURNING id"
                    ),
                    {
                        "lease": lease,
                        "kind": kind,
                        "arguments": msgspec.json.encode(arguments).decode(),
                        "now": clock.now(),
                    },
                ).scalar_one()
            )

    def pending(self, lease: str) -> list[Request]:
        """What the holder of `lease` is to do, in the order it was asked."""
        return self._where("lease = :lease AND state = 'pending'", lease=lease)

    def get(self, number: int) -> Request:
        return self._where("id = :id", id=number)[0]

    def advance(self, request: Request, *, done: int, total: int, detail: str) -> None:
        """Writes down how far a request has come."""
        with self._store.write() as tx:
            tx.execute(
                text("UPDATE requests SET done = :done, total = :total, detail = :detail WHERE id = :id"),
                {"id": request.id, "done": done, "total": total, "detail": detail},
            )

    def finish(self, request: Request, *, ok: bool, detail: str) -> None:
        """Writes the answer down for the command that waits for it."""
        with self._store.write() as tx:
            tx.execute(
                text(
                    "UPDATE requests SET state = :state, detail = :detail, finished_at = :now WHERE id = :id"
                ),
                {
                    "id": request.id,
                    "state": "done" if ok else "failed",
                    "detail": detail if ok else legible(detail),
                    "now": clock.now(),
                },
            )

    def _where(self, condition: str, **values: Any) -> list[Request]:
        with self._store.read() as tx:
            rows = tx.execute(
                text(
                    "SELECT id, lease, kind, arguments, state, detail, done, total FROM requests "
                    f"WHERE {condition} ORDER BY id"
                ),
                values,
            ).all()
        return [
            Request(number, lease, kind, msgspec.json.decode(arguments), *rest)
            for number, lease, kind, arguments, *rest in rows
        ]
