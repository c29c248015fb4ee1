"""Incidents: what went wrong, from when to when, and whether an alert was sent.

Law: of one kind and subject at most one is open, regardless of how many processes see it at once. What
was open when a process ended is open for the next: its beginning is not reported again, and its end is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct
from sqlalchemy import Connection

from eventstore.records import NO_END
from eventstore.storage.legible import legible
from eventstore.storage.sql import text

COLUMNS = "id, kind, subject, detail, opened_at, closed_at, outcome, told_at, over_told_at"


class Key(Struct, frozen=True, order=True):
    """Identity of an incident: its kind and the subject that it affects."""

    kind: str
    subject: str


class Incident(Struct, frozen=True):
    """One incident. Times are microseconds since 1970.

    `outcome` says how it ended; `told_at` and `over_told_at` when its beginning and its end were reported.
    """

    id: int
    kind: str
    subject: str
    detail: str
    opened_at: int
    closed_at: int | None = None
    outcome: str = ""
    told_at: int | None = None
    over_told_at: int | None = None

    @property
    def key(self) -> Key:
        return Key(self.kind, self.subject)


class Delivery(Struct, frozen=True):
    """An address that takes no alerts since `failing_since`, after so many attempts, and why."""

    target: str
    failing_since: int
    attempts: int
    reason: str


class Incidents:
    """The incidents of one store, within the caller's transaction or snapshot."""

    def __init__(self, tx: Connection) -> None:
        self._tx = tx

    def open(self, key: Key, detail: str, *, now: int) -> bool:
        """Writes one down, unless it is open already; whether it was new."""
        done = self._tx.execute(
            text(
                "INSERT INTO incidents (kind, subject, detail, opened_at) VALUES (:kind, :subject, :detail, "
                ":now) ON CONFLICT (kind, subject) WHERE closed_at IS NULL DO NOTHING"
            ),
            {"kind": key.kind, "subject": key.subject, "detail": legible(detail), "now": now},
        )
        return done.rowcount == 1

    def close(self, key: Key, outcome: str, *, now: int) -> bool:
        """Says that it is over; whether one was open."""
        done = self._tx.execute(
            text(
                "UPDATE incidents SET closed_at = :now, outcome = :outcome "
                "WHERE kind = :kind AND subject = :subject AND closed_at IS NULL"
            ),
            {"kind": key.kind, "subject": key.subject, "outcome": legible(outcome), "now": now},
        )
        return done.rowcount == 1

    def get(self, number: int) -> Incident | None:
        return next(iter(self._where("id = :id", id=number)), None)

    def opened(self) -> list[Incident]:
        """Those that are not over, ascending by number."""
        return self._where("closed_at IS NULL")

    def listed(self, *, limit: int, before: int | None = None) -> list[Incident]:
        """The newest first: `limit` of those whose number is below `before`."""
        last = NO_END if before is None else before
        return self._where("id < :before", order="id DESC LIMIT :limit", before=last, limit=limit)

    def untold(self) -> list[Incident]:
        """Those with something left to report, ascending by number."""
        return self._where("told_at IS NULL OR (closed_at IS NOT NULL AND over_told_at IS NULL)")

    def told_since(self, since: int) -> list[Incident]:
        """Those with a report after `since`."""
        return self._where("told_at > :since OR over_told_at > :since", since=since)

    def claim(self, number: int, *, over: bool, now: int, until: int) -> bool:
        """Makes it this process's turn to tell of the beginning, or with `over` the end, of an incident;
        False where it was reported meanwhile, or is another's turn."""
        untold = "over_told_at" if over else "told_at"
        done = self._tx.execute(
            text(
                "UPDATE incidents SET claimed_until = :until "
                f"WHERE id = :id AND claimed_until < :now AND {untold} IS NULL"
            ),
            {"id": number, "now": now, "until": until},
        )
        return done.rowcount == 1

    def told(self, numbers: Sequence[int], *, now: int, over: bool) -> None:
        """Writes down that these were reported, with `over` that they are over as well; frees the claim."""
        marks = "claimed_until = 0, told_at = coalesce(told_at, :now)"
        if over:
            marks += ", over_told_at = :now"
        self._each(f"UPDATE incidents SET {marks} WHERE id = :id", numbers, now=now)

    def release(self, number: int) -> None:
        """Gives a claim back: it was not told."""
        self._each("UPDATE incidents SET claimed_until = 0 WHERE id = :id", [number])

    # --- deliveries ---

    def undelivered(self, target: str, reason: str, *, now: int) -> bool:
        """Notes that an address did not take an alert; whether that is new."""
        row = self._tx.execute(
            text(
                "INSERT INTO deliveries VALUES (:target, :now, 1, :reason) ON CONFLICT (target) DO UPDATE "
                "SET failing_since = coalesce(deliveries.failing_since, excluded.failing_since), "
                "attempts = deliveries.attempts + 1, reason = excluded.reason RETURNING attempts"
            ),
            {"target": target, "reason": legible(reason), "now": now},
        ).scalar_one()
        return int(row) == 1

    def delivered(self, targets: Iterable[str]) -> None:
        """Notes that these addresses take alerts."""
        for target in targets:
            self._tx.execute(text("DELETE FROM deliveries WHERE target = :target"), {"target": target})

    def failing(self) -> list[Delivery]:
        """The addresses that take no alerts."""
        rows = self._tx.execute(
            text("SELECT target, failing_since, attempts, reason FROM deliveries ORDER BY target")
        )
        return [Delivery(*row) for row in rows]

    def _each(self, statement: str, numbers: Sequence[int], **values: int) -> None:
        """Runs a statement for each number."""
        for number in numbers:
            self._tx.execute(text(statement), {"id": number, **values})

    def _where(self, condition: str, *, order: str = "id", **values: int) -> list[Incident]:
        rows = self._tx.execute(
            text(f"SELECT {COLUMNS} FROM incidents WHERE {condition} ORDER BY {order}"), values
        )
        return [Incident(*row) for row in rows]
