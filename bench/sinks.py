"""A benchmark's sinks as the service makes them, each over an empty server that is gone afterwards, or, for
MongoDB, over a new database of a server that is named, which is dropped afterwards."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal, assert_never

from projections.projectors import Projector
from projections.service.embedded.servers import EmbeddedMongo, EmbeddedRedis
from projections.sinks import Sink
from projections.sinks.memory import MemorySink
from projections.sinks.mongo.driver import connect
from projections.sinks.mongo.sink import MongoSink
from projections.sinks.redis.sink import RedisSink

Kind = Literal["memory", "mongo", "redis"]


@contextmanager
def empty(kinds: Sequence[Kind], projector: Projector, *, mongo: str | None = None) -> Iterator[list[Sink]]:
    """Open sinks of these kinds that hold nothing; `mongo` is the URL of one to take for the embedded."""
    with ExitStack() as stack:
        made: list[Sink] = []
        for kind in kinds:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench")))
            made.append(_over(kind, folder, projector, mongo, stack))
            stack.callback(made[-1].close)
            made[-1].open()
        yield made


def _over(kind: Kind, folder: Path, projector: Projector, mongo: str | None, stack: ExitStack) -> Sink:
    match kind:
        case "memory":
            return MemorySink()
        case "mongo":
            url = mongo or stack.enter_context(EmbeddedMongo(folder)).url
            return MongoSink(
                url,
                database=stack.enter_context(_database(url)),
                collection="users",
                key=projector.key,
                fields=projector.document.__struct_fields__,
                dates=frozenset(projector.dates),
                indexes=projector.mongo_indexes,
            )
        case "redis":
            return RedisSink(
                stack.enter_context(EmbeddedRedis(folder)).url,
                key_field=projector.key,
                fields=projector.redis_fields,
                ttl=24 * 3600,
                projection="referrals",
            )
        case _:
            assert_never(kind)


@contextmanager
def _database(url: str) -> Iterator[str]:
    """The name of one that is not there yet, and is dropped afterwards."""
    name = f"chainfold_bench_{secrets.token_hex(4)}"
    try:
        yield name
    finally:
        with connect(url) as client:
            client.drop_database(name)
