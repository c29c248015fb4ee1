"""`[alerts]` and `[schedule]` as they are used: checked, in seconds, with their defaults."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from msgspec import Struct

from projections.errors import ConfigurationError
from projections.service.cron import Cron
from projections.service.incidents import Limits
from projections.service.tables import AlertsTable, ScheduleTable
from projections.service.telling import Pace

Job = Literal["sync", "verify", "backup"]
Seconds = Callable[[str, str], float]
"""The seconds of a duration, and where it is written; `ConfigurationError` where it is none."""


class Alerts(Struct, frozen=True):
    """Where alerts go and from when on; `every` is how often the state of things is looked at, in seconds."""

    urls: tuple[str, ...]
    limits: Limits
    pace: Pace
    every: float


class Schedule(Struct, frozen=True):
    """When which job runs, and where backups go."""

    jobs: dict[Job, Cron]
    backup_to: Path | None = None


def alerts(table: AlertsTable, seconds: Seconds) -> Alerts:
    """`[alerts]`, checked."""
    urls = [table.urls] if isinstance(table.urls, str) else table.urls
    for place, url in enumerate(urls):
        if "://" not in url:
            raise ConfigurationError(
                f"alerts.urls[{place}] is no address.", hint="Write an Apprise URL, such as json://host/path."
            )
        if url in urls[:place]:
            raise ConfigurationError(f"alerts.urls[{place}] is there twice.")
    if table.per_hour < 1:
        raise ConfigurationError(f"alerts.per_hour: {table.per_hour} is less than one.")

    def lasting(text: str, key: str) -> float | None:
        return None if text == "never" else seconds(text, f"alerts.{key}")

    return Alerts(
        tuple(urls),
        Limits(
            lasting(table.failing_for, "failing_for"),
            lasting(table.head_stalled, "head_stalled"),
            lasting(table.gap_older_than, "gap_older_than"),
            lasting(table.step_longer_than, "step_longer_than"),
        ),
        Pace(seconds(table.cooldown, "alerts.cooldown"), table.per_hour),
        seconds(table.every, "alerts.every"),
    )


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
