"""MongoDB, in a collection that an application already uses: ours is right, theirs is intact."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import Decimal128, Int64
from pymongo import MongoClient, monitoring
from pymongo.collection import Collection

from projections.errors import (
    ConfigurationError,
    DocumentsRefused,
    KeyConflict,
    MarkerLost,
    SinkUnavailable,
)
from projections.sinks import Change, Marker, Value
from projections.sinks.capabilities import PageRequest
from projections.sinks.mongo.sending import SPLIT, Sending
from projections.sinks.mongo.sink import MongoSink
from tests.servers.mongo import Mongo

FIELDS = ("address", "directReferrer", "level1Count", "updatedAt")
ALICE, BOB, CAROL = (f"0x{n:040x}" for n in (0xA, 0xB, 0xC))

Users = Collection[dict[str, Any]]
Make = Callable[..., MongoSink]


@pytest.fixture
def users(mongo: Mongo) -> Iterator[Users]:
    """The collection as the application sees it."""
    client: MongoClient[dict[str, Any]]
    with MongoClient(mongo.url, tz_aware=True) as client:
        yield client[mongo.database]["users"]


@pytest.fixture(params=["first", "later"])
def make(request: pytest.FixtureRequest, mongo: Mongo) -> Iterator[Make]:
    """Makes open sinks over that collection, and closes them: ones that never wrote, which try plain
    inserts first, and ones that last met documents which were there, which send guarded upserts."""
    with ExitStack() as stack:
        client: MongoClient[dict[str, Any]] = stack.enter_context(MongoClient(mongo.url))

        def made(**settings: Any) -> MongoSink:
            given: dict[str, Any] = {"collection": "users", "fields": FIELDS, "dates": {"updatedAt"}}
            sink = MongoSink(mongo.url, database=mongo.database, **given | settings)
            stack.callback(sink.close)
            sink.open()
            if request.param == "later":
                sink.write([user("0xbefore", 1)])
                sink.write([user("0xbefore", 2)])
                client[mongo.database][(given | settings)["collection"]].delete_one({"_id": "0xbefore"})
            return sink

        yield made


class Commands(monitoring.CommandListener):
    """The writing commands that went to each collection, in order."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], list[str]] = {}

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if event.command_name in {"insert", "update"}:
            place = (event.database_name, event.command[event.command_name])
            self._seen.setdefault(place, []).append(event.command_name)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Of no interest."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Of no interest."""

    def taken(self, users: Users) -> list[str]:
        """What was sent to the collection since this was last asked."""
        return self._seen.pop((users.database.name, users.name), [])


@pytest.fixture(scope="module")
def commands() -> Commands:
    """Of all clients made afterwards; the driver can forget no listener."""
    made = Commands()
    monitoring.register(made)
    return made


def user(key: str, revision: int, **fields: Value) -> Change:
    given: dict[str, Value] = {
        "address": key,
        "directReferrer": None,
        "level1Count": revision,
        "updatedAt": 1_700_000_000,
    }
    return Change(key, revision, block=revision * 10, fields=given | fields)


def gone(key: str, revision: int) -> Change:
    return Change(key, revision, block=revision * 10, fields=None)


def only(users: Users, **match: object) -> dict[str, Any]:
    """The one document that matches."""
    [found] = users.find(match)
    return found


def age(users: Users, key: str, *, by: timedelta) -> None:
    """Makes a removal look older than it is."""
    users.update_one({"address": key}, {"$set": {"chainfold.removedAt": datetime.now(UTC) - by}})


def test_a_new_document_has_the_key_as_its_id_and_our_mark(users: Users, make: Make) -> None:
    make().write([user(ALICE, 3)])
    assert only(users) == {
        "_id": ALICE,
        "address": ALICE,
        "directReferrer": None,
        "level1Count": 3,
        "updatedAt": datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC),
        "chainfold": {"revision": 3, "block": 30},
    }


def test_integers_are_stored_as_int64_whatever_their_size(users: Users, make: Make) -> None:
    make().write([user(ALICE, 1)])
    assert type(only(users)["level1Count"]) is Int64
    assert users.count_documents({"level1Count": {"$type": "long"}}) == 1


