"""Integers of 256 bits are in Python's order, and sum as Python sums, wherever a reader meets them."""

from __future__ import annotations

from uuid import uuid4

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from projections.errors import ProjectorError, ValueRefused
from projections.fold.document_type import Shape
from projections.projectors import Counts, Documents, Integer256, Projector, handles
from projections.sinks import Change
from projections.sinks.capabilities import PageRequest
from projections.sinks.mongo.sink import MongoSink
from projections.values.integers import HIGHEST, LOWEST, from_decimal, from_sortable, sortable
from tests.servers.mongo import Mongo

EDGES = sorted(
    {
        sign * 2**power + step
        for power in (0, 1, 31, 32, 53, 62, 63, 64, 127, 128, 255, 256)
        for sign in (1, -1)
        for step in (-1, 0, 1)
        if LOWEST <= sign * 2**power + step <= HIGHEST
    }
    | {sign * 10**power for power in range(0, 77, 9) for sign in (1, -1)}
    | {10**77, LOWEST, HIGHEST}
)
wide = st.sampled_from(EDGES) | st.integers(LOWEST, HIGHEST) | st.integers(-20, 20)


@given(wide, wide)
@example(HIGHEST, LOWEST)
@example(9, 14)
def test_both_texts_are_read_back_and_one_is_in_order(one: int, other: int) -> None:
    assert (sortable(one) < sortable(other)) == (one < other)
    assert (sortable(one).encode() < sortable(other).encode()) == (one < other)
    assert from_sortable(sortable(one)) == one == from_decimal(str(one))
    assert len(sortable(one)) == 79
    if one >= 0:
        assert int(sortable(one)) == one  # any reader's parser takes it


@pytest.mark.parametrize(
    "text",
    ["", "-", "-0", "00", "+1", "1_0", " 1", "1 ", "1\n", "٣", "0x1", "1.0", "1e3", str(2**256), "9" * 5000],
)
def test_what_is_no_integer_of_that_width_is_none(text: str) -> None:
    assert from_decimal(text) is None
    assert from_sortable(text) is None
    assert from_sortable(sortable(1)[:-1]) is None


class Pool(Struct, frozen=True):
    name: str
    volume: Integer256 = 0
    low: Integer256 | None = None
    swaps: int = 0
    note: str = ""


class Pools(Projector):
    document = Pool
    key = "name"
    index = ("volume",)
    mongo_indexes = ("volume", "low", "swaps")

    @handles("Swap(string name, int256 amount)")
    def swapped(self, event: object, pools: Documents[Pool]) -> None: ...


shape = Shape(Pools)


@given(wide, st.none() | wide)
def test_a_document_is_what_its_body_says_and_the_body_has_text(volume: int, low: int | None) -> None:
    pool = Pool("a", volume, low, 3, "9")
    body = shape.encode(pool)
    assert msgspec.json.decode(body) == {
        "name": "a",
        "volume": str(volume),
        "low": None if low is None else str(low),
        "swaps": 3,
        "note": "9",
    }
    assert shape.decode(body) == pool
    shape.look("a", pool)
    after = {"a": pool}
    assert shape.settle({"a": None}, after, {}, 0, shape.look) == [("a", None, pool)]
    assert shape.indexed(pool) == [("volume", str(volume))]


@pytest.mark.parametrize("value", [HIGHEST + 1, LOWEST - 1, "7", 7.0, True, None, 2**400])
def test_what_does_not_fit_is_refused_when_it_is_put(value: object) -> None:
    pool = Pool("a", value)  # type: ignore[arg-type]
    with pytest.raises(ValueRefused, match=r"volume = .* does not fit its field"):
        shape.look("a", pool)
    with pytest.raises(ValueRefused):
        shape.settle({"a": None}, {"a": pool}, {}, 0, shape.look)


def test_a_plain_integer_that_is_too_wide_is_told_of_the_type_for_it() -> None:
    with pytest.raises(ValueRefused) as caught:
        shape.look("a", Pool("a", swaps=2**63))
    assert "Integer256" in caught.value.hint


def test_within_another_type_it_is_refused_when_the_projector_is_looked_at() -> None:
    class Many(Struct, frozen=True):
        name: str
        volumes: list[Integer256] = []

    class Manies(Pools):
        document = Many
        index = ()
        mongo_indexes = ()

    with pytest.raises(ProjectorError, match="volumes holds Integer256 within another type"):
        Manies.check()

    class Counting(Pools):
        invariants = (Counts("volume", of="note"),)

    with pytest.raises(ProjectorError, match="volume counts documents, so it must be int"):
        Counting.check()


def filled(mongo: Mongo, pools: list[Pool]) -> MongoSink:
    sink = MongoSink(
        mongo.url,
        database=mongo.database,
        collection=f"pools_{uuid4().hex}",
        key="name",
        fields=Pool.__struct_fields__,
        wide=frozenset({"volume", "low"}),
        indexes=Pools.mongo_indexes,
    )
    sink.open()
    changes = [
        Change(pool.name, number + 1, 1, msgspec.json.decode(shape.encode(pool)))
        for number, pool in enumerate(pools)
    ]
    sink.write(changes)
    held = sink.read([change.key for change in changes])
    assert held == {change.key: sink.as_held(change) for change in changes}
    assert {key: change.fields for key, change in held.items()} == {c.key: c.fields for c in changes}
    return sink


def listed(sink: MongoSink, sort: str, *, descending: bool) -> list[str]:
    """All keys, three to a page."""
    found: list[str] = []
    after = None
    while True:
        page = sink.page(PageRequest(where={}, sort=sort, descending=descending, after=after, limit=3))
        found += [change.key for change in page]
        if len(page) < 3:
            return found
        fields = page[-1].fields or {}
        after = (fields[sort], page[-1].key)


narrow = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([2**63 - 1, -(2**63), 2**62])
pools = st.lists(st.tuples(wide, st.none() | wide, narrow), min_size=1, max_size=12).map(
    lambda rows: [Pool(f"pool {number:03}", *row) for number, row in enumerate(rows)]
)


@settings(max_examples=8, deadline=None)
@given(pools)
@example([Pool(f"pool {number:03}", value, value, 2**63 - 1) for number, value in enumerate(EDGES)])
def test_mongodb_orders_filters_and_sums_them_as_python_does(mongo_server: str, made: list[Pool]) -> None:
    sink = filled(Mongo(url=mongo_server, database="integers"), made)
    try:
        for field in ("volume", "low", "swaps"):

            def at(pool: Pool, field: str = field) -> tuple[bool, int]:
                value = getattr(pool, field)
                return value is not None, value or 0

            rising = sorted(made, key=lambda pool: (at(pool), pool.name))
            falling = sorted(sorted(made, key=lambda pool: pool.name), key=at, reverse=True)
            assert listed(sink, field, descending=False) == [pool.name for pool in rising]
            assert listed(sink, field, descending=True) == [pool.name for pool in falling]
        for pool in made[:3]:
            same = sink.page(PageRequest(where={"volume": str(pool.volume)}, limit=100))
            assert [change.key for change in same] == [x.name for x in made if x.volume == pool.volume]
        assert sink.totals(["volume", "low", "swaps"]) == {
            "count": len(made),
            "volume": sum(pool.volume for pool in made),
            "low": sum(pool.low or 0 for pool in made),
            "swaps": sum(pool.swaps for pool in made),
        }
    finally:
        sink.close()
