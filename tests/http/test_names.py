"""Names that strangers choose: each document has an address, and no name of ours takes another's place."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from projections.errors import ConfigurationError
from projections.service.config.http import TAKEN
from projections.service.config.loader import load
from projections.service.http.app import application
from projections.service.http.base.context import Desk
from projections.service.status.metrics import Meters
from tests.http.market import Fair

ODD = [
    *("", "stats", "document", "history", "events", "a/b", "a/history", "/", "//", "..", ".", "../x"),
    *(
        "a/../b",
        "%2F",
        "%",
        "%zz",
        "%00",
        "a%20b",
        "+",
        " ",
        " a ",
        "a b",
        "?",
        "a?b=c",
        "#",
        "a#b",
        "&key=x",
    ),
    *("=", ";", "\\", "\n", "\r\n", "\t", "\x01", "\x7f", "\x85", "\u2028", "\ufeff", "\xe4", "a\u0308"),
    *("\u6771\u4eac", "\U0001f98a", "\U0010ffff", "0x00", "null", "true", "{key}", "${x}", "<script>", '"'),
    *("'", "`", "*", "[a]", "a" * 1024, "\xe9" * 512),
]
key = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=60)


@pytest.fixture(scope="module")
def fair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fair]:
    folder = tmp_path_factory.mktemp("names")
    made = Fair(folder, store=f"sqlite:///{folder / 'store.db'}")
    made.trade(*((name, number, 0) for number, name in enumerate(ODD)))
    made.sync()
    yield made
    made.close()


@pytest.fixture(scope="module")
def api(fair: Fair) -> Iterator[httpx.Client]:
    with fair.serving() as client:
        yield client


@pytest.mark.parametrize("name", ODD)
def test_every_document_has_an_address_whatever_its_key(api: httpx.Client, name: str) -> None:
    """Its history too. What an ordinary client sends as it is: httpx writes the query, quote the path."""
    amount = str(ODD.index(name))
    for query in ({}, {"full": "true"}, {"at_block": "1"}):
        found = api.get("/v1/pools/document", params={"key": name, **query})
        assert (found.status_code, found.json().get("volume")) == (200, amount), found.text
        assert found.json()["name"] == name
    story = api.get("/v1/pools/document/history", params={"key": name})
    assert story.json()["events"][0]["after"]["name"] == name


@pytest.mark.parametrize("name", ODD)
def test_in_the_path_a_key_is_percent_encoded_and_two_words_are_taken(api: httpx.Client, name: str) -> None:
    """The empty key and those of dots, which clients take out of a path, have the other address only."""
    if name in ("", ".", "..", "stats", "document"):
        return
    found = api.get(httpx.URL(api.base_url).copy_with(raw_path=f"/v1/pools/{quote(name, safe='')}".encode()))
    assert found.status_code == 200, found.text
    assert found.json()["name"] == name
    raw = f"/v1/pools/{quote(name, safe='')}/history".encode()
    story = api.get(httpx.URL(api.base_url).copy_with(raw_path=raw))
    assert story.json()["events"][0]["after"]["name"] == name


@settings(max_examples=60, deadline=None)
@given(key)
@example("a%2Fb")
@example("a\\b")
def test_a_key_that_is_not_there_is_a_404_that_names_it(api: httpx.Client, name: str) -> None:
    if name in ODD:
        return
    found = api.get("/v1/pools/document", params={"key": name})
    assert (found.status_code, f"no document {name}." in found.json()["error"]) == (404, True), found.text


@pytest.mark.parametrize("raw", [b"%FF", b"%ED%A0%80", b"a%00b", b"x" * 5000])
def test_what_is_no_key_is_a_400(api: httpx.Client, raw: bytes) -> None:
    where = httpx.URL(api.base_url)
    for path in (b"/v1/pools/" + raw, b"/v1/pools/document?key=" + raw):
        assert api.get(where.copy_with(raw_path=path)).status_code == 400


def test_the_list_and_the_totals_are_not_taken_for_documents(api: httpx.Client) -> None:
    assert api.get("/v1/pools/stats").json()["documents"] == len(ODD)
    names = [item["name"] for item in api.get("/v1/pools", params={"limit": 500}).json()["documents"]]
    assert sorted(names) == sorted(ODD)


def test_pages_of_a_list_go_on_behind_any_key(api: httpx.Client) -> None:
    found, cursor = [], None
    while True:
        page = api.get("/v1/pools", params={"limit": 3} | ({"cursor": cursor} if cursor else {})).json()
        found += [item["name"] for item in page["documents"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert found == sorted(ODD)


# --- names of projections ---


def renamed(fair: Fair, name: str, *, http: bool = True) -> Path:
    text = fair.configured().read_text().replace("[projections.pools]", f"[projections.{name}]")
    path = fair.folder / f"{name}.toml"
    path.write_text(text if http else text.replace("[http]", "").replace('listen = "127.0.0.1:0"', ""))
    return path


@pytest.mark.parametrize("name", sorted(TAKEN))
def test_a_projection_cannot_be_called_as_a_path_of_the_api(fair: Fair, name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"projections\.{name}: .*/v1/{name}"):
        load(renamed(fair, name))
    assert load(renamed(fair, name, http=False)).http is None


@pytest.mark.parametrize("name", ["stats", "reorgs", "document", "history", "v1", "key", "list-x"])
def test_any_other_name_is_served(fair: Fair, name: str) -> None:
    from projections.service.runtime.wiring import planned

    with planned(load(renamed(fair, name))) as plan:
        assert plan.config.http is not None
        desk = Desk(plan, plan.config.http, Meters("test"), documents=True)
        application(desk)
        desk.close()


def test_the_words_that_are_taken_are_those_of_the_api(api: httpx.Client) -> None:
    paths = api.get("/schema/openapi.json").json()["paths"]
    first = {re.split("/", path)[2] for path in paths if path.startswith("/v1/")}
    assert first - {"pools"} == TAKEN
    assert json.dumps(sorted(paths)).count("/v1/pools") == 6