def test_a_date_beyond_the_calendar_is_kept_to_the_second(make: Make) -> None:
    """Readers know the years 1 to 9999 only: the exact seconds stand beside the Date."""
    far = user(ALICE, 1, updatedAt=2**48)
    assert make().as_held(far) == far


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (2**48 - 1, datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)),
        (2**62, datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)),
        (253_402_300_799, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (-1, datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (-(2**63), datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_time_beyond_the_dates_is_the_nearest_date_with_its_exact_seconds_beside(
    users: Users, make: Make, seconds: int, shown: datetime
) -> None:
    """The application reads it with a driver that knows the years 1 to 9999 only."""
    sink = make()
    sink.write([user(ALICE, 3, updatedAt=seconds), user(BOB, 3)])
    assert only(users, address=ALICE)["updatedAt"] == shown
    exact = {"beyond": {"updatedAt": seconds}} if abs(seconds) >= 2**47 else {}
    assert only(users, address=ALICE)["chainfold"] == {"revision": 3, "block": 30} | exact
    sink.write([user(ALICE, 4)])
    assert only(users, address=ALICE)["chainfold"] == {"revision": 4, "block": 40}


def test_documents_are_found_by_a_time_beyond_the_dates(make: Make) -> None:
    times = [2**48 - 1, 2**62, -(2**63), -62_135_596_800, 253_402_300_799]
    sink = make()
    sink.write([user(str(at), 1, updatedAt=at) for at in times])
    for at in times:
        found = sink.page(PageRequest(where={"updatedAt": at}, limit=9))
        assert [change.key for change in found] == [str(at)]


def test_a_time_beyond_the_dates_that_somebody_changed_shows_as_what_it_is(users: Users, make: Make) -> None:
    sink = make()
    sink.write([user(ALICE, 3, updatedAt=2**62)])
    users.update_one({"address": ALICE}, {"$set": {"updatedAt": datetime(2030, 1, 1, tzinfo=UTC)}})
    assert (sink.read([ALICE])[ALICE].fields or {})["updatedAt"] == 1_893_456_000


def test_a_date_of_null_is_null(users: Users, make: Make) -> None:
    make().write([user(ALICE, 1, updatedAt=None)])
    assert only(users)["updatedAt"] is None


def test_bytes_are_stored_as_hexadecimal(users: Users, make: Make) -> None:
    make().write([user(ALICE, 1, directReferrer=b"\x01\xff")])
    assert only(users)["directReferrer"] == "0x01ff"


def test_an_integer_beyond_63_bits_is_refused_with_a_sentence(make: Make) -> None:
    sink = make()
    with pytest.raises(DocumentsRefused, match=f"{ALICE}.*cannot be stored"):
        sink.write([user(BOB, 1), user(ALICE, 1, level1Count=2**64), user(CAROL, 1)])
    assert sorted(sink.read([ALICE, BOB, CAROL])) == sorted([BOB, CAROL])


def test_a_collection_filled_by_the_teams_own_script_ends_right(users: Users, make: Make) -> None:
    """Wrong counts are corrected in place; sign-ups that no event names stay as they are."""
    users.insert_many(
        [
            {"address": ALICE, "email": "alice@x", "level1Count": 77, "updatedAt": "long ago"},
            {"address": BOB, "email": "bob@x", "tags": ["vip"], "directReferrer": CAROL},
            {"email": "nobody@x", "level1Count": 5},
            {"email": "noone@x", "level1Count": 6},
        ]
    )
    before = list(users.find())
    sink = make(indexes=("directReferrer", "level1Count"))
    sink.write([user(ALICE, 1), user(BOB, 1, directReferrer=ALICE), user(CAROL, 1)])
    alice, bob = only(users, address=ALICE), only(users, address=BOB)
    assert (alice["_id"], alice["email"], alice["level1Count"]) == (before[0]["_id"], "alice@x", 1)
    assert alice["updatedAt"] == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert (bob["_id"], bob["tags"], bob["directReferrer"]) == (before[1]["_id"], ["vip"], ALICE)
    assert list(users.find({"address": {"$exists": False}})) == before[2:]
    assert users.count_documents({}) == 5


def test_a_removal_takes_our_fields_and_leaves_the_applications(users: Users, make: Make) -> None:
    users.insert_one({"address": ALICE, "email": "alice@x"})
    sink = make()
    sink.write([user(ALICE, 1)])
    sink.write([gone(ALICE, 2)])
    held = only(users)
    assert (held["address"], held["email"]) == (ALICE, "alice@x")
    assert held["chainfold"]["removed"] is True
    assert not {"level1Count", "directReferrer", "updatedAt"} & held.keys()


def test_a_return_after_a_removal_clears_the_removal(users: Users, make: Make) -> None:
    sink = make()
    sink.write([gone(ALICE, 2)])
    sink.write([user(ALICE, 3)])
    assert only(users)["chainfold"] == {"revision": 3, "block": 30}


def test_scan_shows_nothing_of_the_application(users: Users, make: Make) -> None:
    users.insert_many([{"address": ALICE, "email": "a"}, {"address": BOB, "chainfold": "a word of theirs"}])
    sink = make()
    sink.write([user(CAROL, 1)])
    assert [change.key for change in sink.scan()] == [CAROL]
    assert sink.read([ALICE, BOB]) == {}


def test_what_the_application_did_to_our_field_is_seen(users: Users, make: Make) -> None:
    sink = make()
    sink.write([user(ALICE, 1)])
    users.update_one({}, {"$set": {"level1Count": "many"}, "$unset": {"directReferrer": ""}})
    fields = sink.read([ALICE])[ALICE].fields
    assert fields is not None
    assert fields["level1Count"] == "many"
    assert "directReferrer" not in fields


def test_a_bare_removed_document_is_swept_after_the_grace(users: Users, make: Make) -> None:
    sink = make(grace=60)
    sink.write([gone(ALICE, 1), gone(BOB, 1)])
    age(users, ALICE, by=timedelta(seconds=61))
    assert sink.sweep() == 1
    assert only(users)["address"] == BOB


def test_opening_sweeps(users: Users, make: Make) -> None:
    make(grace=60).write([gone(ALICE, 1)])
    age(users, ALICE, by=timedelta(hours=1))
    make(grace=60)
    assert users.count_documents({}) == 0


def test_writing_sweeps_once_per_grace(users: Users, make: Make) -> None:
    sink = make(grace=3600)
    sink.write([gone(ALICE, 1)])
    age(users, ALICE, by=timedelta(hours=2))
    sink.write([user(BOB, 1)])
    assert users.count_documents({"address": ALICE}) == 1
    always = make(grace=0.001)
    always.write([gone(CAROL, 1)])
    assert users.count_documents({"address": ALICE}) == 0


def test_a_removed_document_with_a_foreign_field_is_never_swept(users: Users, make: Make) -> None:
    sink = make(grace=60)
    sink.write([user(ALICE, 1)])
    users.update_one({"address": ALICE}, {"$set": {"email": "alice@x"}})
    sink.write([gone(ALICE, 2)])
    age(users, ALICE, by=timedelta(hours=1))
    assert sink.sweep() == 0
    assert only(users)["email"] == "alice@x"


def test_a_document_that_we_did_not_create_is_never_swept(users: Users, make: Make) -> None:
    users.insert_one({"address": ALICE})
    sink = make(grace=60)
    sink.write([gone(ALICE, 1)])
    age(users, ALICE, by=timedelta(hours=1))
    assert sink.sweep() == 0


def test_a_document_that_came_back_is_not_swept(users: Users, make: Make) -> None:
    sink = make(grace=60)
    sink.write([gone(ALICE, 1)])
    age(users, ALICE, by=timedelta(hours=1))
    sink.write([user(ALICE, 2)])
    assert sink.sweep() == 0


def test_a_renamed_field_is_written_under_the_applications_name(users: Users, make: Make) -> None:
    users.insert_one({"address": ALICE, "updatedAt": "the application's"})
    sink = make(rename={"updatedAt": "chainUpdatedAt"}, indexes=("updatedAt",))
    sink.write([user(ALICE, 1)])
    held = only(users)
    assert held["updatedAt"] == "the application's"
    assert held["chainUpdatedAt"] == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert sink.read([ALICE])[ALICE].fields == user(ALICE, 1).fields


def test_a_renamed_key_field_is_what_documents_are_matched_by(users: Users, make: Make) -> None:
    users.insert_one({"wallet": ALICE, "email": "alice@x"})
    sink = make(rename={"address": "wallet"})
    sink.write([user(ALICE, 1), user(BOB, 1)])
    assert only(users, wallet=ALICE)["email"] == "alice@x"
    assert only(users, wallet=BOB)["_id"] == BOB
    assert sink.read([ALICE, BOB]) == {ALICE: user(ALICE, 1), BOB: user(BOB, 1)}


@pytest.mark.parametrize(
    "rename", [{"updatedAt": "_id"}, {"updatedAt": "a.b"}, {"updatedAt": "level1Count"}, {"no": "x"}]
)
def test_a_rename_that_cannot_be_is_refused(make: Make, rename: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        make(rename=rename)


def test_a_unique_index_that_the_application_drops_is_made_again_before_anything_is_lost(
    users: Users, make: Make
) -> None:
    """As mongoose's syncIndexes does. A repetition would make a second document beside the application's."""
    users.insert_many([{"address": ALICE, "email": "alice@x"}, {"address": BOB, "email": "bob@x"}])
    sink = make()
    sink.write([user(ALICE, 5), user(BOB, 5)])
    users.drop_indexes()
    written = sink.write([user(ALICE, 4), user(BOB, 6), user(CAROL, 4)])
    assert written == 2
    assert {key: change.revision for key, change in sink.read([ALICE, BOB, CAROL]).items()} == {
        ALICE: 5,
        BOB: 6,
        CAROL: 4,
    }
    assert users.count_documents({}) == 3
    assert only(users, address=ALICE)["email"] == "alice@x"
    assert users.index_information()["chainfold_address"]["unique"]


def test_what_was_written_without_the_index_by_who_died_is_mended_at_the_next_start(
    users: Users, make: Make
) -> None:
    users.insert_many([{"address": ALICE, "email": "alice@x"}, {"email": "no address"}])
    make().write([user(ALICE, 5)])
    users.drop_indexes()
    users.insert_one(
        {"_id": ALICE, "address": ALICE, "level1Count": 1, "chainfold": {"revision": 4, "block": 1}}
    )
    make()
    assert only(users, address=ALICE)["email"] == "alice@x"
    assert users.index_information()["chainfold_address"]["unique"]


def test_a_twin_that_holds_a_field_of_the_application_is_never_deleted(users: Users, make: Make) -> None:
    users.insert_many(
        [
            {"address": ALICE, "email": "alice@x"},
            {"_id": ALICE, "address": ALICE, "name": "Alice", "chainfold": {"revision": 4, "block": 1}},
        ]
    )
    with pytest.raises(KeyConflict, match=f"address = {ALICE}"):
        make()
    assert users.count_documents({"address": ALICE}) == 2


def test_duplicates_of_a_key_are_refused_by_name_at_the_start(users: Users, make: Make) -> None:
    users.insert_many([{"address": ALICE}, {"address": ALICE}])
    with pytest.raises(KeyConflict, match=f"address = {ALICE}"):
        make()


def test_documents_without_the_key_are_no_duplicates(users: Users, make: Make) -> None:
    users.insert_many([{"email": "a"}, {"email": "b"}])
    make()
    assert users.index_information()["chainfold_address"] == {
        "v": 2,
        "key": [("address", 1)],
        "unique": True,
        "sparse": True,
    }


def test_indexes_that_the_application_has_are_not_made_again(users: Users, make: Make) -> None:
    users.create_index("address", unique=True)
    users.create_index([("directReferrer", 1), ("email", 1)])
    make(indexes=("directReferrer",))
    assert set(users.index_information()) == {
        "_id_",
        "address_1",
        "directReferrer_1_email_1",
        "chainfold_chainfold.removedAt",
    }


def test_an_id_of_ours_on_a_document_of_theirs_is_a_conflict(users: Users, make: Make) -> None:
    users.insert_one({"_id": ALICE, "email": "alice@x"})
    sink = make()
    with pytest.raises(DocumentsRefused, match=f"{ALICE}: another document is in its way"):
        sink.write([user(ALICE, 1), user(BOB, 1)])
    assert only(users, _id=ALICE) == {"_id": ALICE, "email": "alice@x"}
    assert only(users, address=BOB)["chainfold"]["revision"] == 1


def test_a_unique_index_of_theirs_in_our_way_is_a_conflict(users: Users, make: Make) -> None:
    sink = make()
    users.create_index("email", unique=True)
    users.insert_one({"name": "without email"})
    with pytest.raises(DocumentsRefused, match=rf"{ALICE}.*email"):
        sink.write([user(ALICE, 1)])


def test_stale_writes_beside_new_ones_leave_the_new_ones_done(make: Make) -> None:
    sink = make()
    sink.write([user(ALICE, 5), user(BOB, 5)])
    assert sink.write([user(ALICE, 4), user(BOB, 6), user(CAROL, 1)]) == 2
    assert {key: change.revision for key, change in sink.read([ALICE, BOB, CAROL]).items()} == {
        ALICE: 5,
        BOB: 6,
        CAROL: 1,
    }


def test_many_upserts_go_over_two_connections_and_each_change_meets_its_own_answer(
    commands: Commands, users: Users, make: Make
) -> None:
    keys = [f"0x{n:040x}" for n in range(2 * SPLIT)]
    sink = make()
    sink.write([user(key, 5) for key in keys[::2]])
    commands.taken(users)
    sink._expect(filling=False)
    newer = {key: 4 + number % 3 for number, key in enumerate(keys)}  # of what is held a third is newer
    assert sink.write([user(key, revision) for key, revision in newer.items()]) == sum(
        number % 2 == 1 or revision > 5 for number, revision in enumerate(newer.values())
    )
    assert commands.taken(users)[:2] == ["update", "update"]
    assert {key: change.revision for key, change in sink.read(keys).items()} == {
        key: revision if number % 2 else max(5, revision)
        for number, (key, revision) in enumerate(newer.items())
    }


def test_a_conflict_in_either_half_of_many_upserts_is_named_and_the_rest_is_written(
    users: Users, make: Make
) -> None:
    keys = [f"0x{n:040x}" for n in range(2 * SPLIT)]
    for taken in (keys[1], keys[-1]):
        users.insert_one({"_id": taken, "email": "theirs"})
        sink = make()
        sink._expect(filling=False)
        with pytest.raises(DocumentsRefused) as raised:
            sink.write([user(key, 1) for key in keys])
        assert list(raised.value.reasons) == [taken]
        assert raised.value.written == len(keys) - 1
        assert sink.read(keys).keys() == set(keys) - {taken}
        users.delete_many({})


def test_what_another_writer_of_an_older_revision_got_in_the_way_of_is_sent_again(
    users: Users, make: Make
) -> None:
    """Two upserts of a new key at once: one inserts, the other is refused, and may be the newer."""
    sink = make()
    sink.write([user(ALICE, 3), user(BOB, 9)])
    refused = [user(key, 5) for key in (ALICE, BOB)]
    assert Sending(users, sink._names).still_to_do(refused) == [user(ALICE, 5)]


@pytest.mark.parametrize("make", ["first"], indirect=True)
def test_a_first_publish_is_plain_inserts(commands: Commands, users: Users, make: Make) -> None:
    sink = make()
    for wave in range(3):
        sink.write([user(f"k{wave}.{n}", 1) for n in range(20)])
    assert commands.taken(users) == ["insert", "insert", "insert"]


@pytest.mark.parametrize("make", ["first"], indirect=True)
def test_what_is_there_already_is_upserted_and_what_is_new_again_inserted(
    commands: Commands, users: Users, make: Make
) -> None:
    users.insert_many([{"address": f"k{n}"} for n in range(20)])
    sink = make()
    commands.taken(users)
    sink.write([user(f"k{n}", 1) for n in range(20)])
    assert commands.taken(users) == ["insert", "update"]
    sink.write([user(f"k{n}", 1) for n in range(20, 40)])
    assert commands.taken(users) == ["update"]
    sink.write([user(f"k{n}", 1) for n in range(40, 60)])
    assert commands.taken(users) == ["insert"]


def test_totals_count_and_sum_what_is_ours_and_there(users: Users, make: Make) -> None:
    users.insert_one({"address": "theirs", "level1Count": 1000})
    sink = make(rename={"level1Count": "invited"})
    sink.write([user(ALICE, 2), user(BOB, 3), user(CAROL, 4)])
    sink.write([gone(CAROL, 5)])
    assert sink.totals(["level1Count"]) == {"count": 2, "level1Count": 5}


def test_totals_of_nothing_are_zero(make: Make) -> None:
    assert make().totals(["level1Count"]) == {"count": 0, "level1Count": 0}


def test_two_collections_have_a_marker_each(make: Make) -> None:
    one, two = make(), make(collection="others")
    one.mark(Marker("s", 1, "a", 0, "n"), old=None)
    two.mark(Marker("s", 1, "b", 0, "m"), old=None)
    marker = one.marker()
    assert marker is not None
    assert marker.projection == "a"


def test_of_two_claims_at_once_one_is_lost(make: Make) -> None:
    sinks = [make() for _ in range(4)]
    won: list[int] = []
    start = threading.Barrier(len(sinks))

    def claim(number: int) -> None:
        start.wait()
        try:
            sinks[number].mark(Marker("s", 1, "a", 0, f"nonce {number}"), old=None)
        except MarkerLost:
            return
        won.append(number)

    run([lambda number=n: claim(number) for n in range(len(sinks))])
    assert len(won) == 1


def test_first_publishes_at_once_with_the_application_signing_up_lose_nothing(
    users: Users, make: Make
) -> None:
    """A zombie, its successor and the application make the same documents at one moment."""
    keys = [f"0x{n:040x}" for n in range(200)]
    old, new = make(), make()

    def sign_up() -> None:
        for key in reversed(keys):
            users.update_one({"address": key}, {"$set": {"email": f"{key}@x"}}, upsert=True)

    run(
        [
            lambda: old.write([user(key, 1) for key in keys]) and None,
            lambda: new.write([user(key, 2) for key in keys]) and None,
            sign_up,
        ]
    )
    assert users.count_documents({}) == 200
    assert users.count_documents({"chainfold.revision": 2, "level1Count": 2}) == 200
    assert all(held["email"] == f"{held['address']}@x" for held in users.find())


def test_two_writers_at_once_leave_the_newest_of_every_key(users: Users, make: Make) -> None:
    keys = [f"0x{n:040x}" for n in range(30)]

    def writing(revisions: range) -> Callable[[], None]:
        sink = make()
        return lambda: [sink.write([user(key, r) for key in keys]) for r in revisions] and None

    run([writing(range(1, 21, 2)), writing(range(2, 21, 2)), writing(range(20, 0, -3))])
    assert users.count_documents({}) == 30
    assert users.count_documents({"chainfold.revision": 20, "level1Count": 20}) == 30


def test_a_server_that_is_down_is_one_sentence_without_secrets() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and never listening
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        sink = MongoSink(f"mongodb://bob:hunter2@{address}/", database="d", collection="c", fields=FIELDS)
        with pytest.raises(SinkUnavailable) as raised:
            sink.open()
        sink.close()
    assert f"MongoDB at mongodb://{address} failed" in str(raised.value)
    assert not {"hunter2", "bob", "TopologyDescription"} & set(str(raised.value).replace("@", " ").split())
    assert raised.value.retry


@pytest.mark.parametrize(
    "url", ["mongodb://bob:hun@ter2@h/", "mongo://bob:hunter2@h/", "mongodb://bob:hunter2@h:port/"]
)
def test_an_address_that_cannot_be_read_does_not_show_its_password(url: str) -> None:
    sink = MongoSink(url, database="d", collection="c", fields=FIELDS)
    with pytest.raises(ConfigurationError) as raised:
        sink.open()
    assert raised.value.__cause__ is None
    assert "ter2" not in str(raised.value)


def run(tasks: list[Callable[[], None]]) -> None:
    """Runs them at once, and raises what any of them raised."""
    failures: list[BaseException] = []

    def guarded(task: Callable[[], None]) -> None:
        try:
            task()
        except Exception as error:  # noqa: BLE001  raised again below
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for failure in failures:
        raise failure


@pytest.mark.parametrize(
    "mark", ["first", None, float("nan"), float("inf"), [1], {"a": 1}, Decimal128("NaN")]
)
def test_a_mark_that_somebody_else_wrote_is_of_no_revision_and_is_written_over(
    make: Make, users: Users, mark: object
) -> None:
    """One odd document keeps no reader from the others."""
    sink = make()
    sink.write([user(ALICE, 1), user(BOB, 1)])
    users.update_one({"address": ALICE}, {"$set": {"chainfold.revision": mark}})
    assert {key: change.revision for key, change in sink.read([ALICE, BOB]).items()} == {ALICE: 0, BOB: 1}
    assert {change.key: change.revision for change in sink.scan()} == {ALICE: 0, BOB: 1}
    if mark != float("inf"):  # which the guard believes
        assert sink.write([user(ALICE, 2)]) == 1
