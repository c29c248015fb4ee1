"""A cursor is what an answer gave: anything else in its place is a 400, everywhere."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore.net.nesting import DEEPEST
from tests.http.conftest import grow
from tests.http.site import Town, address
from tests.servers.mongo import Mongo

HISTORY = f"/v1/referrals/{address(1)}/history"
LISTS: dict[str, tuple[str, dict[str, Any]]] = {
    "documents": ("/v1/referrals", {"sort": "-level1Count"}),
    "by key": ("/v1/referrals", {}),
    "events": ("/v1/events", {}),
    "history": (HISTORY, {}),
    "reorgs": ("/v1/chains/local/reorgs", {}),
    "stream": ("/v1/stream", {}),
}

numbers = st.integers(-(2**70), 2**70) | st.sampled_from([-1, 2**63 - 1, 2**63, 2**64, 2**200, -(2**63)])
words = st.sampled_from(
    ["documents", "events", "history", "reorgs", "referrals", "local", "asc", "level1Count", "-level1Count"]
) | st.sampled_from(["address", "", address(1), "a/b", "\0", "\ud800"])
scalars = st.none() | st.booleans() | numbers | st.floats(allow_nan=False, allow_infinity=False) | words
shapes = (
    scalars
    | st.lists(scalars, max_size=7)
    | st.dictionaries(words, scalars | st.lists(scalars, max_size=3), max_size=4)
    | st.fixed_dictionaries(
        {
            "store": words,
            "projections": st.dictionaries(words, st.lists(scalars, max_size=3), max_size=2),
            "chains": st.dictionaries(words, scalars, max_size=2),
        }
    )
    | st.tuples(st.just("documents"), st.just("referrals"), st.just("-level1Count"), scalars, scalars)
    | st.tuples(st.just("events"), st.just("local"), st.just("asc"), numbers, numbers, numbers)
    | st.tuples(st.just("history"), st.just("referrals"), st.just(address(1)), numbers, numbers, numbers)
    | st.tuples(st.just("reorgs"), st.just("local"), numbers)
)


def sealed(value: Any) -> str:
    raw = json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, mongo_server: str) -> Iterator[httpx.Client]:
    """One town with MongoDB for all examples, reorgs in it."""
    folder = tmp_path_factory.mktemp("cursors")
    mongo = Mongo(url=mongo_server, database=f"cursors_{uuid4().hex}")
    town = Town(folder, store=f"sqlite:///{folder / 'store.db'}", mongo=mongo)
    grow(town)
    town.sync()
    for _ in range(3):
        town.chain.reorg(1)
        town.mine((40, 1))
        town.sync()
    with town.serving() as client:
        yield client
    town.close()


def answer(asked: httpx.Client, kind: str, cursor: str) -> httpx.Response:
    path, query = LISTS[kind]
    if kind == "stream":
        with asked.stream("GET", path, params={"after": cursor}) as streamed:
            if streamed.status_code != 200:
                streamed.read()
            return streamed
    return asked.get(path, params={**query, "cursor": cursor})


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(list(LISTS)),
    shapes.map(sealed)
    | st.text(max_size=40)
    | st.binary(max_size=40).map(lambda raw: base64.urlsafe_b64encode(raw).decode()),
)
def test_what_nobody_gave_is_refused_or_a_place_that_there_is(
    asked: httpx.Client, kind: str, cursor: str
) -> None:
    """Never a fault of ours: a 400 that says so, or an answer where the cursor names a possible place."""
    got = answer(asked, kind, cursor)
    if got.status_code == 422:
        assert "of a list" in got.json()["error"] or "of another list" in got.json()["error"]
    elif got.status_code != 200:
        assert got.status_code == 400, (cursor, got.text)
        assert "not a cursor of this API" in got.json()["error"]
    elif kind != "stream":
        json.loads(got.text)


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "!!!!",
        "é",
        sealed(None),
        sealed([]),
        sealed({}),
        sealed(7),
        sealed("text"),
        sealed(2**300),
        sealed([2**300] * 6),
        sealed(["documents", "referrals", "-level1Count", "text", address(1)]),
        sealed(["documents", "referrals", "-level1Count", 2**63, address(1)]),
        sealed(["documents", "referrals", "-level1Count", 1, "\0"]),
        sealed(["documents", "referrals", "address", address(1), "\ud800"]),
        sealed(["events", "local", "asc", 2**63, 0, 0]),
        sealed(["events", "local", "asc", -1, 0, 0]),
        sealed(["history", "referrals", address(1), 1, 2**64, 0]),
        sealed(["reorgs", "local", 2**63]),
        sealed({"store": "", "projections": {"referrals": [2**70, ""]}, "chains": {}}),
        sealed({"store": "", "projections": {"referrals": [1, "\0"]}, "chains": {}}),
        sealed({"store": "", "projections": {}, "chains": {"local": -1}}),
        base64.urlsafe_b64encode(b"[" * (DEEPEST + 1)).decode(),
    ],
)
def test_made_up_cursors_are_a_400(asked: httpx.Client, kind: str, cursor: str) -> None:
    got = answer(asked, kind, cursor)
    assert got.status_code == 400, (cursor, got.text)
    assert "cursor: " in got.text or "after: " in got.text


def test_a_cursor_of_one_list_is_none_of_another(asked: httpx.Client) -> None:
    given = {}
    for kind, (path, query) in LISTS.items():
        if kind != "stream":
            given[kind] = asked.get(path, params={**query, "limit": 1}).json()["next"]
    assert all(given.values()), given
    for kind, cursor in given.items():
        for other in LISTS:
            got = answer(asked, other, cursor)
            same_list = {kind, other} == {"documents", "by key"}
            expected = 200 if kind == other else 422 if same_list else 400
            assert got.status_code == expected, (kind, other, got.text)


@pytest.mark.parametrize(
    ("kind", "cursor"),
    [
        ("by key", sealed(["documents", "others", "address", address(1), address(1)])),
        ("events", sealed(["events", "moon", "asc", 1, 0, 0])),
        ("history", sealed(["history", "referrals", address(2), 1, 0, 0])),
        ("reorgs", sealed(["reorgs", "moon", 1])),
    ],
)
def test_a_cursor_of_the_same_kind_of_list_of_something_else_is_a_422(
    asked: httpx.Client, kind: str, cursor: str
) -> None:
    got = answer(asked, kind, cursor)
    assert (got.status_code, "of another list than" in got.json()["error"]) == (422, True), got.text
