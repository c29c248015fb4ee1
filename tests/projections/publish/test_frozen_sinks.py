"""MongoDB and Redis that stand still, or whose answers hardly move: it is said in time, and passes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from projections.errors import SinkUnavailable
from projections.service.embedded.servers import EmbeddedMongo, EmbeddedRedis
from projections.sinks import Change, Marker, Sink
from projections.sinks.mongo.sink import MongoSink
from projections.sinks.redis.sink import RedisSink
from tests.servers.frozen import Relay, frozen

pytestmark = pytest.mark.server

PATIENCE = 1.0
FIELDS = ("address", "level1Count")
MARKER = Marker("store", 1, "referrals", 0, "")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, EmbeddedMongo | EmbeddedRedis]]:
    """Servers of these tests' own, which they may stop."""
    with (
        EmbeddedMongo(tmp_path_factory.mktemp("mongo")) as mongo,
        EmbeddedRedis(tmp_path_factory.mktemp("redis")) as redis,
    ):
        yield {"mongo": mongo, "redis": redis}


def _sink(kind: str, url: str) -> Sink:
    if kind == "mongo":
        return MongoSink(url, database="test", collection="users", fields=FIELDS, patience=PATIENCE)
    return RedisSink(url, fields=FIELDS, ttl=None, projection="referrals", patience=PATIENCE)


def _change(revision: int) -> Change:
    return Change("0xa", revision, 1, {"address": "0xa", "level1Count": revision})


@pytest.mark.parametrize("kind", ["mongo", "redis"])
def test_a_server_that_stands_still_is_unavailable_until_it_thaws(
    servers: dict[str, EmbeddedMongo | EmbeddedRedis], kind: str
) -> None:
    running = servers[kind].running()
    assert running is not None
    with closing(_sink(kind, servers[kind].url)) as sink:
        sink.open()
        sink.write([_change(1)])
        with frozen(running.pid):
            with pytest.raises(SinkUnavailable):
                sink.write([_change(2)])
            with pytest.raises(SinkUnavailable):
                sink.marker()
        sink.write([_change(3)])
        assert sink.read(["0xa"])["0xa"].revision == 3


@pytest.mark.parametrize("kind", ["mongo", "redis"])
def test_an_answer_that_comes_byte_by_byte_is_given_up_as_a_whole(
    servers: dict[str, EmbeddedMongo | EmbeddedRedis], kind: str
) -> None:
    url = urlsplit(servers[kind].url)
    assert url.hostname is not None
    assert url.port is not None
    with Relay((url.hostname, url.port)) as relay:
        through = url._replace(netloc=f"127.0.0.1:{relay.port}").geturl()
        with closing(_sink(kind, through)) as sink:
            sink.open()
            if sink.marker() is None:
                sink.mark(MARKER, old=None)
            assert sink.marker() is not None
            relay.drip = True
            with pytest.raises(SinkUnavailable):
                sink.marker()
            relay.drip = False
            assert sink.marker() is not None
