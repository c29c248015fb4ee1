"""The embedded Redis, one for the session; every test finds it empty."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from projections.errors import ConfigurationError
from projections.service.embedded import EmbeddedRedis, free_port
from tests.servers import missing


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a running server."""
    try:
        server = EmbeddedRedis(tmp_path_factory.mktemp("redis"))
    except ConfigurationError as error:
        missing(str(error))
    with server:
        yield server.url


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """The URL of a server that holds nothing."""
    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server


class ClusterNode(EmbeddedRedis):
    """A node of a Redis Cluster; nobody but its test knows it."""

    def command(self, port: int) -> list[str]:
        bus = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
        return [*super().command(port), *bus]


@pytest.fixture
def redis_cluster_url(tmp_path: Path) -> Iterator[str]:
    """The URL of an empty cluster of two nodes, each with half of the slots."""
    try:
        nodes = [ClusterNode(tmp_path / name) for name in ("one", "two")]
    except ConfigurationError as error:
        missing(str(error))
    with contextlib.ExitStack() as stack:
        urls = [stack.enter_context(node).url for node in nodes]
        clients = [stack.enter_context(redis.Redis.from_url(url)) for url in urls]
        for client, (first, last) in zip(clients, ((0, 8191), (8192, 16383)), strict=True):
            client.execute_command("CLUSTER ADDSLOTSRANGE", first, last)
        there = urlsplit(urls[0])
        bus = clients[0].config_get("cluster-port")["cluster-port"]
        clients[1].execute_command("CLUSTER MEET", there.hostname, there.port, bus)
        end = time.monotonic() + 30
        while not all(_knows_both(client) for client in clients):
            assert time.monotonic() < end, "the two nodes never met"
            time.sleep(0.05)
        yield urls[0].replace("redis://", "redis+cluster://")


def _knows_both(client: redis.Redis) -> bool:
    info: Any = client.execute_command("CLUSTER INFO")
    return (info["cluster_state"], info["cluster_size"]) == ("ok", "2")
