"""Where the worlds of the state machine keep their stores: SQLite files, or databases of PostgreSQL."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import psycopg
from psycopg.sql import SQL, Identifier
from sqlalchemy import make_url

from eventstore.storage.store import Store
from projections.migrate import migrate


class Ground(Protocol):
    """The place of one store. The store is closed while it is laid aside, put back or cleared away."""

    @property
    def url(self) -> str: ...

    def lay_aside(self) -> None:
        """A copy of the store is kept, in the place of an earlier one."""

    def put_back(self) -> None:
        """The copy takes the store's place; it can do so again later."""

    def clear(self) -> None:
        """The store and its copy are gone."""


class Grounds(Protocol):
    """Makes as many places as there are worlds."""

    def fresh(self) -> Ground:
        """A place with an empty store in it, migrated."""


class Files:
    """Files of SQLite, in this folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._template = folder / "template.db"
        _migrated(f"sqlite:///{self._template}")
        with closing(sqlite3.connect(self._template)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def fresh(self) -> Ground:
        return _File(Path(tempfile.mkdtemp(dir=self._folder)), self._template)


class _File:
    def __init__(self, folder: Path, template: Path) -> None:
        self._folder = folder
        self._file, self._kept = folder / "store.db", folder / "kept.db"
        shutil.copyfile(template, self._file)

    @property
    def url(self) -> str:
        return f"sqlite:///{self._file}"

    def lay_aside(self) -> None:
        self._kept.unlink(missing_ok=True)
        with closing(sqlite3.connect(self._file)) as own, closing(sqlite3.connect(self._kept)) as kept:
            own.backup(kept)

    def put_back(self) -> None:
        for suffix in ("-wal", "-shm"):
            self._file.with_name(self._file.name + suffix).unlink(missing_ok=True)
        shutil.copyfile(self._kept, self._file)

    def clear(self) -> None:
        shutil.rmtree(self._folder)


class Databases:
    """Databases of the server at this URI, each copied from one that was migrated."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._template = f"template_{uuid4().hex}"
        _statement(server, "CREATE DATABASE {}", self._template)
        _migrated(_url(server, self._template))

    def fresh(self) -> Ground:
        return _Database(self._server, self._template)


class _Database:
    def __init__(self, server: str, template: str) -> None:
        self._server = server
        self._name = f"world_{uuid4().hex}"
        self._kept = f"kept_{self._name}"
        self._copy(template, self._name)

    @property
    def url(self) -> str:
        return _url(self._server, self._name)

    def lay_aside(self) -> None:
        self._drop(self._kept)
        self._copy(self._name, self._kept)

    def put_back(self) -> None:
        self._drop(self._name)
        self._copy(self._kept, self._name)

    def clear(self) -> None:
        self._drop(self._name)
        self._drop(self._kept)

    def _copy(self, old: str, new: str) -> None:
        _statement(self._server, "CREATE DATABASE {} TEMPLATE {}", new, old)
        _statement(self._server, "ALTER DATABASE {} SET synchronous_commit = off", new)

    def _drop(self, name: str) -> None:
        _statement(self._server, "DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


def _statement(server: str, statement: str, *names: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(SQL(statement).format(*map(Identifier, names)))  # type: ignore[arg-type]  # a literal here


def _url(server: str, name: str) -> str:
    url = make_url(server).set(drivername="postgresql+psycopg", database=name)
    return url.render_as_string(hide_password=False)


def _migrated(url: str) -> None:
    with closing(Store(url)) as store:
        migrate(store)
