"""Pages of documents, by value and by order: what of the collection is asked, as pure data."""

from __future__ import annotations

from typing import Any

from projections.sinks import Value
from projections.sinks.capabilities import PageRequest
from projections.sinks.mongo.driver import MongoDocument
from projections.sinks.mongo.names import Names


def query(names: Names, wanted: PageRequest) -> MongoDocument:
    """The filter: our documents that are not removed, of these values, after the last page."""
    match: list[MongoDocument] = [
        {"chainfold.revision": {"$exists": True}, "chainfold.removed": {"$ne": True}}
    ]
    match += [names.match(name, value) for name, value in wanted.where.items()]
    if wanted.after is not None:
        match.append(_beyond(names, wanted, *wanted.after))
    return {"$and": match}


def order(names: Names, wanted: PageRequest) -> list[tuple[str, int]]:
    """The sort, ending in the key, which is unique."""
    by = [] if wanted.sort is None else [(names.theirs[wanted.sort], -1 if wanted.descending else 1)]
    return [*by, (names.key, 1)]


def _beyond(names: Names, wanted: PageRequest, value: Value, key: str) -> MongoDocument:
    later_key: MongoDocument = {names.key: {"$gt": key}}
    if wanted.sort is None:
        return later_key
    field, value = names.theirs[wanted.sort], names.stored(wanted.sort, value)
    tied: MongoDocument = {field: value, **later_key}
    beyond: list[Any] = [tied]
    if value is None and not wanted.descending:
        beyond.append({field: {"$ne": None}})
    elif value is not None and wanted.descending:
        beyond += [{field: {"$lt": value}}, {field: None}]
    elif value is not None:
        beyond.append({field: {"$gt": value}})
    return {"$or": beyond}
