"""The driver's side: how to connect, how to index, and how its errors become ours."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pymongo
from bson.errors import BSONError
from pymongo import MongoClient
from pymongo import errors as theirs
from pymongo.collection import Collection

from eventstore.redaction import public
from projections.errors import ConfigurationError, KeyConflict, SinkError, SinkUnavailable

MongoDocument = dict[str, Any]

DUPLICATE_KEY = 11000

_OWN = frozenset(
    {6, 7, 13, 18, 20, 24, 50, 59, 63, 64, 79, 89, 91, 100, 112, 133, 134, 150, 189, 202, 225, 244, 246, 251}
    | {262, 290, 317, 334, 358, 384, 391, 8000, 9001, 10058, 10107, 11600, 11601, 11602, 13388, 13435, 13436}
    | {14031, 16500, 17280}
)
"""Faults of a server, not of a document: unreachable members, no right, no room, no primary, shutting down,
an interrupted or conflicting transaction, a quota or rate of a hosted server (MongoDB's error_codes.yml)."""

READ = 100
"""Keys in one `$in`: the embedded server takes seven times as long for ten times as many."""

_INDEXING = 3600.0
"""Seconds that making one index may take; a connection that is lost shows before that."""


def connect(url: str, *, patience: float = 120) -> MongoClient[MongoDocument]:
    """A client that waits `patience` seconds for an answer, five at most for a server that is absent. It
    connects when first used."""
    absent = round(1000 * min(5.0, patience))
    try:
        return MongoClient(
            url,
            appname="chainfold",
            serverSelectionTimeoutMS=absent,
            connectTimeoutMS=absent,
            socketTimeoutMS=round(1000 * patience),
        )
    except (theirs.ConfigurationError, ValueError) as error:
        if url.startswith("mongodb+srv://") and not isinstance(error, theirs.InvalidURI):
            raise  # the name server's failure, which may pass
        # The driver may quote what it could not read of the address: perhaps the password.
        raise ConfigurationError(
            f"The address of MongoDB, {public(url)}, cannot be used.",
            hint="It has the form mongodb://user:password@host/, with %-escapes in user and password.",
        ) from None


def has_index(documents: Collection[MongoDocument], field: str, *, unique: bool = False) -> bool:
    """Is there an index that serves, ours or another's?"""
    for index in documents.list_indexes():
        fits = list(index["key"])[:1] == [field] and "partialFilterExpression" not in index
        if fits and (not unique or (index.get("unique") and len(index["key"]) == 1)):
            return True
    return False


def ensure_index(
    documents: Collection[MongoDocument], field: str, *, unique: bool = False, sparse: bool = False
) -> None:
    """Makes an index that begins with `field`, unless the application has one that serves.

    Of a collection that is full it may take longer than any other answer: it is waited for by itself.
    """
    if has_index(documents, field, unique=unique):
        return
    name = f"chainfold_{field}"
    try:
        with pymongo.timeout(_INDEXING):
            documents.create_index([(field, 1)], unique=unique, sparse=sparse, name=name)
    except theirs.OperationFailure as error:
        if error.code != DUPLICATE_KEY:
            raise
        value = (error.details or {}).get("keyValue", {}).get(field, "?")
        raise KeyConflict(
            f"The collection {documents.name} holds several documents with {field} = {value}; "
            "there may be one only.",
            hint=f"Merge them, and unset the {field} of those that are not addresses.",
        ) from error


def is_own_trouble(code: int | None) -> bool:
    """Does an error of this code say nothing of the document? Then the same write may do later."""
    return code in _OWN


@contextlib.contextmanager
def translated(url: str) -> Iterator[None]:
    """Turns the driver's errors into ours, with an address that shows neither user nor password."""
    try:
        yield
    except theirs.PyMongoError as error:
        raise SinkUnavailable(f"MongoDB at {public(url)} failed: {_reason(error)}") from error
    except (BSONError, OverflowError) as error:
        raise SinkError(f"A value cannot be stored in MongoDB: {error}") from error


def _reason(error: theirs.PyMongoError) -> str:
    """The first sentence of what the driver says; the description of the topology comes after it."""
    if isinstance(error, theirs.BulkWriteError):
        told = [*error.details.get("writeConcernErrors", []), *error.details.get("writeErrors", [])[:1]]
        return "; ".join(str(item.get("errmsg")) for item in told) or str(error)
    said = str(error).split(", Timeout:")[0].split(", full error:")[0]
    return said.split(" (configured timeouts:")[0].strip()
