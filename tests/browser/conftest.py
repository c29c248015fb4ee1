"""One browser and one server for each state, shared by the tests of a module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser import states, visit
from tests.http.site import Town

TOKEN = "a-token-of-sixteen-or-more"

Opened = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with visit.browser() as started:
        yield started


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., tuple[Town, str]]]:
    """The town of a state and where it is served, built when it is first asked for."""
    known: dict[str, tuple[Town, str]] = {}
    with ExitStack() as opened:

        def site(state: str, http: str = "", **options: Any) -> tuple[Town, str]:
            name = f"{state} {http} {options}"
            if name not in known:
                town: Town = getattr(states, state)(tmp_path_factory.mktemp(state))
                opened.callback(town.close)
                if state == "lively":
                    opened.enter_context(states.at_work(town))
                api = opened.enter_context(town.serving(http, **options))
                known[name] = town, str(api.base_url)
            return known[name]

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
