"""Runs: what was run, when, by whom, and how it ended.

Law: no run is forgotten. One whose process was killed is written down as interrupted by the next that
begins: its process is dead on this machine, or has not said for `SILENCE` seconds that it lives.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Literal

from msgspec import Struct
from sqlalchemy import Connection, Row

from eventstore import clock
from eventstore.storage.lease import is_dead
from eventstore.storage.legible import legible
from eventstore.storage.sql import text

Origin = Literal["manual", "schedule"]

BEAT = 20.0
"""Seconds between two signs of life of a run."""

SILENCE = 120.0
"""Seconds without a sign of life after which a run of another machine counts as interrupted."""

COLUMNS = "id, command, origin, owner, due_at, started_at, beat_at, finished_at, outcome, detail"


class Outcome(IntEnum):
    """How a run ended: its exit code, or that it was cut off."""

    INTERRUPTED = -1
    DONE = 0
    FAILED = 1
    MISUSED = 2
    DIFFERS = 3


class Run(Struct, frozen=True):
    """One run; times are microseconds since 1970. `due_at` is when the schedule wanted it."""

    id: int
    command: str
    origin: Origin
    owner: str
    due_at: int | None
    started_at: int
    beat_at: int | None
    finished_at: int | None
    outcome: Outcome | None
    detail: str

    @property
    def state(self) -> str:
        """running, or how it ended."""
        return "running" if self.outcome is None else self.outcome.name.lower()

    @property
    def seconds(self) -> float | None:
        """How long it took; None while it runs."""
        return None if self.finished_at is None else (self.finished_at - self.started_at) / 1e6


class Runs:
    """The runs of one store, within the caller's transaction or snapshot."""

    def __init__(self, tx: Connection) -> None:
        self._tx = tx

    def begin(
        self,
        command: str,
        *,
        origin: Origin,
        owner: str,
        due_at: int | None = None,
        started_at: int | None = None,
    ) -> int:
        """Writes a run down, and those that were cut off before it; its number."""
        self.sweep()
        now = clock.now()
        return int(
            self._tx.execute(
                text(
                    "INSERT INTO runs (command, started_at, origin, owner, due_at, beat_at) "
                    "VALUES (:command, :start, :origin, :owner, :due, :now) RETURNING id"
                ),
                {
                    "command": command,
                    "start": now if started_at is None else started_at,
                    "now": now,
                    "origin": origin,
                    "owner": owner,
                    "due": due_at,
                },
            ).scalar_one()
        )

    def beat(self, number: int) -> None:
        """Says that a run lives."""
        self._tx.execute(
            text("UPDATE runs SET beat_at = :now WHERE id = :id AND finished_at IS NULL"),
            {"id": number, "now": clock.now()},
        )

    def end(self, number: int, outcome: Outcome, detail: str) -> None:
        """Writes down how a run ended. This replaces what a process wrote that took it for dead meanwhile."""
        self._tx.execute(
            text("UPDATE runs SET finished_at = :now, outcome = :outcome, detail = :detail WHERE id = :id"),
            {"id": number, "now": clock.now(), "outcome": int(outcome), "detail": legible(detail)},
        )

    def sweep(self) -> None:
        """Writes down as interrupted each run that began, did not end, and has no process at work on it."""
        for run in self._where("finished_at IS NULL", order="id"):
            if not _is_cut_off(run):
                continue
            last = run.beat_at or run.started_at
            self._tx.execute(
                text(
                    "UPDATE runs SET finished_at = :last, outcome = :outcome, detail = :detail "
                    "WHERE id = :id AND finished_at IS NULL"
                ),
                {
                    "id": run.id,
                    "last": last,
                    "outcome": int(Outcome.INTERRUPTED),
                    "detail": "Its process ended before the run did.",
                },
            )

    def listed(
        self,
        *,
        limit: int,
        before: int | None = None,
        command: str | None = None,
        origin: Origin | None = None,
    ) -> list[Run]:
        """The newest first: `limit` of those whose number is below `before`, of one command with any of its
        arguments, of one origin. A run that was cut off shows as interrupted, also where that is not written
        down yet."""
        condition = "id < :before"
        values: dict[str, object] = {"before": 2**31 - 1 if before is None else before, "limit": limit}
        if command is not None:
            condition += " AND (command = :command OR command LIKE :begins)"
            values |= {"command": command, "begins": f"{command} %"}
        if origin is not None:
            condition += " AND origin = :origin"
            values |= {"origin": origin}
        return [_as_it_is(run) for run in self._where(condition, order="id DESC LIMIT :limit", **values)]

    def newest(self, command: str, *, origin: Origin | None = None) -> Run | None:
        """The newest run of exactly this command, of one origin or any, that came to an end of its own."""
        condition, values = "command = :command AND outcome >= 0", {"command": command}
        if origin is not None:
            condition += " AND origin = :origin"
            values["origin"] = origin
        return next(iter(self._where(condition, order="id DESC LIMIT 1", **values)), None)

    def last_scheduled(self, command: str) -> Run | None:
        """The newest run of a job of the schedule, however it ended."""
        return next(
            iter(
                self._where(
                    "command = :command AND origin = 'schedule'", order="id DESC LIMIT 1", command=command
                )
            ),
            None,
        )

    def _where(self, condition: str, *, order: str, **values: object) -> list[Run]:
        rows = self._tx.execute(
            text(f"SELECT {COLUMNS} FROM runs WHERE {condition} ORDER BY {order}"), values
        )
        return [_run(row) for row in rows]


def _run(row: Row[Any]) -> Run:
    found = dict(row._mapping)
    return Run(**found | {"outcome": None if row.outcome is None else Outcome(row.outcome)})


def _as_it_is(run: Run) -> Run:
    if run.outcome is not None or not _is_cut_off(run):
        return run
    return Run(
        run.id,
        run.command,
        run.origin,
        run.owner,
        run.due_at,
        run.started_at,
        run.beat_at,
        run.beat_at or run.started_at,
        Outcome.INTERRUPTED,
        "Its process ended before the run did.",
    )


def _is_cut_off(run: Run) -> bool:
    """Of rows that an older version wrote nothing is known but that they never ended."""
    if not run.owner:
        return True
    return is_dead(run.owner) or (run.beat_at or 0) < clock.now() - int(SILENCE * 1e6)
