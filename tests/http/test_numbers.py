"""Numbers that readers see: by the declared type, exact at every width, in one order everywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any
from uuid import uuid4

import httpx
import pytest
from typer.testing import CliRunner

from eventstore.report import Check
from projections.service.cli import app
from projections.service.runtime.wiring import Plan
from projections.sinks import ReadableSink
from projections.sinks.mongo.sink import MongoSink
from projections.values.integers import sortable
from projections.verify.sinks import SinkCheck
from tests.http.market import Fair
from tests.servers.mongo import Mongo

AMOUNTS = [
    *(0, 1, -1, 9, 14, 2**53 + 1, -(2**53) - 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 10**30),
    *(2**255 - 1, -(2**255)),
]
NAMES = {f"pool {number:02}": amount for number, amount in enumerate(AMOUNTS)}
SMALL = [2**63 - 1, -(2**63), 2**53 + 1, 0]


@pytest.fixture(scope="module")
def fair(tmp_path_factory: pytest.TempPathFactory, mongo_server: str, redis_server: str) -> Iterator[Fair]:
    folder = tmp_path_factory.mktemp("fair")
    mongo = Mongo(url=mongo_server, database=f"fair_{uuid4().hex}")
    made = Fair(folder, store=f"sqlite:///{folder / 'store.db'}", mongo=mongo, redis=redis_server)
    for number, (name, amount) in enumerate(NAMES.items()):
        made.trade((name, amount, SMALL[number % 4]))
    made.sync()
    yield made
    made.close()


@pytest.fixture(scope="module")
def api(fair: Fair) -> Iterator[httpx.Client]:
    with fair.serving() as client:
        yield client


def pages(api: httpx.Client, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        answer = api.get("/v1/pools", params={"limit": 4, **query} | ({"cursor": cursor} if cursor else {}))
        assert answer.status_code == 200, answer.text
        found += answer.json()["documents"]
        cursor = answer.json()["next"]
        if cursor is None:
            return found


def test_a_wide_integer_is_text_and_an_int_a_number_whatever_the_value(api: httpx.Client) -> None:
    for number, (name, amount) in enumerate(NAMES.items()):
        for query in ({}, {"full": "true"}, {}):
            raw = api.get(f"/v1/pools/{name}", params=query)
            found = raw.json()
            assert found["volume"] == found["low"] == found["limit"] == str(amount)
            assert (found["small"], found["count"]) == (SMALL[number % 4], 1)
            assert f'"small":{SMALL[number % 4]}' in raw.text.replace(" ", "")
    history = api.get("/v1/pools/pool 03/history").json()["events"]
    assert history[0]["after"]["volume"] == "9"
    assert api.get("/v1/pools/pool 03", params={"at_block": 15}).json()["volume"] == "9"


@pytest.mark.parametrize("field", ["volume", "low", "limit", "small"])
def test_lists_are_in_the_order_of_the_numbers(api: httpx.Client, field: str) -> None:
    values = {
        name: amount if field != "small" else SMALL[number % 4]
        for number, (name, amount) in enumerate(NAMES.items())
    }
    rising = sorted(NAMES, key=lambda name: (values[name], name))
    falling = sorted(sorted(NAMES), key=lambda name: values[name], reverse=True)
    assert [item["name"] for item in pages(api, sort=field)] == rising
    assert [item["name"] for item in pages(api, sort=f"-{field}")] == falling


def test_a_list_is_filtered_by_the_number(api: httpx.Client) -> None:
    for name, amount in NAMES.items():
        assert [item["name"] for item in pages(api, volume=str(amount))] == [name]
    for text in ("1.0", "1e3", "x", "00", str(2**256)):
        answer = api.get("/v1/pools", params={"volume": text})
        assert (answer.status_code, "not an integer" in answer.text) == (400, True)


def test_a_field_that_is_called_as_a_parameter_is_asked_for_by_another_name(api: httpx.Client) -> None:
    [pools] = api.get("/v1/projections").json()
    assert pools["parameters"]["limit"] == "limit_"
    assert pools["types"] == {
        "name": "text",
        "volume": "integer256",
        "low": "integer256",
        "small": "integer",
        "note": "text",
        "limit": "integer256",
        "count": "integer",
        "documents": "integer",
    }
    assert [item["name"] for item in pages(api, limit_="14")] == ["pool 04"]
    assert len(pages(api, limit=2)) == len(NAMES)


def test_totals_are_exact_beyond_64_bits(fair: Fair, api: httpx.Client) -> None:
    """Of the store over HTTP, and of the store and MongoDB by the command; and `verify sinks` agrees."""
    volume, small = sum(AMOUNTS), sum(SMALL[number % 4] for number in range(len(AMOUNTS)))
    totals = api.get("/v1/pools/stats").json()
    assert totals["sums"]["volume"] == str(volume)
    assert totals["sums"]["small"] == small
    assert totals["sums"]["count"] == totals["documents"] == len(AMOUNTS)
    said = CliRunner().invoke(app, ["--config", str(fair.configured()), "stats", "pools", "--json"])
    told = json.loads(said.stdout)
    assert told["fold"] == told["mongo"]
    assert (told["fold"]["volume"], told["fold"]["small"]) == (str(volume), small)
    assert (told["fold"]["documents"], told["fold"]["documents_"]) == (len(AMOUNTS), 2 * len(AMOUNTS))


def test_copies_are_verified_and_a_changed_digit_is_found(fair: Fair) -> None:
    with fair.plan() as plan, ExitStack() as opened:
        assert all(check.ok for check in checks(plan))
        [sink] = plan.sinks("pools", only="mongo")
        assert isinstance(sink, MongoSink)
        pools = opened.enter_context(closing(sink)).collection()
        held = pools.find_one({"name": "pool 04"})
        assert held is not None
        assert held["volume"] == sortable(14)
        for wrong in (sortable(15), "14", 14):
            pools.update_one({"name": "pool 04"}, {"$set": {"volume": wrong}})
            found = [item for check in checks(plan) for item in check.differences]
            assert any("pool 04" in str(item) for item in found), wrong
        pools.update_one({"name": "pool 04"}, {"$set": {"volume": held["volume"]}})
        assert all(check.ok for check in checks(plan))


def checks(plan: Plan) -> list[Check]:
    found = []
    for sink in plan.sinks("pools"):
        assert isinstance(sink, ReadableSink)
        check = SinkCheck(plan.store, sink, projection="pools", chain_id=31337, expires=sink.name == "redis")
        found.append(check.run(fields=plan.counted("pools")).check)
        sink.close()
    return found
