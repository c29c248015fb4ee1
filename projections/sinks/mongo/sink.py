"""MongoDB: documents matched by their key field, in a collection that may be the application's own.

The law: a write is one guarded upsert, `{key, "chainfold.revision": {$not: {$gte: revision}}}`. What
it does not match (because the collection holds as new a document) it tries to insert, and the unique
key refuses that; so every refusal is looked at again, and either it is done or it is a conflict.
Where nearly everything of the last write was new, plain inserts go first: what such an upsert does
with a key that is absent, at a fraction of its cost. What they are refused takes the guarded road.
The unique index is looked at whenever documents were made: mongoose's syncIndexes, for one, drops it.
The indexes that readers want are made when the first fill is done, before its marker says so. `open` makes
those that are missing in a collection whose marker says that it was filled.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from threading import Lock

import msgspec
from bson.codec_options import CodecOptions, DatetimeConversion
from msgspec.structs import replace
from pymongo import MongoClient, WriteConcern
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError
from pymongo.read_concern import ReadConcern

from eventstore.storage.batches import batches
from projections.errors import DocumentsRefused, KeyConflict, MarkerLost, SinkError, SinkUnavailable
from projections.projectors import Invariant
from projections.sinks import Change, Marker
from projections.sinks.capabilities import PageRequest
from projections.sinks.mongo.aggregations import violations
from projections.sinks.mongo.driver import READ, MongoDocument, connect, ensure_index, has_index, translated
from projections.sinks.mongo.foreign import ForeignCollection
from projections.sinks.mongo.names import MARKED, Names
from projections.sinks.mongo.pages import order, query
from projections.sinks.mongo.sending import Sending, Sent
from projections.sinks.mongo.sums import Summing
from projections.sinks.mongo.trial import tried
from projections.sinks.mongo.twins import part

_THERE = {**MARKED, "chainfold.removed": {"$ne": True}}
PATIENCE = 120.0
"""Seconds in which an answer to the largest write has come."""

_ROUNDS = 8
_NEARLY_ALL = 0.9
"""Of a write, so many new documents promise that those of the next are new too."""


class MongoSink:
    """One projection's documents in one collection, and its marker in `chainfold_markers` beside it.

    `fields` are ours, `key` among them; `dates` are those of them given in seconds and stored as Date, `wide`
    those that are integers of 256 bits, stored as sortable text; `rename` gives the application's names for
    ours. Other fields of a document are never touched.
    A document that we created, that was removed and holds nothing else is deleted after `grace`
    seconds, which must be longer than any lease: until then its mark refuses older writes.
    """

    name = "mongo"

    def __init__(
        self,
        url: str,
        *,
        database: str,
        collection: str,
        key: str = "address",
        fields: tuple[str, ...],
        dates: frozenset[str] = frozenset(),
        wide: frozenset[str] = frozenset(),
        indexes: tuple[str, ...] = (),
        rename: Mapping[str, str] | None = None,
        grace: float = 3600,
        patience: float = PATIENCE,
    ) -> None:
        self._url = url
        self._patience = patience
        self._database = database
        self._collection = collection
        self._names = Names(key=key, fields=fields, dates=dates, rename=rename or {}, wide=wide)
        self._indexes = tuple(self._names.theirs[name] for name in indexes)
        self._grace = grace
        self._swept = 0.0
        self._filling = True  # the first time: the indexes come after it
        self._new = 1.0  # the share of the last write that was new: a guess, and costly only if wrong
        self._client: MongoClient[MongoDocument] | None = None
        self._connecting = Lock()

    def open(self) -> None:
        """Connects, makes the unique key and, but before a first fill, the indexes where they are missing,
        and sweeps.

        Raises `KeyConflict` where several documents of the collection carry one key.
        """
        with translated(self._url):
            self._make_key()
            held = self.marker()
            self._expect(filling=held is None or held.revision == 0)
            if not self._filling:
                self._make_indexes()
        self.sweep()

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def marker(self) -> Marker | None:
        with translated(self._url):
            held = self._markers().find_one({"_id": self._collection})
        if held is None:
            return None
        return msgspec.convert({**held, "_id": None}, Marker)

    def mark(self, new: Marker, *, old: Marker | None) -> None:
        fields = msgspec.structs.asdict(new)
        with translated(self._url):
            if self._filling and new.revision and not new.key:  # all is sent
                self._make_indexes()
                self._expect(filling=False)
            markers = self._markers()
            if old is None:
                self._make_key()  # the collection may have gone with its marker
                self._expect(filling=True)
                with contextlib.suppress(DuplicateKeyError):
                    markers.insert_one({"_id": self._collection, **fields})
                    return
            else:
                known = {"_id": self._collection, **msgspec.structs.asdict(old)}
                if markers.update_one(known, {"$set": fields}).matched_count:
                    return
        raise MarkerLost(
            f"The marker of the collection {self._collection} is not the one this publisher left.",
            hint="It reads the sink's marker again.",
        )

    def write(self, changes: Sequence[Change]) -> int:
        newest = {change.key: change for change in sorted(changes, key=lambda c: c.revision)}
        if not newest:
            return 0
        pending, sent = list(newest.values()), Sent()
        with translated(self._url):
            if time.monotonic() - self._swept >= self._grace:
                self.sweep()
            sending = Sending(self._documents(), self._names)
            send = sending.insert if self._new >= _NEARLY_ALL else sending.upsert
            for _ in range(_ROUNDS):
                now = send(pending)
                sent = replace(sent + now, taken=now.taken)
                pending, send = sending.still_to_do([item.change for item in now.taken]), sending.upsert
                if now.made and not has_index(self._documents(), self._names.key, unique=True):
                    again = self._guarded_again(newest)
                    sent = replace(sent, made=sent.made - len(again))
                    pending += again
                if not pending:
                    break
        self._new = sent.made / len(newest)
        reasons = {item.change.key: item.why for item in sent.refused}
        waiting = {change.key for change in pending}
        reasons |= {
            item.change.key: f"another document is in its way: {item.why}"
            for item in sent.taken
            if item.change.key in waiting
        }
        if reasons:
            raise DocumentsRefused(
                f"The collection {self._collection}", reasons, written=sent.made + sent.changed
            )
        return sent.made + sent.changed

    def read(self, keys: Sequence[str]) -> dict[str, Change]:
        found: dict[str, Change] = {}
        with translated(self._url):
            for some in batches(keys, READ):
                match = {self._names.key: {"$in": some}, **MARKED}
                for held in self._documents().find(match, self._names.wanted):
                    change = self._names.change(held)
                    found[change.key] = change
        return found

    def scan(self) -> Iterator[Change]:
        keyed = {**MARKED, self._names.key: {"$type": "string"}}
        with translated(self._url), self._documents().find(keyed, self._names.wanted) as cursor:
            for held in cursor:
                yield self._names.change(held)

    def as_held(self, change: Change) -> Change:
        """`change` as `read` gives it back: our fields only, in the types that the sink keeps."""
        return self._names.as_held(change)

    def totals(self, fields: Sequence[str]) -> dict[str, int]:
        """How many documents there are (`count`), and the sum of each field, counted by the server.

        Documents without our mark, and removed ones, do not count.
        """
        summing = Summing(self._names, fields)
        with translated(self._url), self._documents().aggregate(summing.pipeline(_THERE)) as cursor:
            return summing.totals(next(iter(cursor), {}))

    def violations(self, invariants: Sequence[Invariant], *, limit: int) -> list[tuple[str, str]] | str:
        """The key of each document that breaks an invariant, and how, as the server itself finds it; a
        sentence where it cannot."""
        found: list[tuple[str, str]] = []
        try:
            with translated(self._url):
                for item in invariants:
                    keyed = {**_THERE, self._names.key: {"$type": "string"}}
                    broken = violations(self._documents(), self._names, keyed, item)
                    found += islice(broken, limit)
        except SinkUnavailable:
            raise
        except SinkError as error:
            return f"MongoDB's own look at the invariants was not possible: {error}"
        return found

    def trial(self) -> list[str]:
        """Tries what publishing needs, and leaves nothing behind: see `trial.tried`."""
        with translated(self._url):
            return tried(self._documents(), self._names)

    def foreign(self) -> ForeignCollection:
        """The collection as the program that filled it left it."""
        return ForeignCollection(self._url, self._documents(), self._names)

    def page(self, wanted: PageRequest) -> list[Change]:
        """The documents of one page, in its order: see `pages`."""
        with translated(self._url):
            cursor = self._documents().find(query(self._names, wanted), self._names.wanted)
            with cursor.sort(order(self._names, wanted)).limit(wanted.limit) as found:
                return [self._names.change(held) for held in found]

    def collection(self) -> Collection[MongoDocument]:
        """The collection itself, for a look at it; it is closed with the sink."""
        return self._documents()

    def sweep(self) -> int:
        """Deletes what was removed longer than the grace ago, and holds nothing but our mark.

        Whether it does is asked in the very statement that deletes, document by document, so that a
        field which the application adds at that moment is either seen or added to no document.
        """
        bare = {"$eq": [{"$size": {"$objectToArray": "$$ROOT"}}, 3]}  # _id, the key, our mark
        created_by_us = {"$eq": ["$_id", f"${self._names.key}"]}
        long_ago = datetime.now(UTC) - timedelta(seconds=self._grace)
        match = {
            "chainfold.removed": True,
            "chainfold.removedAt": {"$lt": long_ago},
            "$expr": {"$and": [created_by_us, bare]},
        }
        with translated(self._url):
            deleted = self._documents().delete_many(match).deleted_count
        self._swept = time.monotonic()
        return deleted

    def _guarded_again(self, newest: Mapping[str, Change]) -> list[Change]:
        """Mends what came of writing without the unique index, which somebody dropped, and makes it;
        returns what is to be sent again."""
        deleted = part(self._documents(), self._names, newest)
        self._make_key()
        return [newest[key] for key in deleted]

    def _make_key(self) -> None:
        try:
            ensure_index(self._documents(), self._names.key, unique=True, sparse=True)
        except KeyConflict:
            if not part(self._documents(), self._names):
                raise
            ensure_index(self._documents(), self._names.key, unique=True, sparse=True)
        ensure_index(self._documents(), "chainfold.removedAt", sparse=True)

    def _make_indexes(self) -> None:
        for field in self._indexes:
            ensure_index(self._documents(), field)

    def _expect(self, *, filling: bool) -> None:
        """In a first fill all is new; what is sent after one is mostly there."""
        self._filling, self._new = filling, float(filling)

    def _documents(self) -> Collection[MongoDocument]:
        return self._of(self._collection)

    def _markers(self) -> Collection[MongoDocument]:
        return self._of("chainfold_markers")

    def _of(self, collection: str) -> Collection[MongoDocument]:
        with self._connecting:  # readers of several threads may be the first
            if self._client is None:
                self._client = connect(self._url, patience=self._patience)
            client = self._client
        return client[self._database].get_collection(
            collection,
            codec_options=CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS),
            write_concern=WriteConcern("majority", wtimeout=60_000),
            read_concern=ReadConcern("majority"),
        )
