"""Towns: the same chain over each store, with and without sinks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.http.site import Town
from tests.servers.mongo import Mongo


@pytest.fixture
def town(tmp_path: Path, mongo: Mongo, redis_url: str) -> Iterator[Town]:
    """Twenty final blocks and ten above them; user 1 is referred by nobody and refers most of the others."""
    made = Town(tmp_path, store=f"sqlite:///{tmp_path / 'store.db'}", mongo=mongo, redis=redis_url)
    grow(made)
    made.sync()
    yield made
    made.close()


@pytest.fixture
def plain_town(tmp_path: Path) -> Iterator[Town]:
    """The same without MongoDB and Redis."""
    made = Town(tmp_path, store=f"sqlite:///{tmp_path / 'plain.db'}")
    grow(made)
    made.sync()
    yield made
    made.close()


@pytest.fixture
def api(town: Town) -> Iterator[httpx.Client]:
    """A client of a server over the town."""
    with town.serving() as client:
        yield client


def grow(town: Town) -> None:
    """User n + 1 is referred by user 1 where n is even, else by user n."""
    for number in range(1, 31):
        town.mine((number + 1, 1 if number % 2 == 0 else number))
    town.chain.finalize(20)
