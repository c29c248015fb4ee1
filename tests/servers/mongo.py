"""The embedded MongoDB-compatible server, one for the session; every test has a database of its own."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from msgspec import Struct
from pymongo import MongoClient

from projections.errors import ConfigurationError
from projections.service.embedded.servers import EmbeddedMongo
from tests.servers import missing


class Mongo(Struct, frozen=True):
    """Where a test's database is."""

    url: str
    database: str


@pytest.fixture(scope="session")
def mongo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a running server."""
    try:
        server = EmbeddedMongo(tmp_path_factory.mktemp("mongo"))
    except ConfigurationError as error:
        missing(str(error))
    with server:
        yield server.url


@pytest.fixture
def mongo(mongo_server: str) -> Iterator[Mongo]:
    """A database that was never used before, and is dropped afterwards."""
    made = Mongo(url=mongo_server, database=f"test_{uuid4().hex}")
    yield made
    client: MongoClient[dict[str, object]]
    with MongoClient(made.url) as client:
        client.drop_database(made.database)
