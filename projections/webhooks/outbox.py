"""The SQL of the webhooks: each rule's marker and memory, and the notifications with what became of them.

Law: memory and notification are written in one transaction, so a thing is decided once. `(projection, rule,
key, occurrence)` is unique: a second insert is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Literal

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, bindparam

from eventstore import clock
from eventstore.storage.identity import identity_of
from eventstore.storage.legible import legible
from eventstore.storage.sql import text
from projections.sinks import Marker
from projections.webhooks.rule import Memory

NotificationState = Literal["pending", "delivered", "dead"]
STANDINGS: tuple[NotificationState, ...] = ("pending", "delivered", "dead")
_COLUMNS = (
    "id, projection, rule, key, occurrence, idempotency_key, body, state, attempts, next_at, "
    "created_at, settled_at, reason"
)


class Notification(Struct, frozen=True):
    """A message to a receiver, waiting, sent or dead. Times are microseconds since 1970."""

    id: int
    projection: str
    rule: str
    key: str
    occurrence: int
    idempotency_key: str
    body: bytes
    state: NotificationState
    attempts: int
    next_at: int
    created_at: int
    settled_at: int | None
    reason: str


class Fired(Struct, frozen=True):
    """What a rule decided to tell: the how-manieth of its key, and the body that every attempt sends."""

    key: str
    occurrence: int
    idempotency_key: str
    body: bytes


class Begun(Struct, frozen=True):
    """The condition under which a rule began, its marker, and when it began (microseconds since 1970)."""

    condition: str
    marker: Marker
    began_at: int


class Attempt(Struct, frozen=True):
    """How an attempt ended: what the notification is from now on, and, where it waits, until when."""

    id: int
    state: NotificationState
    reason: str = ""
    next_at: int = 0


def idempotency_key(*facts: str | int) -> str:
    """The same for the same facts, in every process at any time; 40 hexadecimal digits."""
    return sha256(msgspec.json.encode(facts)).hexdigest()[:40]


def put_back(tx: Connection) -> None:
    """Makes the restored rules of a store go on: each looks at every document again, with what it remembers.

    A key that is remembered is looked at even where its document is gone since. Nothing is decided before the
    documents are served, which is when they are folded to where the backup was taken, or above.
    """
    store = str(identity_of(tx))
    for projection, rule, marker in tx.execute(
        text("SELECT projection, rule, marker FROM notification_rules")
    ).all():
        chain_id = msgspec.json.decode(marker, type=Marker).chain_id
        tx.execute(
            text(
                "UPDATE notification_rules SET marker = :marker "
                "WHERE projection = :projection AND rule = :rule"
            ),
            {
                "projection": projection,
                "rule": rule,
                "marker": msgspec.json.encode(Marker(store, chain_id, projection, 0, "")).decode(),
            },
        )
    tx.execute(
        text(
            "INSERT INTO changes (projection, key, revision) "
            "SELECT DISTINCT projection, key, 1 FROM notification_memory WHERE true ON CONFLICT DO NOTHING"
        )
    )
    if tx.dialect.name == "postgresql":  # the next number is above those that were put back
        tx.execute(
            text(
                "SELECT setval(pg_get_serial_sequence('notifications', 'id'), "
                "coalesce(max(id), 0) + 1, false) FROM notifications"
            )
        )


class Outbox:
    """One rule's rows, within the caller's transaction or snapshot."""

    def __init__(self, tx: Connection, projection: str, rule: str) -> None:
        self._tx = tx
        self._own = {"projection": projection, "rule": rule}

    # --- the marker ---

    def begun(self) -> Begun | None:
        """How the rule began; None before it did."""
        row = self._tx.execute(
            text(
                "SELECT condition, marker, began_at FROM notification_rules "
                "WHERE projection = :projection AND rule = :rule"
            ),
            self._own,
        ).first()
        if row is None:
            return None
        return Begun(row.condition, msgspec.json.decode(row.marker, type=Marker), row.began_at)

    def set_marker(self, marker: Marker, *, condition: str) -> None:
        self._tx.execute(
            text(
                "INSERT INTO notification_rules (projection, rule, condition, marker, began_at) "
                "VALUES (:projection, :rule, :condition, :marker, :now) "
                "ON CONFLICT (projection, rule) DO UPDATE SET marker = excluded.marker"
            ),
            {
                **self._own,
                "condition": condition,
                "marker": msgspec.json.encode(marker).decode(),
                "now": clock.now(),
            },
        )

    # --- the memory ---

    def memory(self, keys: Sequence[str]) -> dict[str, Memory]:
        """What is remembered of these keys; of those never seen nothing is."""
        query = text(
            "SELECT key, state, fired FROM notification_memory "
            "WHERE projection = :projection AND rule = :rule AND key IN :keys"
        ).bindparams(bindparam("keys", expanding=True))
        found: dict[str, Memory] = {}
        for start in range(0, len(keys), 500):
            rows = self._tx.execute(query, {**self._own, "keys": list(keys[start : start + 500])})
            found |= {key: Memory(msgspec.json.decode(state), fired) for key, state, fired in rows}
        return found

    def remember(self, memory: Mapping[str, Memory], *, keep: bool = False) -> None:
        """Sets the memory of these keys; with `keep`, only of those that have none."""
        if not memory:
            return
        end = "NOTHING" if keep else "UPDATE SET state = excluded.state, fired = excluded.fired"
        self._tx.execute(
            text(
                "INSERT INTO notification_memory (projection, rule, key, state, fired) "
                f"VALUES (:projection, :rule, :key, :state, :fired) "
                f"ON CONFLICT (projection, rule, key) DO {end}"
            ),
            [
                {
                    **self._own,
                    "key": key,
                    "state": msgspec.json.encode(item.state).decode(),
                    "fired": item.fired,
                }
                for key, item in memory.items()
            ],
        )

    # --- the notifications ---

    def put(self, fired: Iterable[Fired]) -> None:
        """Adds notifications that are due at once."""
        rows = [
            {
                **self._own,
                "key": item.key,
                "occurrence": item.occurrence,
                "idempotency": item.idempotency_key,
                "body": item.body,
                "now": clock.now(),
            }
            for item in fired
        ]
        if rows:
            self._tx.execute(
                text(
                    "INSERT INTO notifications (projection, rule, key, occurrence, idempotency_key, body, "
                    "state, attempts, next_at, created_at, reason) VALUES (:projection, :rule, :key, "
                    ":occurrence, :idempotency, :body, 'pending', 0, :now, :now, '')"
                ),
                rows,
            )

    def due(self, limit: int) -> list[Notification]:
        """What may be sent now: of each key only the first that waits."""
        return self._where(
            "state = 'pending' AND next_at <= :now AND NOT EXISTS (SELECT 1 FROM notifications e "
            "WHERE e.projection = n.projection AND e.rule = n.rule AND e.key = n.key "
            "AND e.state = 'pending' AND e.occurrence < n.occurrence) ORDER BY next_at, id LIMIT :limit",
            now=clock.now(),
            limit=limit,
        )

    def settle(self, tried: Iterable[Attempt]) -> None:
        """Writes down how attempts ended. What is no longer pending stays as it is."""
        rows = [
            {
                "id": item.id,
                "state": item.state,
                "reason": legible(item.reason),
                "next": item.next_at,
                "settled": None if item.state == "pending" else clock.now(),
            }
            for item in tried
        ]
        if rows:
            self._tx.execute(
                text(
                    "UPDATE notifications SET state = :state, reason = :reason, next_at = :next, "
                    "settled_at = :settled, attempts = attempts + 1 WHERE id = :id AND state = 'pending'"
                ),
                rows,
            )

    def again(self, states: Sequence[NotificationState], number: int | None) -> int:
        """Makes those in these states due now, with their attempts counted from zero; one of them, or all."""
        query = text(
            "UPDATE notifications SET state = 'pending', next_at = :now, attempts = 0, settled_at = NULL "
            "WHERE projection = :projection AND rule = :rule AND state IN :states"
            f"{'' if number is None else ' AND id = :id'}"
        ).bindparams(bindparam("states", expanding=True))
        values: dict[str, Any] = {**self._own, "now": clock.now(), "states": list(states)}
        return int(self._tx.execute(query, values | ({} if number is None else {"id": number})).rowcount)

    def counts(self) -> dict[str, int]:
        """How many there are, by state."""
        rows = self._tx.execute(
            text(
                "SELECT state, count(*) FROM notifications "
                "WHERE projection = :projection AND rule = :rule GROUP BY state"
            ),
            self._own,
        )
        return {state: int(count) for state, count in rows}

    def listed(self, *, state: NotificationState | None, key: str | None, limit: int) -> list[Notification]:
        """The newest first."""
        wanted = " AND ".join(
            ["1 = 1", *(["state = :state"] if state else []), *(["key = :key"] if key is not None else [])]
        )
        values = {"state": state, "key": key}
        return self._where(
            f"{wanted} ORDER BY id DESC LIMIT :limit",
            limit=limit,
            **{name: value for name, value in values.items() if value is not None},
        )

    def _where(self, condition: str, **values: Any) -> list[Notification]:
        rows = self._tx.execute(
            text(
                f"SELECT {_COLUMNS} FROM notifications n "
                f"WHERE projection = :projection AND rule = :rule AND {condition}"
            ),
            {**self._own, **values},
        )
        return [Notification(*row) for row in rows]
