"""A trial before the first document: may we write, does the guard hold, what does the collection demand?

Law: nothing of the application's is touched. The guard is tried on three documents in a collection of the
trial's own, in the same database, which is dropped in any case; of the collection itself only its
indexes and its options are read.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator

from pymongo import InsertOne, UpdateOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError

from projections.errors import SinkError
from projections.sinks import Change
from projections.sinks.mongo.driver import DUPLICATE_KEY, MongoDocument, ensure_index
from projections.sinks.mongo.names import Names


def tried(documents: Collection[MongoDocument], names: Names) -> list[str]:
    """Remarks on what works and needs a look. Raises `SinkError` where the guard does not hold; the driver's
    own errors go up as they are."""
    place = documents.database.get_collection(
        f"chainfold_trial_{secrets.token_hex(4)}",
        codec_options=documents.codec_options,
        write_concern=documents.write_concern,
    )
    try:
        remarks = list(_guard(place, names))
    finally:
        place.drop()
    return remarks + list(_demands(documents, names))


def _guard(place: Collection[MongoDocument], names: Names) -> Iterator[str]:
    """Three documents in one unordered bulk; the first is older than what is there."""
    ensure_index(place, names.key, unique=True, sparse=True)
    try:
        place.bulk_write([InsertOne({"_id": "theirs 1"}), InsertOne({"_id": "theirs 2"})])
    except BulkWriteError as error:
        raise SinkError(
            "This server's sparse unique index takes one document without the key only: the application "
            "could not keep documents of its own in the collection.",
            hint="Use MongoDB, or a server that knows sparse indexes.",
        ) from error
    place.insert_one({"_id": "theirs 3", names.key: "a"})  # whose _id guards nothing
    place.bulk_write([_upsert(names, "a", 5)])
    refused: list[int] = []
    try:
        place.bulk_write(
            [_upsert(names, "a", 4), _upsert(names, "b", 5), _upsert(names, "c", 5)], ordered=False
        )
    except BulkWriteError as error:
        refused = [item["code"] for item in error.details["writeErrors"]]
    found = place.find({names.key: {"$exists": True}})
    held = {item[names.key]: item["chainfold"]["revision"] for item in found}
    count = place.count_documents({names.key: "a"})
    if held.get("a") != 5 or count != 1 or refused != [DUPLICATE_KEY]:
        raise SinkError(
            f"The guard does not hold on this server: a write of revision 4 over revision 5 was answered "
            f"{refused}, and left {count:,} documents of revision {held.get('a')}.",
            hint="An old write could replace a new document. Use MongoDB, or a server whose indexes hold.",
        )
    if set(held) != {"a", "b", "c"}:
        yield (
            "this server stops an unordered bulk at the first error; what it leaves out is sent again, which "
            "takes longer"
        )


def _demands(documents: Collection[MongoDocument], names: Names) -> Iterator[str]:
    """What the collection itself demands of a document by any writer."""
    options = documents.options()
    if options.get("validator") and options.get("validationAction", "error") == "error":
        yield f"{documents.name} has a validator: documents that it refuses are set aside, all others arrive"
    for index in documents.list_indexes():
        fields = [name for name in index["key"] if name not in (names.key, "_id")]
        bare = not index.get("sparse") and "partialFilterExpression" not in index
        if index.get("unique") and fields and bare:
            foreign = [name for name in fields if name not in names.theirs.values()]
            what = f"no {' and '.join(foreign)}" if foreign else f"the same {' and '.join(fields)}"
            yield (
                f"{documents.name} has the unique index {index['name']}: of the documents that chainfold "
                f"makes with {what} it takes one, and the others are set aside; make it sparse, or drop it"
            )


def _upsert(names: Names, key: str, revision: int) -> UpdateOne:
    change = Change(key, revision, 0, {})
    return UpdateOne(names.guard(change), names.update(change), upsert=True)
