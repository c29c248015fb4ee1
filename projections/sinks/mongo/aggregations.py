"""What MongoDB is asked to count by itself: documents that break what the projector says is always so.

The server groups, which it does in one pass; what a group is held to is read by key. A join of each document
with all others would be shorter, and takes the square of their number where a server has no index for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pymongo.collection import Collection

from eventstore.storage.batches import batches
from projections.projectors import Counts, Follows, Invariant
from projections.sinks.mongo.driver import READ, MongoDocument
from projections.sinks.mongo.names import Names

BrokenInvariant = tuple[str, str]


def violations(
    documents: Collection[MongoDocument], names: Names, there: Mapping[str, Any], item: Invariant
) -> Iterator[BrokenInvariant]:
    """The key of each document that breaks `item`, and how; `there` matches the documents that are ours."""
    match item:
        case Counts():
            return _miscounted(documents, names, there, item)
        case Follows():
            return _unfollowed(documents, names, there, item)


def _miscounted(
    documents: Collection[MongoDocument], names: Names, there: Mapping[str, Any], item: Counts
) -> Iterator[BrokenInvariant]:
    field, of = names.theirs[item.field], names.theirs[item.of]
    grouped = _groups(documents, [{"$match": {**there, of: {"$ne": None}}}], {"_id": f"${of}"})
    counted: set[str] = set()
    for some in batches(grouped, READ):
        held = _read(documents, names.key, [group["_id"] for group in some], there, field)
        for group in some:
            key, right = group["_id"], group["n"]
            counted.add(key)
            if key in held and held[key] != right:
                yield key, f"{item.field} is {held[key]} in MongoDB, and {right} documents there name it"
    for document in documents.find({**there, field: {"$ne": 0}}, {names.key: 1, field: 1}):
        if document[names.key] not in counted:
            yield document[names.key], f"{item.field} is {document.get(field)} in MongoDB, and none names it"


def _unfollowed(
    documents: Collection[MongoDocument], names: Names, there: Mapping[str, Any], item: Follows
) -> Iterator[BrokenInvariant]:
    """Documents that agree in both fields stand or fall together: one of each group is named."""
    field, link, takes = names.theirs[item.field], names.theirs[item.link], names.theirs[item.takes]
    pair = {"link": f"${link}", "field": f"${field}"}
    grouped = _groups(documents, [{"$match": there}], {"_id": pair, "one": {"$first": f"${names.key}"}})
    for some in batches(grouped, READ):
        links = [group["_id"].get("link") for group in some]
        held = _read(documents, names.key, [link for link in links if link is not None], there, takes)
        for group, linked in zip(some, links, strict=True):
            said, right = group["_id"].get("field"), None if linked is None else held.get(linked)
            if said != right:
                yield (
                    group["one"],
                    f"{item.field} is {_shown(said)} in MongoDB, and {item.takes} of its {item.link} there "
                    f"is {_shown(right)}; so it is in {group['n']} documents",
                )


def _groups(
    documents: Collection[MongoDocument], before: list[dict[str, Any]], group: dict[str, Any]
) -> Iterator[MongoDocument]:
    pipeline = [*before, {"$group": {**group, "n": {"$sum": 1}}}]
    with documents.aggregate(pipeline, allowDiskUse=True) as cursor:
        yield from cursor


def _read(
    documents: Collection[MongoDocument], key: str, keys: Sequence[str], there: Mapping[str, Any], field: str
) -> dict[str, Any]:
    """The field of the documents under these keys."""
    found = documents.find({**there, key: {"$in": list(keys)}}, {key: 1, field: 1})
    return {document[key]: document.get(field) for document in found}


def _shown(value: object) -> str:
    return "null" if value is None else str(value)
