"""When MongoDB's indexes are made: the key's before the first document, the others after the first fill."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from msgspec.structs import replace
from pymongo import MongoClient, monitoring
from pymongo.collection import Collection

from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from projections.projectors.referrals import Referrals
from projections.publish.publisher import Publisher
from projections.sinks import Change, Marker
from projections.sinks.mongo.sink import MongoSink
from tests.folding import CHAIN, Bench, registration
from tests.servers.mongo import Mongo

FIELDS = Referrals.document.__struct_fields__
BEFORE = {"_id_", "chainfold_address", "chainfold_chainfold.removedAt"}
ALL = BEFORE | {"chainfold_directReferrer", "chainfold_level1Count"}
CLAIMED = Marker("store", 1, "referrals", 0, "nonce", sends=1)

Users = Collection[dict[str, Any]]
Make = Callable[[], MongoSink]


class Commands(monitoring.CommandListener):
    """In order, the fields of indexes that were made, and `marker` for each write to the markers."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        command = event.command
        if event.command_name == "createIndexes":
            self.seen += [
                (event.database_name, field) for item in command["indexes"] for field in item["key"]
            ]
        elif "chainfold_markers" in (command.get("update"), command.get("insert")):
            self.seen.append((event.database_name, "marker"))

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Of no interest."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Of no interest."""


@pytest.fixture(scope="module")
def commands() -> Commands:
    """Of all clients made afterwards; the driver can forget no listener."""
    made = Commands()
    monitoring.register(made)
    return made


@pytest.fixture
def users(mongo: Mongo) -> Iterator[Users]:
    client: MongoClient[dict[str, Any]]
    with MongoClient(mongo.url) as client:
        yield client[mongo.database]["users"]


@pytest.fixture
def make(commands: Commands, mongo: Mongo) -> Iterator[Make]:
    """Makes open sinks over one collection, as processes one after the other do."""
    with ExitStack() as stack:

        def made() -> MongoSink:
            sink = MongoSink(
                mongo.url,
                database=mongo.database,
                collection="users",
                fields=FIELDS,
                dates=frozenset({"updatedAt"}),
                indexes=("directReferrer", "level1Count"),
            )
            stack.callback(sink.close)
            sink.open()
            return sink

        yield made


def user(number: int) -> Change:
    key = f"0x{number:040x}"
    return Change(key, 1, 1, {"address": key, "directReferrer": None, "level1Count": number})


def indexes(users: Users) -> set[str]:
    return set(users.index_information())


def test_the_indexes_of_readers_come_when_all_is_sent(users: Users, make: Make) -> None:
    sink = make()
    sink.mark(CLAIMED, old=None)
    sink.write([user(1)])
    half = replace(CLAIMED, key=user(1).key)
    sink.mark(half, old=CLAIMED)
    assert indexes(users) == BEFORE
    sink.mark(replace(CLAIMED, revision=1), old=half)
    assert indexes(users) == ALL


def test_a_fill_that_died_before_its_indexes_is_ended_with_them(users: Users, make: Make) -> None:
    first = make()
    first.mark(CLAIMED, old=None)
    first.write([user(1)])
    second = make()
    assert indexes(users) == BEFORE
    second.mark(replace(CLAIMED, revision=1), old=CLAIMED)
    assert indexes(users) == ALL


def test_a_fill_through_many_revisions_that_died_goes_on_with_them(users: Users, make: Make) -> None:
    """Its marker may be above 0 before all is sent: a process that sees this makes them at once."""
    first = make()
    first.mark(CLAIMED, old=None)
    first.mark(replace(CLAIMED, revision=7, key=user(1).key), old=CLAIMED)
    assert indexes(users) == BEFORE
    make()
    assert indexes(users) == ALL


def test_indexes_that_were_dropped_are_made_at_the_next_start(users: Users, make: Make) -> None:
    make().mark(replace(CLAIMED, revision=3), old=None)
    users.drop_indexes()
    make()
    assert indexes(users) == ALL


def test_a_database_that_is_dropped_under_an_open_sink_gets_all_again(users: Users, make: Make) -> None:
    sink = make()
    sink.mark(CLAIMED, old=None)
    sink.mark(replace(CLAIMED, revision=1), old=CLAIMED)
    users.database.client.drop_database(users.database.name)
    sink.mark(CLAIMED, old=None)
    assert indexes(users) == BEFORE
    sink.mark(replace(CLAIMED, revision=1), old=CLAIMED)
    assert indexes(users) == ALL


def test_a_publisher_makes_them_before_its_marker_says_that_all_is_there(
    users: Users, make: Make, commands: Commands, sqlite_store: Store
) -> None:
    bench = Bench(sqlite_store)
    bench.append([registration(1, 0, 1, 2), registration(2, 0, 3, 1), registration(3, 0, 4, 1)], to=3)
    bench.fold()
    sink = make()
    lease = Lease(sqlite_store, "publish:referrals.mongo").acquire()
    stage = Publisher(sqlite_store, lease, sink, projection="referrals", chain_id=CHAIN, batch=3)
    while not stage.step().idle:
        pass
    order = [what for database, what in commands.seen if database == users.database.name]
    assert order[:2] == ["address", "chainfold.removedAt"]
    assert order[-3:] == ["directReferrer", "level1Count", "marker"]
    assert "marker" in order[2:-3]
    assert (indexes(users), users.count_documents({})) == (ALL, 4)
