"""Our fields and the application's names for them; documents in the sink's form and in ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from bson import Int64

from projections.errors import ConfigurationError
from projections.sinks import Change, Value
from projections.sinks.mongo.driver import MongoDocument
from projections.sinks.mongo.types import FIRST, beyond, date, meant, ordered, plain, told, typed

MARKED = {"chainfold.revision": {"$exists": True}}
"""Matches the documents that carry our mark."""


class Names:
    """Says what is written for a change, and reads a change out of a document."""

    def __init__(
        self,
        *,
        key: str,
        fields: tuple[str, ...],
        dates: frozenset[str],
        rename: Mapping[str, str],
        wide: frozenset[str] = frozenset(),
    ) -> None:
        self.theirs = {name: rename.get(name, name) for name in fields}
        self._ours = {theirs: name for name, theirs in self.theirs.items()}
        for name in (key, *dates, *rename):
            if name not in self.theirs:
                raise ConfigurationError(f"{name} is not a field of this projection ({', '.join(fields)}).")
        for name in self._ours:
            if name in {"", "_id", "chainfold"} or name.startswith("$") or "." in name:
                raise ConfigurationError(f"A field of a document cannot be named {name!r} in MongoDB.")
        if len(self._ours) != len(fields):
            raise ConfigurationError(f"Two fields of this projection would share a name: {self.theirs}.")
        self.key = self.theirs[key]
        self.wanted = {"_id": 0, "chainfold": 1, **dict.fromkeys(self._ours, 1)}
        self._dates = dates
        self.wide = wide

    def guard(self, change: Change) -> MongoDocument:
        return {self.key: change.key, "chainfold.revision": {"$not": {"$gte": Int64(change.revision)}}}

    def update(self, change: Change) -> MongoDocument:
        """Sets what is given and unsets the rest; the key field is written by the insert alone."""
        given = self._given(change)
        to_unset = {name: "" for name in self._ours if name != self.key and name not in given}
        return {
            "$set": {**given, "chainfold": self._mark(change)},
            "$setOnInsert": {"_id": change.key},
            **({"$unset": to_unset} if to_unset else {}),
        }

    def document(self, change: Change) -> MongoDocument:
        """What `update` makes where there is no document."""
        return {
            "_id": change.key,
            self.key: change.key,
            **self._given(change),
            "chainfold": self._mark(change),
        }

    def change(self, held: MongoDocument) -> Change:
        mark = held["chainfold"] if isinstance(held["chainfold"], dict) else {}
        fields = None
        if not mark.get("removed"):
            fields = self._fields(held, told)
            for theirs, exact in mark.get("beyond", {}).items():
                if theirs in self._ours and held.get(theirs) == date(exact):  # else somebody changed it
                    fields[self._ours[theirs]] = plain(exact)
        return Change(held[self.key], _number(mark.get("revision")), _number(mark.get("block")), fields)

    def as_held(self, change: Change) -> Change:
        if change.fields is None:
            return change
        given = {self._ours[self.key]: change.key, **change.fields}
        fields = {name: self._held(name, given[name]) for name in self.theirs if name in given}
        return msgspec.structs.replace(change, fields=fields)

    def _given(self, change: Change) -> MongoDocument:
        """The change's fields under the application's names, without the key."""
        given = change.fields or {}
        return {
            theirs: self.stored(name, given[name])
            for name, theirs in self.theirs.items()
            if theirs != self.key and name in given
        }

    def foreign(self, held: MongoDocument) -> dict[str, Value]:
        """Our fields of a document that somebody else wrote."""
        return self._fields(held, meant)

    def _fields(self, held: MongoDocument, wide: Callable[[Any], Value]) -> dict[str, Value]:
        return {
            name: wide(held[theirs]) if name in self.wide else plain(held[theirs])
            for name, theirs in self.theirs.items()
            if theirs in held
        }

    def stored(self, name: str, value: Value) -> Any:
        """A field's value as MongoDB holds it."""
        if name in self.wide and value is not None:
            return ordered(value)
        if name in self._dates and isinstance(value, int | float):
            return date(value)
        return typed(value)

    def match(self, name: str, value: Value) -> MongoDocument:
        """Matches documents whose field has this value: times beyond the Dates by their exact seconds."""
        theirs, held = self.theirs[name], self.stored(name, value)
        if name not in self._dates or not isinstance(value, int | float):
            return {theirs: held}
        if beyond(value):
            return {theirs: held, f"chainfold.beyond.{theirs}": typed(value)}
        if int(held) == FIRST:  # what lies before it is written as this Date too
            return {theirs: held, f"chainfold.beyond.{theirs}": None}
        return {theirs: held}

    def _held(self, name: str, value: Value) -> Value:
        if name in self.wide:
            return value
        return plain(typed(value) if self._beyond(name, value) else self.stored(name, value))

    def _beyond(self, name: str, value: Value) -> bool:
        return name in self._dates and isinstance(value, int | float) and beyond(value)

    def _mark(self, change: Change) -> MongoDocument:
        mark: MongoDocument = {"revision": Int64(change.revision), "block": Int64(change.block)}
        if change.fields is None:
            return mark | {"removed": True, "removedAt": datetime.now(UTC)}
        exact = {
            self.theirs[name]: typed(value)
            for name in self._dates
            if self._beyond(name, value := change.fields.get(name))
        }
        return mark | {"beyond": exact} if exact else mark


def _number(value: object) -> int:
    """A number of our mark; 0 when another program wrote something else there: every revision is above it."""
    try:
        return int(value)  # type: ignore[call-overload, no-any-return]  # of any type
    except (TypeError, ValueError, OverflowError):
        return 0
