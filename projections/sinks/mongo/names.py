"""Our fields and the application's names for them; documents in the sink's form and in ours."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from bson import Int64
from bson.datetime_ms import DatetimeMS

from projections.errors import ConfigurationError, SinkError
from projections.sinks import Change, Value

Document = dict[str, Any]

MARKED = {"chainfold.revision": {"$exists": True}}
"""Matches the documents that carry our mark."""


class Names:
    """Says what is written for a change, and reads a change out of a document."""

    def __init__(
        self, *, key: str, fields: tuple[str, ...], dates: frozenset[str], rename: Mapping[str, str]
    ) -> None:
        self.theirs = {name: rename.get(name, name) for name in fields}
        self._ours = {theirs: name for name, theirs in self.theirs.items()}
        for name in (key, *dates, *rename):
            if name not in self.theirs:
                raise ConfigurationError(f"{name} is no field of this projection ({', '.join(fields)}).")
        for name in self._ours:
            if name in {"", "_id", "chainfold"} or name.startswith("$") or "." in name:
                raise ConfigurationError(f"A field of a document cannot be named {name!r} in MongoDB.")
        if len(self._ours) != len(fields):
            raise ConfigurationError(f"Two fields of this projection would share a name: {self.theirs}.")
        self.key = self.theirs[key]
        self.wanted = {"_id": 0, "chainfold": 1, **dict.fromkeys(self._ours, 1)}
        self._dates = dates

    def guard(self, change: Change) -> Document:
        return {self.key: change.key, "chainfold.revision": {"$not": {"$gte": Int64(change.revision)}}}

    def update(self, change: Change) -> Document:
        """Sets what is given and unsets the rest; the key field is written by the insert alone."""
        given = self._given(change)
        to_unset = {name: "" for name in self._ours if name != self.key and name not in given}
        return {
            "$set": {**given, "chainfold": _mark(change)},
            "$setOnInsert": {"_id": change.key},
            **({"$unset": to_unset} if to_unset else {}),
        }

    def document(self, change: Change) -> Document:
        """What `update` makes where there is no document."""
        return {
            "_id": change.key,
            self.key: change.key,
            **self._given(change),
            "chainfold": _mark(change),
        }

    def change(self, held: Document) -> Change:
        mark = held["chainfold"]
        fields = None
        if not mark.get("removed"):
            fields = {name: plain(held[theirs]) for name, theirs in self.theirs.items() if theirs in held}
        try:
            return Change(held[self.key], int(mark["revision"]), int(mark.get("block", 0)), fields)
        except (TypeError, ValueError) as error:
            raise SinkError(
                f"The mark of {held[self.key]} cannot be read: {mark}",
                hint="Somebody else wrote it: unset its field chainfold, then run `verify sinks --repair`.",
            ) from error

    def as_held(self, change: Change) -> Change:
        if change.fields is None:
            return change
        given = {self._ours[self.key]: change.key, **change.fields}
        fields = {name: plain(self.stored(name, given[name])) for name in self.theirs if name in given}
        return msgspec.structs.replace(change, fields=fields)

    def _given(self, change: Change) -> Document:
        """The change's fields under the application's names, without the key."""
        given = change.fields or {}
        return {
            theirs: self.stored(name, given[name])
            for name, theirs in self.theirs.items()
            if theirs != self.key and name in given
        }

    def stored(self, name: str, value: Value) -> Any:
        """A field's value as MongoDB holds it."""
        if name in self._dates and isinstance(value, int | float):
            return DatetimeMS(round(value * 1000))
        return _typed(value)


def _mark(change: Change) -> Document:
    mark: Document = {"revision": Int64(change.revision), "block": Int64(change.block)}
    if change.fields is None:
        mark |= {"removed": True, "removedAt": datetime.now(UTC)}
    return mark


def _typed(value: Value) -> Any:
    """Integers as int64 whatever their size, bytes as hexadecimal; the table of types of all sinks."""
    match value:
        case bool():
            return value
        case int():
            return Int64(value)
        case bytes():
            return f"0x{value.hex()}"
        case list():
            return [_typed(item) for item in value]
        case dict():
            return {name: _typed(item) for name, item in value.items()}
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
