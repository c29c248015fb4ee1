"""A collection that an application filled by itself: read as it is, and its keys brought into lower case.

Law: nothing that is not ours is lost. Two documents of one address become one only where no field of the
application's stands against another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pymongo.collection import Collection

from eventstore.storage.batches import batches
from projections.sinks.capabilities import ForeignDocument, Normalised
from projections.sinks.mongo.driver import READ, MongoDocument, translated
from projections.sinks.mongo.names import Names


class ForeignCollection:
    """The documents of a collection that have a key, written by any program."""

    def __init__(self, url: str, documents: Collection[MongoDocument], names: Names) -> None:
        self._url = url
        self._documents = documents
        self._names = names

    def survey(self) -> Iterator[ForeignDocument]:
        """See `ForeignSurvey`."""
        match = {self._names.key: {"$type": "string"}, "chainfold.removed": {"$ne": True}}
        with translated(self._url), self._documents.find(match, self._names.wanted) as cursor:
            for held in cursor:
                yield ForeignDocument(held[self._names.key], self._names.foreign(held))

    def holding(self, keys: Sequence[str]) -> set[str]:
        """See `ForeignSurvey`."""
        found: set[str] = set()
        with translated(self._url):
            for some in batches(keys, READ):
                there = self._documents.find({self._names.key: {"$in": some}}, {self._names.key: 1})
                found.update(held[self._names.key] for held in there)
        return found

    def normalise(self) -> Normalised:
        """Writes every key in lower case. It may be killed anywhere and run again."""
        rewritten = merged = 0
        conflicts: dict[str, list[str]] = {}
        mixed = {self._names.key: {"$type": "string", "$regex": "[A-Z]"}}
        with translated(self._url):
            for found in list(self._documents.find(mixed, {"_id": 1})):
                held = self._documents.find_one({"_id": found["_id"], **mixed})
                if held is None:
                    continue  # the application was faster
                key = held[self._names.key]
                twin = self._documents.find_one({self._names.key: key.lower()})
                if twin is None:
                    change = {"$set": {self._names.key: key.lower()}}
                    rewritten += self._documents.update_one(
                        {"_id": held["_id"], self._names.key: key}, change
                    ).modified_count
                elif against := self._against(held, twin):
                    conflicts[key] = against
                else:
                    merged += self._merge(held, twin)
        return Normalised(rewritten, merged, conflicts)

    def _against(self, held: MongoDocument, twin: MongoDocument) -> list[str]:
        """The application's fields that both have, with different values."""
        theirs = self._theirs(held)
        return sorted(name for name, value in theirs.items() if name in twin and twin[name] != value)

    def _merge(self, held: MongoDocument, twin: MongoDocument) -> bool:
        """Gives the twin what it lacks, and deletes `held`; not where the application was faster: the next
        run looks again."""
        theirs = self._theirs(held)
        lacking = {name: value for name, value in theirs.items() if name not in twin}
        if lacking:
            untouched = {name: {"$exists": False} for name in lacking}
            if not self._documents.update_one(
                {"_id": twin["_id"], **untouched}, {"$set": lacking}
            ).matched_count:
                return False
        gone = self._documents.find_one_and_delete({"_id": held["_id"], **theirs})
        if gone is not None and self._theirs(gone) != theirs:
            self._documents.insert_one(gone)  # it was given a field since it was read
            return False
        return gone is not None

    def _theirs(self, held: MongoDocument) -> dict[str, Any]:
        ours = {"_id", "chainfold", *self._names.theirs.values()}
        return {name: value for name, value in held.items() if name not in ours}
