"""Changes on their way: which operations they become, and what the server said to each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from msgspec import Struct
from pymongo import InsertOne, UpdateOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError

from eventstore.batches import batches
from projections.errors import SinkError
from projections.sinks import Change
from projections.sinks.mongo.driver import DUPLICATE_KEY, READ
from projections.sinks.mongo.names import MARKED, Document, Names

SPLIT = 200
"""From so many upserts on it pays to send them over two connections: a fifth to a third less time."""


class Refused(Struct, frozen=True):
    """A change that a unique index of the collection refused, and the server's words for it."""

    change: Change
    why: str


class Sent(Struct, frozen=True):
    """What became of a batch: documents made, documents changed, and what was refused."""

    made: int
    changed: int
    refused: list[Refused]


class Sending:
    """Sends changes, of each key one, into a collection; the driver's errors go up as they are."""

    def __init__(self, documents: Collection[Document], names: Names) -> None:
        self._documents = documents
        self._names = names

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
            sent = first.result()
        return Sent(sent.made + second.made, sent.changed + second.changed, sent.refused + second.refused)

    def still_to_do(self, refused: list[Refused]) -> list[Change]:
        """Those of the refused that the collection does not hold as new: sent again, or in conflict."""
        changes, key = [item.change for item in refused], self._names.key
        held = {
            document[key]: document["chainfold"]["revision"]
            for some in batches([change.key for change in changes], READ)
            for document in self._documents.find(
                {key: {"$in": some}, **MARKED}, {key: 1, "chainfold.revision": 1}
            )
        }
        return [c for c in changes if c.key not in held or held[c.key] < c.revision]

    def _send(self, changes: list[Change], operations: Sequence[InsertOne[Document] | UpdateOne]) -> Sent:
        """Sends one operation per change."""
        done: Mapping[str, Any]
        refused = []
        try:
            done = self._documents.bulk_write(operations, ordered=False).bulk_api_result
        except BulkWriteError as error:
            done = error.details
            for failure in done["writeErrors"]:
                change = changes[failure["index"]]
                if failure["code"] != DUPLICATE_KEY:
                    raise SinkError(
                        f"The collection {self._documents.name} does not take {self._names.key} "
                        f"{change.key}: {failure['errmsg']}"
                    ) from error
                refused.append(Refused(change, failure["errmsg"]))
            if done["writeConcernErrors"] or not refused:
                raise
        return Sent(done["nInserted"] + done["nUpserted"], done["nMatched"], refused)
