"""When a cron expression fires. Pure: APScheduler's trigger, with the weekdays that crontabs know.

Five fields (minute, hour, day of month, month, day of week), or six with the second in front. Sunday is
0 and 7; a day of month and a day of week cannot both be given, since crontabs and APScheduler disagree on
what that means.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from projections.errors import ConfigurationError

DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
EXAMPLES = 'Write five fields as in "*/5 * * * *" or "0 4 * * *", or six with the second in front.'

SHIFT = timedelta(hours=3)
"""More than any clock is put forward or back."""

NEVER = datetime.max.replace(tzinfo=UTC) - timedelta(days=2)


class Cron:
    """One expression in one time zone. Raises `ConfigurationError`, with the path of its key."""

    def __init__(self, expression: str, timezone: str, *, where: str) -> None:
        from apscheduler.triggers.cron import CronTrigger

        fields = expression.split()
        if len(fields) not in (5, 6):
            raise ConfigurationError(f"{where}: {expression!r} has {len(fields)} fields.", hint=EXAMPLES)
        second, minute, hour, day, month, weekday = fields if len(fields) == 6 else ["0", *fields]
        if day != "*" and weekday != "*":
            raise ConfigurationError(
                f"{where}: {expression!r} names a day of the month and a day of the week.",
                hint="Leave one of them at *.",
            )
        try:
            self._zone = ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ConfigurationError(
                f"schedule.timezone: {timezone!r} is no time zone.", hint="Write UTC or Europe/Berlin."
            ) from error
        try:
            self._trigger: Any = CronTrigger(
                second=second,
                minute=minute,
                hour=hour,
                day=day,
                month=month,
                day_of_week=_named(weekday),
                timezone=UTC,
            )
        except ValueError as error:
            raise ConfigurationError(
                f"{where}: {expression!r} cannot be read: {str(error).rstrip('.')}.", hint=EXAMPLES
            ) from error
        if self._next(datetime(2000, 1, 1)) is None:
            raise ConfigurationError(f"{where}: {expression!r} never happens.", hint=EXAMPLES)

    def after(self, moment: datetime) -> datetime:
        """The first time after `moment`, in UTC. A time that comes twice fires twice, one that summer time
        leaves out fires once, an hour later."""
        local = moment.astimezone(self._zone)
        wall = local.replace(tzinfo=None)
        if (local - SHIFT).utcoffset() == (local + SHIFT).utcoffset():
            found = self._next(wall)
            return NEVER if found is None else self._moments(found)[0]
        coming: list[datetime] = []  # around a change of the clock, times on the wall are in no order
        at = self._next(wall - SHIFT)
        while at is not None and (at <= wall + SHIFT or not coming):
            coming += [each for each in self._moments(at) if each > moment]
            at = self._next(at)
        return min(coming, default=NEVER)

    def shown(self, moment: datetime) -> str:
        """A moment as the expression's time zone has it."""
        return moment.astimezone(self._zone).isoformat(sep=" ", timespec="seconds")

    def _next(self, wall: datetime) -> datetime | None:
        """The next time on the wall after this one; the trigger knows no summer time, and needs none."""
        start = wall.replace(tzinfo=UTC) + timedelta(microseconds=1)
        found: datetime | None = self._trigger.get_next_fire_time(None, start)
        return None if found is None else found.replace(tzinfo=None)

    def _moments(self, wall: datetime) -> list[datetime]:
        """When the wall shows this time: once, twice, or never; then when it would have."""
        first, second = (wall.replace(tzinfo=self._zone, fold=fold).astimezone(UTC) for fold in (0, 1))
        return [first, second] if second > first else [first]


def _named(weekday: str) -> str:
    """Days of the week by name: APScheduler counts from Monday, crontabs from Sunday."""
    return ",".join(_days(part) for part in weekday.split(","))


def _days(part: str) -> str:
    found = re.fullmatch(r"(\*|[0-7a-z]+)(?:-([0-7a-z]+))?(?:/(\d+))?", part.lower())
    if found is None or part == "*":
        return part
    first, last, step = found.groups()
    if first == "*":
        begin, end = 0, 6
    else:
        begin = _number(first)
        end = begin if last is None and step is None else 6 if last is None else _number(last)
    if end < begin:
        end += 7
    return ",".join(DAYS[number % 7] for number in range(begin, end + 1, int(step or 1)))


def _number(day: str) -> int:
    if day.isdigit():
        return int(day)
    if day not in DAYS:
        raise ValueError(f"{day} is no day of the week")
    return DAYS.index(day)
