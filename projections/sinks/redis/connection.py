"""The client of one server or of a cluster, by its address, and pipelines that end when a node is away."""

from __future__ import annotations

from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.exceptions import RedisError
from redis.retry import Retry

_SECONDS = 5.0


def is_cluster(url: str) -> bool:
    return url.partition("://")[0].endswith("+cluster")


def connect(url: str, *, patience: float) -> redis.Redis | RedisCluster:
    """A client for `redis://`, `rediss://`, `unix://`, `redis+cluster://` or `rediss+cluster://`, which
    waits `patience` seconds for an answer."""
    settings: dict[str, Any] = {
        "decode_responses": True,
        "encoding_errors": "surrogateescape",  # other people's keys may be any bytes
        "socket_connect_timeout": min(_SECONDS, patience),
        "socket_timeout": patience,
    }
    if is_cluster(url):
        return RedisCluster.from_url(url.replace("+cluster", "", 1), retry=Retry(NoBackoff(), 2), **settings)
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 1), **settings)


def pipeline(client: Any) -> Any:
    """A pipeline without a transaction. What a cluster did not answer is tried one by one, by its client,
    for a second or so each: here the first that fails is told of all, and a thousand take no hour."""
    made = client.pipeline(transaction=False)
    alone = getattr(made, "parent_execute_command", None)
    if alone is None:
        return made
    failed: list[RedisError] = []

    def execute(*arguments: Any, **options: Any) -> Any:
        if failed:
            raise failed[0]
        try:
            return alone(*arguments, **options)
        except RedisError as error:
            if isinstance(error, RedisCluster.ERRORS_ALLOW_RETRY):
                failed.append(error)
            raise

    made.parent_execute_command = execute
    return made
