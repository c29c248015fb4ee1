"""Exact sums by the server itself, of integers of any width: as parts, each of which sums within 64 bits.

`$sum` of int64 goes over into a double beyond 2^63, and some servers fail there. So an integer is summed in
two parts of 31 and 33 bits, and a wide one (its sortable text) in parts of nine digits: exact for 2^30
documents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bson import Int64

from projections.sinks.mongo.driver import MongoDocument
from projections.sinks.mongo.names import Names
from projections.values.fields import beside
from projections.values.integers import DIGITS

_LOW = Int64(2**31)
_PART = 9
"""Digits of a part."""

_PARTS = tuple(range(0, DIGITS, _PART))


class Summing:
    """How many documents there are, and the sum of each of these fields: what is asked, and what it says."""

    def __init__(self, names: Names, fields: Sequence[str]) -> None:
        self._names = names
        self._fields = tuple(fields)

    def pipeline(self, there: Mapping[str, Any]) -> list[MongoDocument]:
        """The aggregation over the documents that `there` matches."""
        group: MongoDocument = {"_id": None, "n": {"$sum": 1}}
        for place, name in enumerate(self._fields):
            field = f"${self._names.theirs[name]}"
            parts = _wide(field) if name in self._names.wide else _narrow(field)
            group |= {f"s{place}_{part}": {"$sum": summed} for part, summed in parts.items()}
        return [{"$match": dict(there)}, {"$group": group}]

    def totals(self, found: Mapping[str, Any]) -> dict[str, int]:
        """`count`, and by field the sum; a field called `count` has its sum under `count_`."""
        sums = {"count": int(found.get("n", 0))}
        for place, name in enumerate(self._fields):
            parts = {
                key.partition("_")[2]: int(value)
                for key, value in found.items()
                if key.startswith(f"s{place}_")
            }
            sums[beside("count", name)] = _widened(parts) if name in self._names.wide else _narrowed(parts)
        return sums


def _narrow(field: str) -> MongoDocument:
    """Parts of an integer of 64 bits; anything but a number counts 0."""
    low: Any = {"$mod": [field, _LOW]}
    high = {"$toLong": {"$divide": [{"$subtract": [field, low]}, _LOW]}}
    return {part: _where({"$isNumber": field}, summed) for part, summed in {"low": low, "high": high}.items()}


def _narrowed(parts: Mapping[str, int]) -> int:
    return parts.get("high", 0) * _LOW + parts.get("low", 0)


def _wide(field: str) -> MongoDocument:
    """Parts of the sortable form: its digits, and how many are negative; other text counts nothing."""
    ours: Any = {"$eq": [{"$type": field}, "string"]}
    whole = {"$and": [ours, {"$eq": [{"$strLenBytes": _text(ours, field)}, DIGITS + 1]}]}
    parts = {
        str(at): _where(whole, {"$toLong": {"$substrBytes": [field, 1 + at, min(_PART, DIGITS - at)]}})
        for at in _PARTS
    }
    return {**parts, "minus": _where(whole, {"$cond": [{"$lt": [field, "0"]}, 1, 0]})}


def _widened(parts: Mapping[str, int]) -> int:
    digits = sum(parts.get(str(at), 0) * 10 ** (DIGITS - at - min(_PART, DIGITS - at)) for at in _PARTS)
    return int(digits - parts.get("minus", 0) * 10**DIGITS)


def _where(condition: Any, summed: Any) -> MongoDocument:
    return {"$cond": [condition, summed, Int64(0)]}


def _text(ours: Any, field: str) -> MongoDocument:
    return {"$cond": [ours, field, ""]}
