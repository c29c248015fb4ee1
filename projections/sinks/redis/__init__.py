"""Redis: `[projections.NAME.redis]` and `[redis]`, one server or a cluster. The sink itself is in `sink`."""

from __future__ import annotations

import re

from msgspec import Struct

from projections.errors import ConfigurationError
from projections.sinks import Sink
from projections.sinks.kinds import SinkKind, SinkRequest, SinkTable
from projections.values.duration import duration


class RedisSettings(SinkTable, frozen=True):
    """`[redis]`"""

    url: str = "embedded"


class RedisTable(SinkTable, frozen=True):
    """A projection's `redis`."""

    key: str
    ttl: str | None = None


class RedisTarget(Struct, frozen=True):
    """A projection's hashes: the pattern of their key, and their life in seconds."""

    key: str
    ttl: int | None


class RedisKind(SinkKind):
    """One hash for each document. Without an installed server, an embedded Redis is a sink in memory."""

    name = "redis"
    table = RedisTable
    server = RedisSettings
    in_memory = True

    def checked(self, table: RedisTable, where: str) -> RedisTarget:
        if len(re.findall(r"\{[A-Za-z_]\w*\}", table.key)) != 1:
            raise ConfigurationError(
                f"{where}.key: {table.key} must name the document's key once, as in user:{{address}}."
            )
        life = None if table.ttl is None else duration(table.ttl, f"{where}.ttl")
        if life is not None and life != int(life):
            raise ConfigurationError(f"{where}.ttl: {table.ttl} is not a whole number of seconds.")
        return RedisTarget(table.key, None if life is None else int(life))

    def place(self, settings: RedisTarget) -> tuple[str, str]:
        return "key", re.sub(r"\{\w+\}", "{}", settings.key)

    def make(self, settings: RedisTarget, request: SinkRequest) -> Sink:
        from projections.sinks.redis.sink import PATIENCE, RedisSink

        server: RedisSettings = request.server
        return RedisSink(
            server.url,
            key=settings.key,
            key_field=request.key,
            fields=request.projector.redis_fields or request.fields,
            ttl=settings.ttl,
            projection=request.projection,
            patience=PATIENCE if request.patience is None else request.patience,
        )
