"""`[alerts]` as it is used: checked, in seconds, with its defaults."""

from __future__ import annotations

from msgspec import Struct

from projections.errors import ConfigurationError
from projections.service.config.tables import AlertsTable
from projections.service.config.values import ReadDuration

"""Reads a duration, given with the place where it is written, as seconds. Raises `ConfigurationError` if it
is not a duration."""


class Limits(Struct, frozen=True):
    """How long something may be wrong before it is an incident, in seconds; None: for ever."""

    failing_for: float | None = 120.0
    head_stalled: float | None = 900.0
    gap_older_than: float | None = 600.0
    step_longer_than: float | None = 300.0


class Pace(Struct, frozen=True):
    """How many alerts may be sent: `cooldown` in seconds, `per_hour` in messages."""

    cooldown: float = 1_800.0
    per_hour: int = 20


class Alerts(Struct, frozen=True):
    """Where alerts go and from when on; `every` is how often the state of things is looked at, in seconds."""

    urls: tuple[str, ...]
    limits: Limits
    pace: Pace
    every: float


def alerts(table: AlertsTable, seconds: ReadDuration) -> Alerts:
    """`[alerts]`, checked."""
    urls = [table.urls] if isinstance(table.urls, str) else table.urls
    for place, url in enumerate(urls):
        if "://" not in url:
            raise ConfigurationError(
                f"alerts.urls[{place}] is not an address.",
                hint="Write an Apprise URL, such as json://host/path.",
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
