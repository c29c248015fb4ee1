"""Towns: the same chain over each store, with and without sinks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import redis

from projections.service.embedded.servers import EmbeddedRedis
from tests.http.site import Town
from tests.servers.mongo import Mongo
from tests.servers.postgres import database


@pytest.fixture
def town(tmp_path: Path, mongo: Mongo, redis_url: str) -> Iterator[Town]:
    """Twenty final blocks and ten above them; user 1 has no referrer and refers most of the others."""
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


@pytest.fixture(scope="session")
def postgres_town(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: str, mongo_server: str
) -> Iterator[Town]:
    """The town over PostgreSQL, with sinks of its own: one for all tests that only read."""
    folder = tmp_path_factory.mktemp("postgres-town")
    mongo = Mongo(url=mongo_server, database=f"town_{uuid4().hex}")
    with database(postgres_server) as store, EmbeddedRedis(folder / "redis") as server:
        made = Town(folder, store=store, mongo=mongo, redis=server.url)
        grow(made)
        made.sync()
        yield made
        made.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests that only read run on both engines; those that change their town, on SQLite."""
    if "reading" in metafunc.fixturenames:
        engines = ["sqlite"] if "town" in metafunc.fixturenames else ["sqlite", "postgresql"]
        served = [pytest.param(engine, marks=pytest.mark.server) for engine in engines]
        metafunc.parametrize("reading", served, indirect=True)


@pytest.fixture
def reading(request: pytest.FixtureRequest) -> Town:
    """The town that is read."""
    town: Town = request.getfixturevalue("town" if request.param == "sqlite" else "postgres_town")
    return town


@pytest.fixture
def api(reading: Town) -> Iterator[httpx.Client]:
    """A client of a server over the town."""
    with reading.serving() as client:
        yield client


@pytest.fixture
def hashes(reading: Town) -> Iterator[redis.Redis]:
    """The Redis that the town is published to."""
    with redis.Redis.from_url(reading.redis, decode_responses=True) as client:
        yield client


def grow(town: Town) -> None:
    """User n + 1 is referred by user 1 where n is even, else by user n."""
    for number in range(1, 31):
        town.mine((number + 1, 1 if number % 2 == 0 else number))
    town.chain.finalize(20)
