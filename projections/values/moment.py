"""Times as people read them: years 1 to 9999 as a date, anything else as seconds since 1970.

A time may come from a chain, a backup or another program's clock, and may be any integer.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc(seconds: float) -> datetime | None:
    """The date of this time, to the microsecond; None beyond the years 1 to 9999 and for NaN."""
    try:
        whole = int(seconds // 1)
        return _EPOCH + timedelta(seconds=whole, microseconds=round((seconds - whole) * 1e6))
    except (OverflowError, ValueError):
        return None


def moment(seconds: float) -> str:
    """`2026-12-01 12:00:00Z`; a time that no calendar has: `281474976710655 s since 1970`."""
    found = utc(seconds)
    if found is None:
        return f"{seconds} s since 1970"
    return found.replace(tzinfo=None).isoformat(sep=" ", timespec="seconds") + "Z"


def precise(micros: int) -> str:
    """Microseconds since 1970 as ISO 8601, to the microsecond; beyond the calendar as seconds."""
    try:
        found = _EPOCH + timedelta(microseconds=micros)
    except OverflowError:
        return f"{micros // 1_000_000} s since 1970"
    return found.isoformat(timespec="microseconds").replace("+00:00", "Z")
