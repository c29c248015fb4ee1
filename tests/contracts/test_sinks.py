"""What every sink promises, whichever it is: it converges, keeps its marker, and loses nothing."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from importlib import import_module
from itertools import pairwise
from typing import Any, Protocol
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo import MongoClient

from projections.errors import DocumentsRefused, MarkerLost
from projections.sinks import Change, Marker, Sink, Value
from projections.sinks.memory import MemorySink
from projections.sinks.mongo.sink import MongoSink
from projections.sinks.redis.sink import RedisSink
from tests.servers.mongo import Mongo

FIELDS = ("address", "directReferrer", "level1Count", "active", "updatedAt")
SERVERS = ("mongo", "redis", "redis cluster")
MARKER = Marker(store="s1", chain_id=1, projection="referrals", revision=0, nonce="n1")


class SinkAtHand(Sink, Protocol):
    """The port, and what beside it every sink has."""

    def close(self) -> None: ...
    def as_held(self, change: Change) -> Change: ...


@pytest.fixture(params=["memory", *(pytest.param(name, marks=pytest.mark.server) for name in SERVERS)])
def make(request: pytest.FixtureRequest) -> Callable[[], SinkAtHand]:
    """Makes sinks that publish to one and the same place."""
    if request.param == "mongo":
        place: Mongo = request.getfixturevalue("mongo")
        return lambda: MongoSink(
            place.url,
            database=place.database,
            collection="users",
            fields=FIELDS,
            dates=frozenset({"updatedAt"}),
            indexes=("directReferrer",),
        )
    if request.param.startswith("redis"):
        clustered = request.param == "redis cluster"
        url = (
            request.getfixturevalue("redis_cluster").url
            if clustered
            else request.getfixturevalue("redis_url")
        )
        return lambda: RedisSink(url, fields=FIELDS, ttl=600, projection="referrals")
    one = MemorySink()
    return lambda: one


Refusing = Callable[[Sequence[str]], None]


@pytest.fixture
def refusing(make: Callable[[], SinkAtHand], request: pytest.FixtureRequest) -> Iterator[Refusing]:
    """Has the place where `make` publishes refuse documents of these keys from now on, and no others."""
    with ExitStack() as opened:
        one = make()
        if isinstance(one, MemorySink):
            yield lambda keys: setattr(
                one, "refuses", lambda change: "it is not wanted" if change.key in keys else None
            )
        elif isinstance(one, MongoSink):
            place: Mongo = request.getfixturevalue("mongo")
            client: MongoClient[dict[str, Any]] = opened.enter_context(MongoClient(place.url))
            yield lambda keys: client[place.database].command(
                {"collMod": "users", "validator": {"address": {"$nin": list(keys)}}}
            )
        else:
            assert isinstance(one, RedisSink)
            server = one._connected()
            opened.callback(one.close)
            set_before: list[str] = []

            def refuse(keys: Sequence[str]) -> None:
                for key in set_before:
                    server.delete(f"user:{key}")
                set_before[:] = keys
                for key in keys:
                    server.delete(f"user:{key}")
                    server.set(f"user:{key}", "somebody's own")

            yield refuse


@pytest.fixture
def sink(make: Callable[[], SinkAtHand]) -> Iterator[SinkAtHand]:
    """An empty sink, open."""
    with closing(make()) as made:
        made.open()
        yield made


def user(key: str, revision: int, **fields: Value) -> Change:
    given: dict[str, Value] = {
        "address": key,
        "directReferrer": None,
        "level1Count": revision,
        "active": True,
        "updatedAt": 1_700_000_000 + revision,
    }
    return Change(key, revision, block=revision * 10, fields=given | fields)


def gone(key: str, revision: int) -> Change:
    return Change(key, revision, block=revision * 10, fields=None)


def held(sink: SinkAtHand, changes: Sequence[Change]) -> dict[str, Change]:
    return {change.key: sink.as_held(change) for change in changes}


def scanned(sink: SinkAtHand) -> dict[str, Change]:
    return {change.key: change for change in sink.scan()}


def test_what_was_written_is_read(sink: SinkAtHand) -> None:
    sink.write([user("a", 1), user("b", 2)])
    assert sink.read(["a", "b"]) == held(sink, [user("a", 1), user("b", 2)])


def test_what_was_never_written_is_absent(sink: SinkAtHand) -> None:
    sink.write([user("a", 1)])
    assert sink.read(["b"]) == {}


def test_nothing_to_write_is_nothing_written(sink: SinkAtHand) -> None:
    assert sink.write([]) == 0


def test_nothing_to_read_is_nothing_read(sink: SinkAtHand) -> None:
    assert sink.read([]) == {}


def test_a_newer_revision_replaces_the_older(sink: SinkAtHand) -> None:
    sink.write([user("a", 1)])
    assert sink.write([user("a", 2)]) == 1
    assert sink.read(["a"]) == held(sink, [user("a", 2)])


def test_an_older_revision_changes_nothing(sink: SinkAtHand) -> None:
    sink.write([user("a", 5)])
    assert sink.write([user("a", 4)]) == 0
    assert sink.read(["a"]) == held(sink, [user("a", 5)])


def test_the_same_revision_again_changes_nothing(sink: SinkAtHand) -> None:
    sink.write([user("a", 5)])
    assert sink.write([user("a", 5, level1Count=99)]) == 0
    assert sink.read(["a"]) == held(sink, [user("a", 5)])


def test_write_counts_those_that_applied(sink: SinkAtHand) -> None:
    sink.write([user("a", 5), user("b", 1)])
    assert sink.write([user("a", 4), user("b", 2), user("c", 3), gone("d", 4)]) == 3


def test_a_removal_leaves_its_revision(sink: SinkAtHand) -> None:
    sink.write([user("a", 1)])
    sink.write([gone("a", 2)])
    assert sink.read(["a"]) == {"a": gone("a", 2)}


def test_an_older_write_does_not_bring_a_removed_document_back(sink: SinkAtHand) -> None:
    sink.write([user("a", 1), gone("a", 3)])
    assert sink.write([user("a", 2)]) == 0
    assert sink.read(["a"]) == {"a": gone("a", 3)}


def test_the_removal_of_what_never_was_leaves_its_revision_too(sink: SinkAtHand) -> None:
    sink.write([gone("a", 3)])
    assert sink.write([user("a", 2)]) == 0
    assert sink.read(["a"]) == {"a": gone("a", 3)}


def test_an_older_removal_removes_nothing(sink: SinkAtHand) -> None:
    sink.write([user("a", 3)])
    assert sink.write([gone("a", 2)]) == 0
    assert sink.read(["a"]) == held(sink, [user("a", 3)])


def test_a_newer_write_brings_a_removed_document_back(sink: SinkAtHand) -> None:
    sink.write([gone("a", 3)])
    sink.write([user("a", 4)])
    assert sink.read(["a"]) == held(sink, [user("a", 4)])


@pytest.mark.parametrize("seed", range(4))
def test_the_newest_wins_in_whatever_order_and_repetition(sink: SinkAtHand, seed: int) -> None:
    chance = random.Random(seed)
    keys = [f"0x{n:040x}" for n in range(12)]
    newest: dict[str, Change] = {}
    history: list[Change] = []
    for revision in range(1, 60):
        key = chance.choice(keys)
        newest[key] = gone(key, revision) if chance.random() < 0.3 else user(key, revision)
        history.append(newest[key])
    sent = chance.sample(history, len(history)) + chance.choices(history, k=40)
    cuts = sorted({0, len(sent), *chance.sample(range(len(sent)), 8)})
    for start, end in pairwise(cuts):
        sink.write(sent[start:end])
    assert scanned(sink) == held(sink, list(newest.values()))


def test_a_null_is_read_as_what_the_sink_holds_for_null(sink: SinkAtHand) -> None:
    sink.write([user("a", 1, directReferrer="b")])
    sink.write([user("a", 2, directReferrer=None)])
    assert sink.read(["a"]) == held(sink, [user("a", 2, directReferrer=None)])


def test_a_field_that_a_document_no_longer_has_is_gone(sink: SinkAtHand) -> None:
    sink.write([user("a", 1)])
    fewer = Change("a", 2, 20, {"address": "a", "level1Count": 7})
    sink.write([fewer])
    assert sink.read(["a"]) == held(sink, [fewer])


def test_text_of_every_script_survives(sink: SinkAtHand) -> None:
    texts = ["日本語", "𝔘𝔫𝔦", "a\x00b", "عربى", "", "{address}*?[x]", "é"]
    changes = [user(f"k{n}", 1, directReferrer=text) for n, text in enumerate(texts)]
    sink.write(changes)
    assert scanned(sink) == held(sink, changes)


def test_keys_of_every_script_survive(sink: SinkAtHand) -> None:
    changes = [user(key, 1) for key in ("日本", "a b", "x:y", "*", "{a}", "0xAB")]
    sink.write(changes)
    assert scanned(sink) == held(sink, changes)


@pytest.mark.parametrize("number", [0, -1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63)])
def test_integers_within_63_bits_are_exact(sink: SinkAtHand, number: int) -> None:
    sink.write([user("a", 1, level1Count=number)])
    assert sink.read(["a"]) == held(sink, [user("a", 1, level1Count=number)])


NEVER = (2**48 - 1, 2**62, 2**63 - 1, -(2**63), -1, -62_135_596_800, -62_135_596_801, 253_402_300_800, 2**53)
TIMES = st.one_of(st.none(), st.sampled_from(NEVER), st.integers(-(2**63), 2**63 - 1))


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(st.lists(TIMES, min_size=1, max_size=8))
def test_every_time_that_a_document_can_have_is_written_and_read_back_as_it_is(
    sink: SinkAtHand, times: list[int | None]
) -> None:
    """A field in `dates` has 63 bits, which no calendar has: no time keeps its document or another out."""
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


@pytest.mark.parametrize("again", ["first", "later"])
@pytest.mark.parametrize(
    "bad",
    [{0}, {299}, {5, 77, 78, 150}, set(range(0, 300, 2)), set(range(300))],
    ids=lambda bad: str(len(bad)),
)
def test_a_document_that_is_refused_keeps_no_other_out(
    sink: SinkAtHand, refusing: Refusing, bad: set[int], again: str
) -> None:
    """Wherever in the batch it stands, alone or among many, in a first write and in a later one."""
    if again == "later":
        sink.write([user("before", 1)])
        sink.write([user("before", 2), *(user(f"k{n}", 2) for n in range(1, 300, 3))])
    changes = [user(f"k{n}", 5) if n % 7 else gone(f"k{n}", 5) for n in range(300)]
    refused = [changes[n].key for n in sorted(bad)]
    refusing(refused)
    with pytest.raises(DocumentsRefused) as raised:
        sink.write(changes)
    assert sorted(raised.value.reasons) == sorted(refused)
    assert all(raised.value.reasons.values())
    assert raised.value.written == 300 - len(bad)
    taken = [change for change in changes if change.key not in refused]
    found = sink.read([change.key for change in changes])
    assert {key: item for key, item in found.items() if key not in refused} == held(sink, taken)
    assert all(item.revision < 5 for key, item in found.items() if key in refused)


def test_a_document_that_was_refused_is_taken_when_the_obstacle_is_gone(
    sink: SinkAtHand, refusing: Refusing
) -> None:
    changes = [user("a", 1), user("b", 1), gone("c", 1)]
    refusing(["b", "c"])
    with pytest.raises(DocumentsRefused):
        sink.write(changes)
    refusing([])
    assert sink.write(changes) == 2
    assert scanned(sink) == held(sink, changes)


def test_revisions_beyond_32_bits_are_compared_as_numbers(sink: SinkAtHand) -> None:
    sink.write([user("a", 10_000_000_000, level1Count=1, updatedAt=1)])
    assert sink.write([user("a", 9_999_999_999, level1Count=2, updatedAt=2)]) == 0


def test_scan_shows_documents_and_removals(sink: SinkAtHand) -> None:
    sink.write([user("a", 1), gone("b", 2)])
    assert scanned(sink) == held(sink, [user("a", 1), gone("b", 2)])


def test_many_documents_are_written_read_and_scanned_alike(sink: SinkAtHand) -> None:
    changes = [user(f"0x{n:040x}", n + 1) for n in range(1_200)]
    assert sink.write(changes) == 1_200
    assert sink.read([change.key for change in changes]) == scanned(sink) == held(sink, changes)


def test_what_another_process_wrote_is_not_written_again(
    sink: SinkAtHand, make: Callable[[], SinkAtHand]
) -> None:
    changes = [user("a", 1), gone("b", 2)]
    sink.write(changes)
    with closing(make()) as again:
        again.open()
        assert again.write(changes) == 0
    assert scanned(sink) == held(sink, changes)


def test_a_first_write_of_which_another_process_did_half_is_finished(
    sink: SinkAtHand, make: Callable[[], SinkAtHand]
) -> None:
    changes = [user(f"k{n}", 7) if n % 3 else gone(f"k{n}", 7) for n in range(100)]
    sink.write(changes[::2])
    with closing(make()) as again:
        again.open()
        assert again.write(changes) == 50
    assert scanned(sink) == held(sink, changes)


def test_a_first_write_is_guarded_key_by_key(sink: SinkAtHand, make: Callable[[], SinkAtHand]) -> None:
    """Whether another process left a document or a removal, older or newer than what is sent."""
    sink.write([user("a", 1), user("b", 9), gone("c", 1), gone("d", 9), user("e", 1), user("f", 9)])
    with closing(make()) as again:
        again.open()
        sent = [*(user(key, 5) for key in "abcdg"), *(gone(key, 5) for key in "efh")]
        assert again.write(sent) == 5
    kept = [user("a", 5), user("b", 9), user("c", 5), gone("d", 9), gone("e", 5), user("f", 9)]
    assert scanned(sink) == held(sink, [*kept, user("g", 5), gone("h", 5)])


def test_many_new_documents_after_many_old_ones_and_the_reverse(sink: SinkAtHand) -> None:
    waves = [(range(100), 1), (range(100), 2), (range(50, 200), 3), (range(200, 300), 4), (range(300), 5)]
    for keys, revision in waves:
        assert sink.write([user(f"k{n}", revision) for n in keys]) == len(keys)
    assert scanned(sink) == held(sink, [user(f"k{n}", 5) for n in range(300)])


def test_opening_again_keeps_everything(sink: SinkAtHand, make: Callable[[], SinkAtHand]) -> None:
    sink.write([user("a", 1), gone("b", 2)])
    sink.mark(MARKER, old=None)
    with closing(make()) as again:
        again.open()
        again.open()
        assert scanned(again) == held(again, [user("a", 1), gone("b", 2)])
        assert again.marker() == MARKER


def test_an_empty_sink_has_no_marker(sink: SinkAtHand) -> None:
    assert sink.marker() is None


def test_a_claim_is_read_back(sink: SinkAtHand) -> None:
    sink.mark(MARKER, old=None)
    assert sink.marker() == MARKER


def test_a_marker_advances_from_what_it_was(sink: SinkAtHand) -> None:
    ahead = Marker(store="s1", chain_id=1, projection="referrals", revision=9, nonce="n1", key="0xé")
    sink.mark(MARKER, old=None)
    sink.mark(ahead, old=MARKER)
    assert sink.marker() == ahead


def test_a_sink_is_claimed_once(sink: SinkAtHand) -> None:
    sink.mark(MARKER, old=None)
    with pytest.raises(MarkerLost):
        sink.mark(Marker("s2", 1, "referrals", 0, "n2"), old=None)
    assert sink.marker() == MARKER


@pytest.mark.parametrize(
    "other",
    [
        Marker("s2", 1, "referrals", 0, "n1"),
        Marker("s1", 2, "referrals", 0, "n1"),
        Marker("s1", 1, "orders", 0, "n1"),
        Marker("s1", 1, "referrals", 1, "n1"),
        Marker("s1", 1, "referrals", 0, "n2"),
        Marker("s1", 1, "referrals", 0, "n1", "k"),
        Marker("s1", 1, "referrals", 0, "n1", sends=1),
    ],
    ids=["store", "chain", "projection", "revision", "nonce", "key", "sends"],
)
def test_a_marker_that_differs_anywhere_is_not_advanced(sink: SinkAtHand, other: Marker) -> None:
    sink.mark(other, old=None)
    with pytest.raises(MarkerLost):
        sink.mark(Marker("s1", 1, "referrals", 2, "n1"), old=MARKER)
    assert sink.marker() == other


def test_a_marker_of_a_wiped_sink_is_not_advanced(sink: SinkAtHand) -> None:
    with pytest.raises(MarkerLost):
        sink.mark(Marker("s1", 1, "referrals", 2, "n1"), old=MARKER)
    assert sink.marker() is None


def test_the_marker_is_no_document(sink: SinkAtHand) -> None:
    sink.mark(MARKER, old=None)
    assert scanned(sink) == {}


def test_what_was_given_may_be_changed_afterwards(sink: SinkAtHand) -> None:
    change = user("a", 1, directReferrer=uuid4().hex)
    expected = held(sink, [user("a", 1, directReferrer=(change.fields or {})["directReferrer"])])
    sink.write([change])
    (change.fields or {})["directReferrer"] = "other"
    assert sink.read(["a"]) == expected


def test_a_list_that_was_given_may_be_changed_afterwards(sink: SinkAtHand) -> None:
    names: list[Value] = ["b"]
    sink.write([user("a", 1, directReferrer=names)])
    names.append("c")
    assert sink.read(["a"]) == held(sink, [user("a", 1, directReferrer=["b"])])


@pytest.mark.parametrize("kind", ["mongo", "redis"])
def test_readers_of_many_threads_who_are_the_first_share_one_client(
    kind: str, mongo: Mongo, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The HTTP API reads sinks that were not opened; a second client would never be closed."""
    module = import_module(f"projections.sinks.{kind}.sink")
    sink: SinkAtHand = (
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
