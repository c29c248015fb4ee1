"""Redis: what is in the hashes, how long they live, and what of other people's stays."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
import redis

from projections.errors import ConfigurationError, DocumentsRefused, SinkUnavailable
from projections.sinks import Change, Marker, Value
from projections.sinks.redis.sink import RedisSink

FIELDS = ("address", "level1Count", "level2Count", "directReferrer", "indirectReferrer")
ALICE, BOB = (f"0x{n:040x}" for n in (0xA, 0xB))

Make = Callable[..., RedisSink]


@pytest.fixture
def server(redis_url: str) -> Iterator[redis.Redis]:
    """The server as the application sees it."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def make(redis_url: str) -> Iterator[Make]:
    """Makes open sinks over that server, and closes them."""
    with ExitStack() as stack:

        def made(**settings: Any) -> RedisSink:
            given: dict[str, Any] = {"fields": FIELDS, "ttl": 600, "projection": "referrals"}
            sink = RedisSink(redis_url, **given | settings)
            stack.callback(sink.close)
            sink.open()
            return sink

        yield made


def user(key: str, revision: int, **fields: Value) -> Change:
    given: dict[str, Value] = {
        "address": key,
        "directReferrer": None,
        "indirectReferrer": None,
        "level1Count": revision,
        "level2Count": 0,
        "referralTimestamp": 1_700_000_000,
        "updatedAt": 1_700_000_000,
    }
    return Change(key, revision, block=revision * 10, fields=given | fields)


def gone(key: str, revision: int) -> Change:
    return Change(key, revision, block=revision * 10, fields=None)


def test_a_hash_holds_the_five_fields_the_revision_and_the_block(server: redis.Redis, make: Make) -> None:
    make().write([user(ALICE, 3, directReferrer=BOB)])
    assert server.hgetall(f"user:{ALICE}") == {
        "address": ALICE,
        "level1Count": "3",
        "level2Count": "0",
        "directReferrer": BOB,
        "indirectReferrer": "",
        "revision": "3",
        "block": "30",
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (True, "1"), (False, "0"), (-7, "-7"), (b"\x01\xff", "0x01ff"), ([1, "a"], '[1,"a"]')],
)
def test_values_are_text(server: redis.Redis, make: Make, value: Value, text: str) -> None:
    make().write([user(ALICE, 1, level1Count=value)])
    assert server.hget(f"user:{ALICE}", "level1Count") == text


def test_a_hash_lives_for_its_ttl(server: redis.Redis, make: Make) -> None:
    make(ttl=600).write([user(ALICE, 1)])
    assert 590 < server.ttl(f"user:{ALICE}") <= 600


def test_every_write_starts_the_ttl_anew(server: redis.Redis, make: Make) -> None:
    sink = make(ttl=600)
    sink.write([user(ALICE, 1)])
    server.expire(f"user:{ALICE}", 5)
    sink.write([user(ALICE, 2)])
    assert 590 < server.ttl(f"user:{ALICE}") <= 600


def test_an_older_write_does_not_touch_the_ttl(server: redis.Redis, make: Make) -> None:
    sink = make(ttl=600)
    sink.write([user(ALICE, 2)])
    server.expire(f"user:{ALICE}", 50)
    sink.write([user(ALICE, 1)])
    assert server.ttl(f"user:{ALICE}") <= 50


def test_without_a_ttl_a_hash_lives_for_ever(server: redis.Redis, make: Make) -> None:
    make(ttl=None).write([user(ALICE, 1)])
    assert server.ttl(f"user:{ALICE}") == -1


def test_an_expired_hash_is_absent_and_can_be_written_again(server: redis.Redis, make: Make) -> None:
    sink = make()
    sink.write([user(ALICE, 5)])
    server.delete(f"user:{ALICE}")
    assert sink.read([ALICE]) == {}
    assert list(sink.scan()) == []
    assert sink.write([user(ALICE, 5)]) == 1


