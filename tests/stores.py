"""An empty event store on each engine, for the suites that run over both: migrated once, then copied."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from pathlib import Path

import pytest
from sqlalchemy import event, make_url, text

from eventstore.storage.store import Store
from projections.migrate import migrate
from tests.servers.postgres import database

ENGINES = ("sqlite", pytest.param("postgresql", marks=pytest.mark.server))
"""For parameters: the engines of a store; the second is a server."""


def migrated(path: Path) -> Store:
    """A store on SQLite in a new file, as `migrate` leaves it: a copy, with an identity of its own.

    Its commits do not wait for the disk, for no test cuts the power.
    """
    path.write_bytes(_template())
    made = Store(f"sqlite:///{path}")
    event.listen(made.engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))
    return _own(made)


@cache
def _template() -> bytes:
    """A file that `migrate` made."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        with closing(Store(f"sqlite:///{path}")) as made:
            migrate(made)
        return path.read_bytes()


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> Iterator[str]:
    """The name of a database that `migrate` made."""
    with database(postgres_server) as url:
        with closing(Store(url)) as made:
            migrate(made)
        name = make_url(url).database
        assert name is not None
        yield name


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A migrated store; the test runs once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        with closing(migrated(tmp_path / "store.db")) as made:
            yield made
        return
    yield request.getfixturevalue("postgres_store")


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Store]:
    """A migrated store on SQLite, for what does not depend on the engine."""
    with closing(migrated(tmp_path / "store.db")) as made:
        yield made


@pytest.fixture
def postgres_store(postgres_server: str, postgres_template: str) -> Iterator[Store]:
    """A migrated store on PostgreSQL, for what SQLite, with its one lock and its planner, does not know."""
    with database(postgres_server, template=postgres_template) as url, closing(_own(Store(url))) as made:
        yield made


def _own(store: Store) -> Store:
    """The store with an identity that no copy shares."""
    with store.write() as tx:
        tx.execute(text("UPDATE store SET id = :id"), {"id": secrets.token_hex(16)})
    return store
