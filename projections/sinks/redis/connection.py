"""The client of one server or of a cluster, by its address, and pipelines that end when a node is away."""

from __future__ import annotations

import socket
import time
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.exceptions import NoPermissionError, RedisError
from redis.retry import Retry

_SECONDS = 5.0


def is_cluster(url: str) -> bool:
    return url.partition("://")[0].endswith("+cluster")


def connect(url: str, *, patience: float) -> redis.Redis | RedisCluster:
    """A client for `redis://`, `rediss://`, `unix://`, `redis+cluster://` or `rediss+cluster://`, which
    waits `patience` seconds for an answer: of one server for the whole of it, of a cluster for each part."""
    settings: dict[str, Any] = {
        "decode_responses": True,
        "encoding_errors": "surrogateescape",  # other people's keys may be any bytes
        "socket_connect_timeout": min(_SECONDS, patience),
        "socket_timeout": patience,
        "socket_keepalive": True,
    }
    if is_cluster(url):
        return RedisCluster.from_url(url.replace("+cluster", "", 1), retry=Retry(NoBackoff(), 2), **settings)
    kind = bounded(url.partition("://")[0])
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 1), connection_class=kind, **settings)


class _Bounded:
    """A socket whose answers come within the timeout that it has, as a whole: from the last thing that was
    sent on, however many bytes come one after the other."""

    def __init__(self, own: socket.socket, seconds: float) -> None:
        self._own = own
        self._seconds = seconds
        self._timeout: float | None = own.gettimeout()
        self._end = time.monotonic() + seconds

    def sendall(self, data: bytes, *flags: int) -> None:
        self._end = time.monotonic() + self._seconds
        self._own.sendall(data, *flags)

    def recv(self, *words: Any) -> bytes:
        self._wait()
        return self._own.recv(*words)

    def recv_into(self, *words: Any) -> int:
        self._wait()
        return self._own.recv_into(*words)

    def settimeout(self, seconds: float | None) -> None:
        self._timeout = seconds
        self._own.settimeout(seconds)

    def _wait(self) -> None:
        if self._timeout == 0:  # who asks only whether anything is there
            return
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._own.settimeout(left if self._timeout is None else min(left, self._timeout))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)


def bounded(scheme: str) -> type[Any]:
    """The driver's connection for this kind of address, over a `_Bounded` socket."""
    kind: Any = {"rediss": redis.SSLConnection, "unix": redis.UnixDomainSocketConnection}.get(
        scheme, redis.Connection
    )

    class Bounded(kind):  # type: ignore[misc]  # whichever it is
        def _connect(self) -> Any:
            return _Bounded(super()._connect(), self.socket_timeout)

    return Bounded


def told(client: Any, *sections: str) -> list[dict[str, Any]]:
    """What each server that is written to says of itself, in these sections of INFO; nothing where this user
    may not ask."""
    try:
        nodes: list[dict[str, Any]] = [{}]
        if isinstance(client, RedisCluster):
            nodes = [{"target_nodes": node} for node in client.get_primaries()]  # type: ignore[no-untyped-call]
        return [
            {name: value for section in sections for name, value in client.info(section, **node).items()}
            for node in nodes
        ]
    except NoPermissionError:
        return []


def pipeline(client: Any) -> Any:
    """A pipeline without a transaction. What a cluster did not answer is tried one by one, by its client,
    for a second or so each: here the first failure stands for all, so that a thousand do not take an hour."""
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
