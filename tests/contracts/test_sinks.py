"""Every sink of this package passes the public suite, and what only these sinks promise."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib import import_module
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo import MongoClient

from projections.sinks import ReadableSink, Value
from projections.sinks.memory import MemorySink
from projections.sinks.mongo.sink import MongoSink
from projections.sinks.redis.sink import RedisSink
from projections.testing.contracts.marker import Factory
from projections.testing.contracts.refusing import Refusing, RefusingSinkContract
from projections.testing.contracts.sink import NEVER
from projections.testing.contracts.users import FIELDS, held, user
from tests.servers.mongo import Mongo

TIMES = st.one_of(st.none(), st.sampled_from(NEVER), st.integers(-(2**63), 2**63 - 1))


class OwnSinkContract(RefusingSinkContract):
    """The public suite, and times as hypothesis finds them."""

    @settings(
        max_examples=15,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
        derandomize=True,
    )
    @given(st.lists(TIMES, min_size=1, max_size=8))
    def test_every_time_that_a_document_can_have_is_written_and_read_back_as_it_is(
        self, sink: ReadableSink, times: list[int | None]
    ) -> None:
        """A field in `dates` has 63 bits: no time keeps its document or another out."""
        revision = max((change.revision for change in sink.scan()), default=0) + 1
        changes = [user(f"k{n}", revision, updatedAt=at) for n, at in enumerate([*times, *NEVER])]
        assert sink.write(changes) == len(changes)
        found = sink.read([change.key for change in changes])
        assert found == held(sink, changes)
        shown = [(found[change.key].fields or {})["updatedAt"] for change in changes]
        assert list(map(text, shown)) == [text(at) for at in [*times, *NEVER]]


def text(value: Value) -> str:
    """A time as every sink shows it, in Redis as text."""
    return "" if value is None else str(value)


class TestMemorySink(OwnSinkContract):
    @pytest.fixture
    def make(self) -> Factory:
        one = MemorySink()
        return lambda: one

    @pytest.fixture
    def refusing(self, make: Factory) -> Refusing:
        one = make()

        def refuse(keys: Sequence[str]) -> None:
            assert isinstance(one, MemorySink)
            one.refuses = lambda change: "it is not wanted" if change.key in keys else None

        return refuse


@pytest.mark.server
class TestMongoSink(OwnSinkContract):
    @pytest.fixture
    def make(self, mongo: Mongo) -> Factory:
        return lambda: MongoSink(
            mongo.url,
            database=mongo.database,
            collection="users",
            fields=FIELDS,
            dates=frozenset({"updatedAt"}),
            indexes=("directReferrer",),
        )

    @pytest.fixture
    def refusing(self, make: Factory, mongo: Mongo) -> Iterator[Refusing]:
        client: MongoClient[dict[str, Any]]
        with MongoClient(mongo.url) as client:

            def refuse(keys: Sequence[str]) -> None:
                client[mongo.database].command(
                    {"collMod": "users", "validator": {"address": {"$nin": list(keys)}}}
                )

            yield refuse


class OnRedis(OwnSinkContract):
    @pytest.fixture
    def url(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    def make(self, url: str) -> Factory:
        return lambda: RedisSink(url, fields=FIELDS, ttl=600, projection="referrals")

    @pytest.fixture
    def refusing(self, make: Factory) -> Iterator[Refusing]:
        with closing(make()) as one:
            assert isinstance(one, RedisSink)
            server = one._connected()
            set_before: list[str] = []

            def refuse(keys: Sequence[str]) -> None:
                for key in set_before:
                    server.delete(f"user:{key}")
                set_before[:] = keys
                for key in keys:
                    server.delete(f"user:{key}")
                    server.set(f"user:{key}", "somebody's own")

            yield refuse


@pytest.mark.server
class TestRedisSink(OnRedis):
    @pytest.fixture
    def url(self, redis_url: str) -> str:
        return redis_url


@pytest.mark.server
class TestRedisSinkOnACluster(OnRedis):
    @pytest.fixture
    def url(self, redis_cluster: Any) -> str:
        return str(redis_cluster.url)


@pytest.mark.parametrize("kind", ["mongo", "redis"])
def test_readers_of_many_threads_who_are_the_first_share_one_client(
    kind: str, mongo: Mongo, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The HTTP API reads sinks that were not opened; a second client would never be closed."""
    module = import_module(f"projections.sinks.{kind}.sink")
    sink: ReadableSink = (
        MongoSink(mongo.url, database=mongo.database, collection="users", fields=("address",))
        if kind == "mongo"
        else RedisSink(redis_url, fields=("address",), ttl=600, projection="referrals")
    )
    connect, made = module.connect, []

    def slowly(*args: Any, **named: Any) -> Any:
        time.sleep(0.05)
        made.append(connect(*args, **named))
        return made[-1]

    monkeypatch.setattr(module, "connect", slowly)
    with closing(sink), ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: sink.marker(), range(8))) == [None] * 8
    assert len(made) == 1
