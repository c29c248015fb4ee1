"""Twins: two documents of one key, where somebody dropped the unique index that the guard rests on.

Law: without that index an upsert that must be refused makes a second document beside the application's own.
It is known by its `_id`, which is the key, and holds nothing but what we write: such a one is deleted, and no
other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pymongo.collection import Collection

from eventstore.storage.batches import batches
from projections.sinks.mongo.driver import READ, MongoDocument
from projections.sinks.mongo.names import Names


def part(documents: Collection[MongoDocument], names: Names, keys: Iterable[str] | None = None) -> list[str]:
    """Deletes what we made beside another document of the same key, of these keys or of all; returns the keys
    of what was deleted, which are to be sent again."""
    chosen = _doubled(documents, names) if keys is None else keys
    done: list[str] = []
    for some in batches(chosen, READ):
        found: dict[str, list[MongoDocument]] = {}
        for document in documents.find({names.key: {"$in": some}}):
            found.setdefault(document[names.key], []).append(document)
        for key, twins in found.items():
            if len(twins) > 1:
                done += _deleted(documents, names, key, twins)
    return done


def _deleted(
    documents: Collection[MongoDocument], names: Names, key: str, twins: Sequence[MongoDocument]
) -> list[str]:
    ours = {"_id", "chainfold", *names.theirs.values()}
    for document in twins:
        if document["_id"] == key and document.keys() <= ours and "chainfold" in document:
            unchanged = {"$expr": {"$eq": [{"$size": {"$objectToArray": "$$ROOT"}}, len(document)]}}
            match = {"_id": key, "chainfold.revision": document["chainfold"]["revision"], **unchanged}
            if documents.delete_one(match).deleted_count:
                return [key]
    return []


def _doubled(documents: Collection[MongoDocument], names: Names) -> list[str]:
    """The keys that several documents have, one of them with our mark."""
    grouped = documents.aggregate(
        [
            {"$match": {names.key: {"$type": "string"}}},
            {"$group": {"_id": f"${names.key}", "n": {"$sum": 1}}},
            {"$match": {"n": {"$gt": 1}}},
        ]
    )
    with grouped as cursor:
        return [group["_id"] for group in cursor]
