"""Changes on their way: which operations they become, and what the server said to each.

Law: one document keeps no other out. Where a server names what it does not take, that is set apart; where
it refuses a whole command, or the driver cannot encode it, the command is halved until the document stands
alone. Where a server stops at the first error of an unordered bulk, what it left out is sent again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bson.errors import BSONError
from msgspec import Struct
from pymongo import InsertOne, UpdateOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError, OperationFailure, WriteConcernError

from eventstore.storage.batches import batches
from projections.sinks import Change
from projections.sinks.mongo.driver import DUPLICATE_KEY, READ, MongoDocument, is_own_trouble
from projections.sinks.mongo.names import MARKED, Names

SPLIT = 200
"""From so many upserts on it pays to send them over two connections: a fifth to a third less time."""

LONGEST = 500
"""Characters of what a server or the driver says of a document: some repeat all of it."""

MongoOperation = InsertOne[MongoDocument] | UpdateOne


class WriteRefused(Struct, frozen=True):
    """A change that was not taken, and the server's words for it, or the driver's."""

    change: Change
    why: str


class Sent(Struct, frozen=True):
    """What became of a batch: documents made, documents changed, what a unique index refused (which is to be
    looked at), and what was refused for its own sake."""

    made: int = 0
    changed: int = 0
    taken: list[WriteRefused] = []
    refused: list[WriteRefused] = []

    def __add__(self, other: Sent) -> Sent:
        return Sent(
            self.made + other.made,
            self.changed + other.changed,
            self.taken + other.taken,
            self.refused + other.refused,
        )


class Sending:
    """Sends changes, of each key one, into a collection; the driver's errors go up as they are, where they
    are the server's own and not a document's."""

    def __init__(self, documents: Collection[MongoDocument], names: Names) -> None:
        self._documents = documents
        self._names = names
        self._tried = False

    def insert(self, changes: list[Change]) -> Sent:
        """Sends plain inserts, which the unique key refuses where the collection holds any document."""
        return self._send(changes, [InsertOne(self._names.document(change)) for change in changes])

    def upsert(self, changes: list[Change]) -> Sent:
        """Sends guarded upserts; many in two parts at once, for a server works through what comes over one
        connection by itself."""
        operations = [
            UpdateOne(self._names.guard(change), self._names.update(change), upsert=True)
            for change in changes
        ]
        if len(changes) < SPLIT:
            return self._send(changes, operations)
        middle = len(changes) // 2
        with ThreadPoolExecutor(1, thread_name_prefix="mongo") as beside:
            first = beside.submit(self._send, changes[:middle], operations[:middle])
            second = self._send(changes[middle:], operations[middle:])
            return first.result() + second

    def still_to_do(self, changes: list[Change]) -> list[Change]:
        """Those that the collection does not hold as new: to be sent again, or in conflict."""
        key = self._names.key
        held = {
            document[key]: document["chainfold"]["revision"]
            for some in batches([change.key for change in changes], READ)
            for document in self._documents.find(
                {key: {"$in": some}, **MARKED}, {key: 1, "chainfold.revision": 1}
            )
        }
        return [c for c in changes if not _is_new(held.get(c.key), c.revision)]

    def _send(self, changes: list[Change], operations: Sequence[MongoOperation]) -> Sent:
        """Sends one operation per change."""
        done: Mapping[str, Any]
        taken: list[WriteRefused] = []
        refused: list[WriteRefused] = []
        try:
            done = self._documents.bulk_write(operations, ordered=False).bulk_api_result
        except BulkWriteError as error:
            done = error.details
            for failure in done["writeErrors"]:
                item = WriteRefused(changes[failure["index"]], str(failure["errmsg"])[:LONGEST])
                if is_own_trouble(failure["code"]):
                    raise
                (taken if failure["code"] == DUPLICATE_KEY else refused).append(item)
            if done["writeConcernErrors"] or not done["writeErrors"]:
                raise
        except WriteConcernError:
            raise
        except OperationFailure as error:
            if is_own_trouble(error.code) or error.has_error_label("RetryableWriteError"):
                raise
            return self._apart(changes, operations, error)
        except (BSONError, OverflowError, UnicodeError) as error:
            return self._apart(changes, operations, error)
        sent = Sent(done["nInserted"] + done["nUpserted"], done["nMatched"], taken, refused)
        named = {item.change.key for item in taken + refused}
        if named and sent.made + sent.changed + len(named) < len(changes):
            return sent + self._left_out(changes, operations, named)
        return sent

    def _left_out(self, changes: list[Change], operations: Sequence[MongoOperation], named: set[str]) -> Sent:
        """Sends what the server left out when it stopped at what it did not take."""
        left = {change.key for change in self.still_to_do([c for c in changes if c.key not in named])}
        again = [pair for pair in zip(changes, operations, strict=True) if pair[0].key in left]
        return self._send([change for change, _ in again], [item for _, item in again]) if again else Sent()

    def _apart(self, changes: list[Change], operations: Sequence[MongoOperation], error: Exception) -> Sent:
        """Sends in two halves what was refused as a whole. One change that stands alone is refused itself,
        unless the collection takes nothing at all."""
        if len(changes) == 1:
            if isinstance(error, OperationFailure):
                self._try()
            return Sent(refused=[WriteRefused(changes[0], _said(error))])
        middle = len(changes) // 2
        first = self._send(changes[:middle], operations[:middle])
        return first + self._send(changes[middle:], operations[middle:])

    def _try(self) -> None:
        """A write that matches nothing and says nothing: a server that refuses it refuses all."""
        if not self._tried:
            nothing_there = {"_id": "chainfold", self._names.key: {"$type": "minKey"}}
            self._documents.update_one(nothing_there, {"$set": {"chainfold": {}}})
            self._tried = True


def _is_new(held: object, revision: int) -> bool:
    """A mark that is not a number is not a revision."""
    return isinstance(held, int | float) and held >= revision


def _said(error: Exception) -> str:
    """What a server or the driver says, without the documents that some repeat."""
    if isinstance(error, OperationFailure):
        return str((error.details or {}).get("errmsg") or error).split(" (Consider ")[0][:LONGEST]
    return f"A value of it cannot be stored in MongoDB: {error}"[:LONGEST]
