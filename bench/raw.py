"""The sinks without us: documents ready made, and the driver's own bulk calls, in fitting batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from pymongo import UpdateOne

from bench import sinks
from bench.filled import BLOCK
from eventstore.storage.batches import batches
from projections.sinks import Change, Sink
from projections.sinks.mongo.driver import ensure_index
from projections.sinks.mongo.sink import MongoSink
from projections.sinks.redis.connection import pipeline
from projections.sinks.redis.script import WRITE
from projections.sinks.redis.sink import RedisSink

_MONGO = 2_000
_REDIS = 1_000


class Line(Struct, frozen=True):
    """A floor: what it is called, and the work, with everything made beforehand."""

    name: str
    run: Callable[[], None]


class Floors(Struct, frozen=True):
    """What a first publish and a later one of everything are held against: the last of each."""

    first: list[Line]
    again: list[Line]


def floors(
    kind: sinks.Kind, sink: Sink, documents: Sequence[tuple[str, bytes]], *, revision: int = 1
) -> Floors:
    """The floors of a sink, on its own server, beside its documents, which have `revision`, then the next."""
    changes = [
        [Change(key, of, BLOCK, msgspec.json.decode(body)) for key, body in documents]
        for of in (revision, revision + 1)
    ]
    match sink:
        case MongoSink():
            return _mongo(sink, *changes)
        case RedisSink():
            return _redis(sink, *changes)
        case _:
            raise ValueError(f"The sink {kind} has no floor.")


def _mongo(sink: MongoSink, first: list[Change], again: list[Change]) -> Floors:
    names = sink._names
    bare, indexed, later = (sink._of(name) for name in ("raw_bare", "raw", "raw_later"))

    def insert(into: Any, documents: list[dict[str, Any]]) -> None:
        for start in range(0, len(documents), _MONGO):
            into.insert_many(documents[start : start + _MONGO], ordered=False)

    def index(collection: Any) -> None:
        for field in sink._indexes:
            ensure_index(collection, field)

    def with_indexes(collection: Any, documents: list[dict[str, Any]], *, first: bool) -> None:
        ensure_index(collection, names.key, unique=True, sparse=True)
        ensure_index(collection, "chainfold.removedAt", sparse=True)
        if first:
            index(collection)
        insert(collection, documents)
        if not first:
            index(collection)

    def upsert(operations: list[UpdateOne]) -> None:
        for start in range(0, len(operations), _MONGO):
            indexed.bulk_write(operations[start : start + _MONGO], ordered=False)

    ready = [[names.document(change) for change in first] for _ in range(3)]
    operations = [UpdateOne(names.guard(c), names.update(c), upsert=True) for c in again]
    return Floors(
        [
            Line("raw insert_many, no index", lambda: insert(bare, ready[0])),
            Line("raw insert_many, our indexes", lambda: with_indexes(indexed, ready[1], first=True)),
            Line("raw insert_many, then indexes", lambda: with_indexes(later, ready[2], first=False)),
        ],
        [Line("raw guarded upserts", lambda: upsert(operations))],
    )


def _redis(sink: RedisSink, first: list[Change], again: list[Change]) -> Floors:
    client = sink._connected()
    sha = client.script_load(WRITE)

    def send(calls: list[list[str | int]], together: int) -> None:
        for start in range(0, len(calls), _REDIS // together):
            with pipeline(client) as pipe:
                for arguments in calls[start : start + _REDIS // together]:
                    pipe.execute_command("EVALSHA", sha, *arguments)
                pipe.execute()

    def line(name: str, changes: list[Change], together: int) -> Line:
        calls: list[list[str | int]] = []
        for some in batches(changes, together):
            written = [sink._call(change) for change in some]
            names = [f"raw{together}:{change.key}" for change in some]
            own = [word for call in written for word in call.own]
            calls.append([len(some), *names, *written[0].shared, *own])
        return Line(name, lambda: send(calls, together))

    return Floors(
        [line("raw, 50 keys a call", first, 50), line("raw pipeline of the script", first, 1)],
        [line("raw, 50 keys a call, again", again, 50), line("raw pipeline, again", again, 1)],
    )
