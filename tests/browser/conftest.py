"""One browser and one server for each state, shared by the tests of a module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, Page
from pymongo import MongoClient
from redis import Redis

from tests.browser import states, visit
from tests.http.site import Town
from tests.servers.mongo import Mongo

TOKEN = "a-token-of-sixteen-or-more"

Opened = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with visit.browser() as started:
        yield started


@pytest.fixture(scope="module")
def sites(
    tmp_path_factory: pytest.TempPathFactory, mongo_server: str, redis_server: str
) -> Iterator[Callable[..., tuple[Town, str]]]:
    """The town of a state and where it is served, built when first asked for; the lively one with sinks."""
    towns: dict[str, Town] = {}
    served: dict[str, str] = {}
    database = f"test_{uuid4().hex}"
    with Redis.from_url(redis_server) as redis, MongoClient(mongo_server) as client, ExitStack() as opened:
        redis.flushall()
        opened.callback(client.drop_database, database)
        sinks = {"mongo": Mongo(mongo_server, database), "redis": redis_server}

        def site(state: str, http: str = "", **options: Any) -> tuple[Town, str]:
            if state not in towns:
                folder = tmp_path_factory.mktemp(state)
                towns[state] = getattr(states, state)(folder, **(sinks if state == "lively" else {}))
                opened.callback(towns[state].close)
                opened.enter_context(states.at_work(towns[state]))
            name = f"{state} {http} {options}"
            if name not in served:
                served[name] = str(opened.enter_context(towns[state].serving(http, **options)).base_url)
            return towns[state], served[name]

        yield site


@pytest.fixture
def visiting(browser: Browser) -> Iterator[Callable[..., visit.Visit]]:
    """Tabs, each of which must have asked no other host and said no error when the test is over."""
    tabs: list[visit.Visit] = []

    def tab(base: str, **options: Any) -> visit.Visit:
        tabs.append(visit.Visit(browser, base, **options))
        return tabs[-1]

    yield tab
    for each in tabs:
        each.end()
