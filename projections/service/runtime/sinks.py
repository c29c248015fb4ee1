"""The sinks of a configuration, and the embedded servers that some of them run on."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from eventstore.redaction import public
from projections.errors import ConfigurationError
from projections.fold.fold import Projection
from projections.service.config import settings
from projections.sinks import Sink
from projections.sinks.memory import MemorySink
from projections.values.fields import fields


def wide_fields(document: type[Any]) -> frozenset[str]:
    """The fields of a document type that are integers of 256 bits."""
    return frozenset(field.name for field in fields(document).values() if field.wide)


class SinkFactory:
    """Makes the sinks of projections. It owns the embedded servers that they need, until it is closed."""

    def __init__(self, config: settings.Config, projections: Mapping[str, Projection]) -> None:
        self.config = config
        self.projections = projections
        self._open = ExitStack()
        self._urls: dict[str, str] = {}

    def close(self) -> None:
        self._open.close()

    def kinds(self, name: str) -> list[str]:
        """The kinds of a projection's sinks, in the order of `sinks`. Nothing is opened for it."""
        chosen = self.config.projections[name]
        there = {"mongo": chosen.mongo, "redis": chosen.redis}
        return [kind for kind, target in there.items() if target is not None]

    def made(self, name: str, *, patience: float | None = None, only: str | None = None) -> list[Sink]:
        """The sinks of a projection, or the one of the kind `only`; embedded servers are started the first
        time they are wanted.

        `patience` is how many seconds an answer is waited for; by default as long as a big write takes.
        """
        waits: dict[str, Any] = {} if patience is None else {"patience": patience}
        chosen = self.config.projections[name]
        projector = self.projections[name].projector
        names = projector.document.__struct_fields__
        made: list[Sink] = []
        if chosen.mongo is not None and only in (None, "mongo"):
            from projections.sinks.mongo import MongoSink

            made.append(
                MongoSink(
                    self._mongo(),
                    database=self.config.mongo.database,
                    collection=chosen.mongo.collection,
                    key=projector.key,
                    fields=names,
                    dates=frozenset(projector.dates),
                    wide=wide_fields(projector.document),
                    indexes=projector.mongo_indexes,
                    rename=chosen.mongo.fields,
                    **waits,
                )
            )
        if chosen.redis is not None and only in (None, "redis"):
            url = self._redis()
            if url is None:
                made.append(MemorySink(name="redis"))
            else:
                from projections.sinks.redis import RedisSink

                made.append(
                    RedisSink(
                        url,
                        key=chosen.redis.key,
                        key_field=projector.key,
                        fields=projector.redis_fields or names,
                        ttl=chosen.redis.ttl,
                        projection=name,
                        **waits,
                    )
                )
        return made

    def described(self, sink: str) -> str:
        """Where a kind of sink is, without its secrets."""
        settings_ = {"mongo": self.config.mongo.url, "redis": self.config.redis.url}
        url = settings_.get(sink, "")
        if url != "embedded":
            return public(url)
        own = self._urls.get(sink)
        return f"embedded, {public(own)}" if own else "in memory: no redis-server is at hand"

    def collection(self, projection: str) -> Any:
        """The MongoDB collection of a projection, to read from."""
        from pymongo import MongoClient

        target = self.config.projections[projection].mongo
        if target is None:
            raise ConfigurationError(f"projections.{projection} has no mongo sink.")
        client: MongoClient[dict[str, Any]] = self._open.enter_context(
            MongoClient(self._mongo(), datetime_conversion="DATETIME_AUTO")  # theirs may lie after year 9999
        )
        return client[self.config.mongo.database][target.collection]

    def _mongo(self) -> str:
        if self.config.mongo.url != "embedded":
            return self.config.mongo.url
        if "mongo" not in self._urls:
            from projections.service.embedded.servers import EmbeddedMongo

            server = self._open.enter_context(EmbeddedMongo(self.data / "mongo"))
            self._urls["mongo"] = server.url
        return self._urls["mongo"]

    def _redis(self) -> str | None:
        if self.config.redis.url != "embedded":
            return self.config.redis.url
        if "redis" not in self._urls:
            from projections.service.embedded.servers import EmbeddedRedis

            try:
                server = EmbeddedRedis(self.data / "redis")
            except ConfigurationError:
                return None  # no redis-server is at hand: the memory sink, and `described` says so
            self._urls["redis"] = self._open.enter_context(server).url
        return self._urls["redis"]

    @property
    def data(self) -> Path:
        """Where embedded servers keep their files: beside the configuration."""
        return self.config.folder / "chainfold-data"
