"""Values of a document in MongoDB's types, and back: the one place that knows both.

The law of times: a field in `dates` is a Date of the years 1 to 9999, which every driver, shell and server
can read. A time beyond them is written as the nearest Date within, so that it still sorts and compares as the
earliest or the latest, and its exact seconds stand in our mark beside it (`chainfold.beyond.FIELD`): what is
read back through the sink is what the document says.

The law of wide integers: BSON has none of 256 bits, so a field of that type is its sortable text
(`projections.values.integers`): MongoDB orders, filters and indexes it as the number that it is.
"""

from __future__ import annotations

from typing import Any

from bson import Int64
from bson.datetime_ms import DatetimeMS

from projections.sinks import Value
from projections.values.integers import from_decimal, from_sortable, sortable

FIRST, LAST = -62_135_596_800_000, 253_402_300_799_999
"""The first and the last millisecond that is written as a Date: of the year 1, and of the year 9999."""


def date(seconds: float) -> DatetimeMS:
    """A time in seconds as the Date that stands for it."""
    return DatetimeMS(min(max(_milliseconds(seconds), FIRST), LAST))


def beyond(seconds: float) -> bool:
    """Does the time lie outside the Dates, so that its exact seconds must be kept beside?"""
    return not FIRST <= _milliseconds(seconds) <= LAST


def typed(value: Value) -> Any:
    """A value that is not a time: integers of any size as int64, bytes as hexadecimal."""
    match value:
        case bool():
            return value
        case int():
            return Int64(value)
        case bytes():
            return f"0x{value.hex()}"
        case list():
            return [typed(item) for item in value]
        case dict():
            return {name: typed(item) for name, item in value.items()}
        case _:
            return value


def plain(value: Any) -> Value:
    """A value of MongoDB's as ours: times in seconds, integers of any width as they are."""
    match value:
        case DatetimeMS():
            seconds, rest = divmod(int(value), 1000)
            return seconds + rest / 1000 if rest else seconds
        case Int64():
            return int(value)
        case list():
            return [plain(item) for item in value]
        case dict():
            return {name: plain(item) for name, item in value.items()}
        case _:
            return value  # type: ignore[no-any-return]  # a foreign type in our field is shown as it is


def ordered(value: Value) -> Value:
    """A wide integer, decimal text in our documents, in the form that MongoDB orders by."""
    number = from_decimal(value) if isinstance(value, str) else None
    return value if number is None else sortable(number)


def told(value: Any) -> Value:
    """A wide integer of MongoDB's as decimal text; text that is not a sortable form in quotes, because it is
    not ours and may look like a number."""
    if not isinstance(value, str):
        return plain(value)
    number = from_sortable(value)
    return repr(value) if number is None else str(number)


def meant(value: Any) -> Value:
    """The same of what somebody else wrote, who may have put a number, or its digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(int(value))
    return value if isinstance(value, str) and from_decimal(value) is not None else told(value)


def _milliseconds(seconds: float) -> int:
    return seconds * 1000 if isinstance(seconds, int) else round(seconds * 1000)