def test_a_removal_leaves_only_the_mark_for_the_grace(server: redis.Redis, make: Make) -> None:
    sink = make(grace=60)
    sink.write([user(ALICE, 1)])
    sink.write([gone(ALICE, 2)])
    assert server.hgetall(f"user:{ALICE}") == {"revision": "2", "block": "20", "removed": "1"}
    assert 50 < server.ttl(f"user:{ALICE}") <= 60


def test_a_return_after_a_removal_lives_for_ever_where_no_ttl_is_set(server: redis.Redis, make: Make) -> None:
    sink = make(ttl=None)
    sink.write([gone(ALICE, 2)])
    sink.write([user(ALICE, 3)])
    assert server.ttl(f"user:{ALICE}") == -1
    assert server.hget(f"user:{ALICE}", "removed") is None


def test_foreign_fields_stay_through_writes_and_removals(server: redis.Redis, make: Make) -> None:
    server.hset(f"user:{ALICE}", mapping={"email": "alice@x", "level1Count": "77"})
    sink = make()
    sink.write([user(ALICE, 1)])
    sink.write([gone(ALICE, 2)])
    assert server.hgetall(f"user:{ALICE}") == {
        "email": "alice@x",
        "revision": "2",
        "block": "20",
        "removed": "1",
    }


def test_a_hash_with_foreign_fields_gets_no_expiry_of_ours(server: redis.Redis, make: Make) -> None:
    server.hset(f"user:{ALICE}", "email", "alice@x")
    sink = make(ttl=600)
    sink.write([user(ALICE, 1)])
    assert server.ttl(f"user:{ALICE}") == -1
    sink.write([gone(ALICE, 2)])
    assert server.ttl(f"user:{ALICE}") == -1


def test_a_hash_that_the_application_adds_a_field_to_no_longer_dies_by_our_life(
    server: redis.Redis, make: Make
) -> None:
    sink = make(ttl=600)
    sink.write([user(ALICE, 1), user(BOB, 1)])
    server.hset(f"user:{ALICE}", "email", "alice@x")
    server.hset(f"user:{BOB}", "email", "bob@x")
    server.expire(f"user:{BOB}", 86_400)  # theirs: longer than any life that we give
    sink.write([user(ALICE, 2), user(BOB, 2)])
    assert server.ttl(f"user:{ALICE}") == -1
    assert server.ttl(f"user:{BOB}") > 86_000


def test_a_foreign_field_added_to_a_removed_hash_survives_its_return(server: redis.Redis, make: Make) -> None:
    sink = make(ttl=None)
    sink.write([gone(ALICE, 1)])
    server.hset(f"user:{ALICE}", "email", "alice@x")
    sink.write([user(ALICE, 2)])
    assert server.ttl(f"user:{ALICE}") == -1


def test_scan_shows_only_hashes_of_the_pattern_with_a_revision(server: redis.Redis, make: Make) -> None:
    server.hset("user:theirs", "email", "x")
    server.hset("user:odd", "revision", "v2")
    server.set("user:text", "x")
    server.hset(f"users:{ALICE}", "revision", "1")
    server.execute_command("HSET", b"user:\xff\xfe", "email", "x")  # no UTF-8
    sink = make()
    sink.write([user(ALICE, 1)])
    sink.mark(Marker("s", 1, "referrals", 0, "n"), old=None)
    assert [change.key for change in sink.scan()] == [ALICE]


def test_glob_characters_of_the_pattern_are_literal(server: redis.Redis, make: Make) -> None:
    sink = make(key="[app]*:{address}:u?")
    sink.write([user(ALICE, 1)])
    server.hset("a*:b:uu", "revision", "1")
    server.hset("[app]xx:b:u?", "revision", "1")
    assert [change.key for change in sink.scan()] == [ALICE]


