"""`[schedule]` as it is used: checked, with its defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from msgspec import Struct

from projections.errors import ConfigurationError
from projections.service.config.cron import Cron
from projections.service.config.tables import ScheduleTable

Job = Literal["sync", "verify", "backup"]


class Schedule(Struct, frozen=True):
    """When which job runs, and where backups go."""

    jobs: dict[Job, Cron]
    backup_to: Path | None = None


def schedule(table: ScheduleTable, folder: Path) -> Schedule:
    """`[schedule]`, checked; `backup_to` is relative to `folder`."""
    if (table.backup is None) != (table.backup_to is None):
        missing, there = ("backup_to", "backup") if table.backup_to is None else ("backup", "backup_to")
        raise ConfigurationError(
            f"schedule.{missing} is missing: there is schedule.{there}.",
            hint='Write backup = "0 3 * * *" and backup_to = "backup".',
        )
    given: list[tuple[Job, str | None]] = [
        ("sync", table.sync),
        ("verify", table.verify),
        ("backup", table.backup),
    ]
    return Schedule(
        {
            job: Cron(expression, table.timezone, where=f"schedule.{job}")
            for job, expression in given
            if expression is not None
        },
        None if table.backup_to is None else folder / table.backup_to,
    )
