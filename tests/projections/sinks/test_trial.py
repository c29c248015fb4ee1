"""What `check` tries of a sink before the first document: it says what would fail, and leaves nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest
import redis
from pymongo import MongoClient
from pymongo.collection import Collection

from projections.errors import SinkError
from projections.sinks.mongo.names import Names
from projections.sinks.mongo.sink import MongoSink
from projections.sinks.mongo.trial import tried
from projections.sinks.redis.sink import RedisSink
from tests.servers.mongo import Mongo

FIELDS = ("address", "level1Count")
Users = Collection[dict[str, Any]]


@pytest.fixture
def users(mongo: Mongo) -> Iterator[Users]:
    client: MongoClient[dict[str, Any]]
    with MongoClient(mongo.url) as client:
        yield client[mongo.database]["users"]


@pytest.fixture
def documents(mongo: Mongo, users: Users) -> Iterator[MongoSink]:
    with closing(MongoSink(mongo.url, database=mongo.database, collection=users.name, fields=FIELDS)) as made:
        made.open()
        yield made


@pytest.fixture
def server(redis_url: str) -> Iterator[redis.Redis]:
    """The server, which is as it was after each test."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        names = ("maxmemory", "maxmemory-policy")
        before = {name: client.config_get(name)[name] for name in names}
        yield client
        client.replicaof("no", "one")
        client.acl_deluser("poor")
        for name, value in before.items():
            client.config_set(name, value)


def hashes(url: str) -> RedisSink:
    return RedisSink(url, fields=FIELDS, ttl=600, projection="referrals")


def poor(server: redis.Redis, url: str, *commands: str, keys: Sequence[str]) -> str:
    """The URL of a user who may do everything with these keys but these commands."""
    server.acl_setuser("poor", enabled=True, passwords=["+x"], keys=keys, commands=["+@all", *commands])
    return url.replace("redis://", "redis://poor:x@")


def test_a_collection_as_it_must_be_has_no_remarks_and_nothing_is_left(
    users: Users, documents: MongoSink
) -> None:
    users.insert_one({"name": "theirs"})
    before = sorted(users.database.list_collection_names())
    assert documents.trial() == []
    assert sorted(users.database.list_collection_names()) == before
    assert users.count_documents({}) == 1


def test_what_the_collection_demands_is_said(users: Users, documents: MongoSink) -> None:
    users.database.command({"collMod": users.name, "validator": {"level1Count": {"$lt": 9}}})
    users.create_index("email", unique=True)
    users.create_index("phone", unique=True, sparse=True)
    validator, index = documents.trial()
    assert "users has a validator" in validator
    assert "users has the unique index email_1: of the documents that chainfold makes with no email" in index


class Odd:
    """A collection on a server of its own mind: it makes collections of this kind."""

    def __init__(self, real: Users, kind: type[Odd] | None = None) -> None:
        self._real, self._kind = real, kind

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    @property
    def database(self) -> Odd:
        return Odd(self._real.database, self._kind)  # type: ignore[arg-type]

    def get_collection(self, *args: Any, **named: Any) -> Odd:
        assert self._kind is not None
        return self._kind(self._real.get_collection(*args, **named))  # type: ignore[operator, attr-defined]


class Stopping(Odd):
    """It stops at the first error, with any setting."""

    def bulk_write(self, operations: Any, *, ordered: bool = True) -> Any:
        return self._real.bulk_write(operations, ordered=True)


class Unguarded(Odd):
    """It makes no index unique."""

    def create_index(self, keys: Any, *, unique: bool, **named: Any) -> str:
        return self._real.create_index(keys, **named)


class NotSparse(Odd):
    """It makes no index sparse."""

    def create_index(self, keys: Any, *, sparse: bool, **named: Any) -> str:
        return self._real.create_index(keys, **named)


NAMES = Names(key="address", fields=FIELDS, dates=frozenset(), rename={})


def test_a_server_that_stops_an_unordered_bulk_is_named(users: Users) -> None:
    [said] = tried(Odd(users, Stopping), NAMES)  # type: ignore[arg-type]
    assert "stops an unordered bulk at the first error" in said


@pytest.mark.parametrize(
    ("kind", "said"),
    [(Unguarded, "The guard does not hold"), (NotSparse, "one document without the key only")],
)
def test_a_server_on_which_nothing_can_be_guarded_is_refused(
    users: Users, kind: type[Odd], said: str
) -> None:
    with pytest.raises(SinkError, match=said):
        tried(Odd(users, kind), NAMES)  # type: ignore[arg-type]
    assert users.database.list_collection_names() == []


def test_a_redis_as_it_must_be_has_no_remarks_and_nothing_is_left(
    server: redis.Redis, redis_url: str
) -> None:
    with closing(hashes(redis_url)) as sink:
        assert sink.trial() == []
    assert server.dbsize() == 0


@pytest.mark.parametrize(
    ("commands", "keys", "said"),
    [
        (["-@scripting"], ["*"], "evalsha|scripting|permission"),
        (["-hset"], ["*"], "HSET|hset|permission|ACL"),
        ([], ["user:*"], "key|permission"),
        ([], ["chainfold:*"], "key|permission"),
    ],
    ids=["no scripts", "no writes", "no marker", "no documents"],
)
def test_a_user_who_may_not_do_what_publishing_needs_is_told(
    server: redis.Redis, redis_url: str, commands: list[str], keys: list[str], said: str
) -> None:
    url = poor(server, redis_url, *commands, keys=keys)
    with closing(hashes(url)) as sink, pytest.raises(SinkError, match=said):
        sink.trial()


def test_a_user_who_may_do_no_more_than_publishing_needs_is_enough(
    server: redis.Redis, redis_url: str
) -> None:
    url = poor(server, redis_url, "-@admin", "-info", keys=["user:*", "chainfold:*"])
    with closing(hashes(url)) as sink:
        assert sink.trial() == []
    assert server.dbsize() == 0


def test_a_replica_is_told(server: redis.Redis, redis_url: str) -> None:
    server.replicaof("127.0.0.1", "1")
    with closing(hashes(redis_url)) as sink, pytest.raises(SinkError, match="replica"):
        sink.trial()


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("allkeys-lru", "may evict the marker"),
        ("noeviction", "nothing is written before"),
        ("volatile-lru", None),
    ],
)
def test_a_policy_that_may_take_the_marker_is_told(
    server: redis.Redis, redis_url: str, policy: str, said: str | None
) -> None:
    server.config_set("maxmemory", "1gb")
    server.config_set("maxmemory-policy", policy)
    with closing(hashes(redis_url)) as sink:
        told = sink.trial()
        assert not sink.evicts()
    assert (said is None and told == []) or (said is not None and said in told[0])
