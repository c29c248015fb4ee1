"""When a cron expression fires: cronsim's reading of it, on the wall clock of a time zone. Pure.

Five fields (minute, hour, day of month, month, day of week), or six with the second in front. Sunday is
0 and 7; a day of month and a day of week cannot both be given, since crontabs disagree on what that means.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from projections.errors import ConfigurationError

DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
PARTS = (
    ("second", 59),
    ("minute", 59),
    ("hour", 23),
    ("day of the month", 31),
    ("month", 12),
    ("day of the week", 7),
)
"""What each field is called, and its largest value."""

EXAMPLES = 'Write five fields as in "*/5 * * * *" or "0 4 * * *", or six with the second in front.'

SHIFT = timedelta(hours=3)
"""More than any clock is put forward or back."""

BEGINNING = datetime(2000, 1, 1)
NEVER = datetime.max.replace(tzinfo=UTC) - timedelta(days=2)


class Cron:
    """One expression in one time zone. Raises `ConfigurationError`, with the path of its key."""

    def __init__(self, expression: str, timezone: str, *, where: str) -> None:
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
                f"schedule.timezone: {timezone!r} is not a time zone.", hint="Write UTC or Europe/Berlin."
            ) from error
        try:
            for part, field in zip(PARTS, (second, minute, hour, day, month, weekday), strict=True):
                _check_steps(field, *part)
            weekday = _within_a_week(weekday)
            day = re.sub(r"\blast\b", "L", day, flags=re.IGNORECASE)
            CronSim(" ".join((second, minute, hour, day, "*", weekday)), BEGINNING)
            CronSim(f"0 0 1 {month} *", BEGINNING)
        except (CronSimError, ValueError) as error:
            raise ConfigurationError(
                f"{where}: {expression!r} cannot be read: {error}.", hint=EXAMPLES
            ) from error
        self._fields = " ".join((second, minute, hour, day, month, weekday))
        if not self._happens():
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

    def _happens(self) -> bool:
        try:
            return self._next(BEGINNING) is not None
        except CronSimError:  # each field is right, but no month of these has such a day
            return False

    def _next(self, wall: datetime) -> datetime | None:
        """The next time on the wall after this one, or None: cronsim looks 50 years ahead. It is given no
        time zone, since it would follow Debian in skipping the second of two equal times."""
        return next(CronSim(self._fields, wall), None)

    def _moments(self, wall: datetime) -> list[datetime]:
        """When the wall shows this time: once, twice, or never; then when it would have."""
        first, second = (wall.replace(tzinfo=self._zone, fold=fold).astimezone(UTC) for fold in (0, 1))
        return [first, second] if second > first else [first]


def _check_steps(field: str, name: str, most: int) -> None:
    """Raises ValueError for `*/90` in minutes, which cronsim reads as `0`, and for `*/0`."""
    for part in field.split(","):
        _, slash, step = part.partition("/")
        if slash and step.isdecimal() and not 0 < int(step) <= most:
            raise ValueError(f"a {name} has no step of {step}")


def _within_a_week(weekday: str) -> str:
    """Days of the week by number, also of a range across the week's end, which cronsim refuses: `fri-mon`."""
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
    return ",".join(str(number % 7) for number in range(begin, end + 1, int(step or 1)))


def _number(day: str) -> int:
    if day.isdigit():
        return int(day)
    if day not in DAYS:
        raise ValueError(f"{day} is not a day of the week")
    return DAYS.index(day)
