"""Servers that refuse a whole command, or stop an unordered bulk: no document keeps another out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from pymongo import InsertOne, MongoClient
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from projections.sinks import Change
from projections.sinks.mongo.names import Names
from projections.sinks.mongo.sending import Sending
from tests.servers.mongo import Mongo

FIELDS = ("address", "level1Count")
NAMES = Names(key="address", fields=FIELDS, dates=frozenset(), rename={})
Users = Collection[dict[str, Any]]


@pytest.fixture
def users(mongo: Mongo) -> Iterator[Users]:
    client: MongoClient[dict[str, Any]]
    with MongoClient(mongo.url) as client:
        made = client[mongo.database]["users"]
        made.create_index("address", unique=True, sparse=True)
        yield made


class ServerFault:
    """A collection on a server that refuses a command as a whole for one document, and names none."""

    def __init__(self, real: Users, bad: set[str], code: int = 2) -> None:
        self._real, self._bad, self._code = real, bad, code
        self.commands = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def bulk_write(self, operations: Sequence[Any], *, ordered: bool = True) -> Any:
        self.commands += 1
        keys = {
            item._doc["_id"] if isinstance(item, InsertOne) else item._filter["address"]
            for item in operations
        }
        if keys & self._bad:
            raise OperationFailure("invalid BSON in body", self._code, {"errmsg": "invalid BSON in body"})
        return self._real.bulk_write(operations, ordered=ordered)


class Dead(ServerFault):
    """It refuses every write of any kind."""

    def update_one(self, *_: Any, **__: Any) -> Any:
        raise OperationFailure("nothing at all", 2, {"errmsg": "nothing at all"})


class Stopping(ServerFault):
    """It stops at the first error."""

    def bulk_write(self, operations: Sequence[Any], *, ordered: bool = True) -> Any:
        self.commands += 1
        return self._real.bulk_write(operations, ordered=True)


def changes(count: int) -> list[Change]:
    return [Change(f"k{n:03}", 5, 1, {"address": f"k{n:03}", "level1Count": n}) for n in range(count)]


@pytest.mark.parametrize("way", ["insert", "upsert"])
@pytest.mark.parametrize(
    "bad", [set(), {0}, {99}, {3, 4, 50}, set(range(0, 100, 9))], ids=lambda bad: str(len(bad))
)
def test_a_command_that_is_refused_as_a_whole_is_halved(users: Users, way: str, bad: set[int]) -> None:
    place = ServerFault(users, {f"k{n:03}" for n in bad})
    sent = getattr(Sending(place, NAMES), way)(changes(100))  # type: ignore[arg-type]
    assert sorted(item.change.key for item in sent.refused) == sorted(f"k{n:03}" for n in bad)
    assert {item.why for item in sent.refused} <= {"invalid BSON in body"}
    assert sent.made == users.count_documents({}) == 100 - len(bad)
    assert place.commands <= 1 + 16 * len(bad)


def test_a_server_that_refuses_every_write_refuses_no_document(users: Users) -> None:
    place = Dead(users, {"k003"})
    with pytest.raises(OperationFailure, match="nothing at all"):
        Sending(place, NAMES).upsert(changes(10))  # type: ignore[arg-type]


@pytest.mark.parametrize("code", [13, 10107, 11600, 14031])
def test_what_ails_the_server_is_told_at_once(users: Users, code: int) -> None:
    """No right, no primary, going down, no room: nothing is halved, and no document is set aside."""
    place = ServerFault(users, {"k003"}, code)
    with pytest.raises(OperationFailure):
        Sending(place, NAMES).upsert(changes(10))  # type: ignore[arg-type]
    assert place.commands == 1


@pytest.mark.parametrize("bad", [{0}, {9}, {1, 2, 8}, set(range(10))], ids=lambda bad: str(len(bad)))
def test_what_a_server_leaves_out_when_it_stops_is_sent_again(users: Users, bad: set[int]) -> None:
    names = [f"k{n:03}" for n in sorted(bad)]
    users.database.command({"collMod": users.name, "validator": {"address": {"$nin": names}}})
    sent = Sending(Stopping(users, set()), NAMES).upsert(changes(10))  # type: ignore[arg-type]
    assert sorted(item.change.key for item in sent.refused) == names
    assert users.count_documents({}) == sent.made == 10 - len(bad)
