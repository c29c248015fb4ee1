"""The embedded Redis, one for the session; every test finds it empty."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from projections.errors import ConfigurationError
from projections.service.embedded.servers import EmbeddedRedis
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