def test_a_key_that_is_no_hash_is_a_conflict(server: redis.Redis, make: Make) -> None:
    server.set(f"user:{ALICE}", "theirs")
    with pytest.raises(DocumentsRefused, match=ALICE) as raised:
        make().write([user(BOB, 1), user(ALICE, 1)])
    assert raised.value.reasons == {
        ALICE: "WRONGTYPE Operation against a key holding the wrong kind of value"
    }
    assert raised.value.written == 1
    assert server.get(f"user:{ALICE}") == "theirs"
    assert server.hget(f"user:{BOB}", "revision") == "1"


def test_a_foreign_revision_is_a_conflict(server: redis.Redis, make: Make) -> None:
    server.hset(f"user:{ALICE}", "revision", "v2")
    with pytest.raises(DocumentsRefused, match=f"{ALICE}.*its revision is not a number"):
        make().write([user(ALICE, 1)])


def test_a_key_that_is_no_hash_is_no_document(server: redis.Redis, make: Make) -> None:
    sink = make()
    sink.write([user(BOB, 1)])
    server.set(f"user:{ALICE}", "theirs")
    assert list(sink.read([ALICE, BOB])) == [BOB]


@pytest.fixture
def small(server: redis.Redis) -> Iterator[None]:
    """The server takes values of a megabyte, for the length of a test."""
    before = server.config_get("proto-max-bulk-len")["proto-max-bulk-len"]
    server.config_set("proto-max-bulk-len", 2**20)
    yield
    server.config_set("proto-max-bulk-len", before)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("place", [0, 70, 149])
def test_a_value_that_is_too_large_for_the_server_keeps_no_other_out(make: Make, place: int) -> None:
    """The server hangs up on it in the middle of all others, and does not say why."""
    sink = make()
    sent = [user(f"k{n}", 1) for n in range(150)]
    sent[place] = user(f"k{place}", 1, directReferrer="x" * (2**20 + 1))
    with pytest.raises(DocumentsRefused) as raised:
        sink.write(sent)
    assert list(raised.value.reasons) == [f"k{place}"]
    assert sorted(sink.read([change.key for change in sent])) == sorted(
        change.key for change in sent if change.key != f"k{place}"
    )


def test_scripts_that_the_server_forgot_are_loaded_again(server: redis.Redis, make: Make) -> None:
    sink = make()
    sink.write([user(ALICE, 1)])
    server.script_flush()
    assert sink.write([user(ALICE, 2), user(BOB, 2)]) == 2


def test_two_patterns_have_a_marker_each(make: Make) -> None:
    one, two = make(), make(key="other:{address}")
    one.mark(Marker("s", 1, "a", 0, "n"), old=None)
    assert two.marker() is None


@pytest.mark.parametrize("settings", [{"key": "user"}, {"key": "{address}{x}"}, {"ttl": 0}])
def test_settings_that_cannot_be_are_refused(make: Make, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        make(**settings)


def test_a_field_named_as_our_mark_is_refused(make: Make) -> None:
    with pytest.raises(ConfigurationError, match="block"):
        make(fields=("address", "block"))


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
def test_a_server_that_is_down_is_one_sentence_without_secrets(scheme: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and never listening
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        sink = RedisSink(
            f"{scheme}://bob:hunter2@{address}/0", fields=FIELDS, ttl=None, projection="referrals"
        )
        with closing(sink), pytest.raises(SinkUnavailable) as raised:
            sink.open()
    assert f"Redis at {scheme}://{address}/... failed" in str(raised.value)
    assert "hunter2" not in str(raised.value)
    assert raised.value.retry


def test_an_address_that_cannot_be_read_does_not_show_its_password() -> None:
    sink = RedisSink("rediss:/bob:hunter2@h:x", fields=FIELDS, ttl=None, projection="referrals")
    with pytest.raises(ConfigurationError) as raised:
        sink.open()
    assert "hunter2" not in str(raised.value)
