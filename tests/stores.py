"""An empty event store on each engine, for the suites that run over both: migrated once, then copied."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from eventstore.storage.store import Store
from projections.migrate import migrate
from tests.servers.postgres import database

ENGINES = ("sqlite", pytest.param("postgresql", marks=pytest.mark.server))
"""For parameters: the engines of a store; the second is a server."""


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that `migrate` made."""
    path = tmp_path_factory.mktemp("template") / "store.db"
    with closing(Store(f"sqlite:///{path}")) as made:
        migrate(made)
    return path


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
        with _copied(request.getfixturevalue("sqlite_template"), tmp_path) as made:
            yield made
        return
    yield request.getfixturevalue("postgres_store")


@pytest.fixture
def sqlite_store(sqlite_template: Path, tmp_path: Path) -> Iterator[Store]:
    """A migrated store on SQLite, for what does not depend on the engine."""
    with _copied(sqlite_template, tmp_path) as made:
        yield made


@pytest.fixture
def postgres_store(postgres_server: str, postgres_template: str) -> Iterator[Store]:
    """A migrated store on PostgreSQL, for what SQLite, with its one lock and its planner, does not know."""
    with database(postgres_server, template=postgres_template) as url, closing(_own(Store(url))) as made:
        yield made


@contextmanager
def _copied(template: Path, folder: Path) -> Iterator[Store]:
    path = folder / "store.db"
    shutil.copyfile(template, path)
    with closing(_own(Store(f"sqlite:///{path}"))) as made:
        yield made


def _own(store: Store) -> Store:
    """The store with an identity that no copy shares."""
    with store.write() as tx:
        tx.execute(text("UPDATE store SET id = :id"), {"id": secrets.token_hex(16)})
    return store
