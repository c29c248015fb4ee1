"""The SQL database: engine, snapshots to read in, transactions to write in, the store's identity."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnection

from eventstore import private_files
from eventstore.errors import ChainfoldError, SchemaOutdated, StoreError, StoreUnavailable
from eventstore.extras import install
from eventstore.redaction import public
from eventstore.storage.identity import identity_of
from eventstore.storage.refused_values import refuses_data, unfit, within_sqlalchemy

if TYPE_CHECKING:
    from eventstore.storage.watched_connection import Patience

PAGE_CACHE = 16 * 2**20
"""Bytes that SQLite keeps of its file in our process; PostgreSQL keeps its own."""


class Store:
    """One database, SQLite or PostgreSQL.

    `read()` is a snapshot: everything inside it sees one moment. `write()` is a transaction that
    commits at the end of its block, or not at all. With `read_only` the database refuses every write.
    `patience` is how long PostgreSQL may be silent (`eventstore.storage.watched_connection`).
    """

    def __init__(self, url: str, *, read_only: bool = False, patience: Patience | None = None) -> None:
        self.url = url
        self.engine = _engine(url, read_only=read_only, patience=patience)
        self.sqlite = self.engine.dialect.name == "sqlite"
        event.listen(self.engine, "handle_error", within_sqlalchemy)

    def __repr__(self) -> str:
        return f"Store({public(self.url)})"

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A snapshot: BEGIN on SQLite (WAL), REPEATABLE READ on PostgreSQL."""
        level = {} if self.sqlite else {"isolation_level": "REPEATABLE READ"}
        with self._translated(), self.engine.connect() as connection:
            yield connection.execution_options(**level)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction: BEGIN IMMEDIATE on SQLite, READ COMMITTED on PostgreSQL."""
        with self._translated(), self.engine.connect() as connection:
            tx = connection.execution_options(chainfold_write=True)
            with tx.begin():
                yield tx

    @contextmanager
    def at_leisure(self, tx: Connection) -> Iterator[None]:
        """Within this no statement of `tx` is too long: it may write whole tables again."""
        driver: Any = tx.connection.driver_connection
        patience = getattr(driver, "patience", None)
        if patience is None:
            yield
            return
        driver.patience = replace(patience, whole=math.inf)
        try:
            yield
        finally:
            driver.patience = patience

    def identity(self) -> str:
        """The id drawn when the store was made; sinks remember it. `SchemaOutdated` before that."""
        with self.read() as tx:
            found = identity_of(tx)
        if found is None:
            raise SchemaOutdated(
                f"The event store {public(self.url)} is not set up.",
                hint="Run `chainfold migrate`.",
            )
        return found

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except ChainfoldError:
            raise
        except DBAPIError as error:
            raise self._ours(error.orig or error) from error
        except self.engine.dialect.loaded_dbapi.Error as error:  # COPY goes below SQLAlchemy
            raise self._ours(error) from error
        except NoConnection as error:  # all of them wait for a server that stands still
            raise StoreUnavailable(
                f"The event store {public(self.url)} gives no connection: {error}."
            ) from error
        except SQLAlchemyError as error:
            raise StoreError(f"The event store {public(self.url)} failed: {error}.") from error

    def _ours(self, error: BaseException) -> StoreError:
        """A driver's error as ours: no table is an old schema, a refusal is final, the rest may heal."""
        lines = str(_first(error)).strip().splitlines()
        text = lines[0].rstrip(".") if lines else "no reason given"
        where = f"The event store {public(self.url)}"
        if refuses_data(error):
            return unfit(text, where=where)
        if "database" in text and "does not exist" in text:
            return StoreError(f"{where} does not exist.", hint="Create it, or mend store.url.")
        if "unable to open database" in text or "not a database" in text:
            return StoreError(f"{where} cannot be opened: {text}.", hint="Mend store.url, or its folder.")
        if "password authentication failed" in text:
            return StoreError(f"{where} refuses the password.", hint="Mend store.url.")
        if any(
            sign in text for sign in ("no such table", "no such column", "has no column", "does not exist")
        ):
            return SchemaOutdated(
                f"{where} has an old or empty schema ({text}).", hint="Run `chainfold migrate`."
            )
        dbapi: Any = self.engine.dialect.loaded_dbapi
        if isinstance(error, dbapi.IntegrityError | dbapi.ProgrammingError):
            return StoreError(f"{where} refused a statement: {text}.")
        return StoreUnavailable(
            f"{where} is not available: {text}.",
            hint="Nothing was written; the work continues where it stood when the store is back.",
        )


def _first(error: BaseException) -> BaseException:
    """What happened first, where a connection that was given up could then not be rolled back either."""
    at: BaseException | None = error
    while at is not None:
        if getattr(at, "unanswered", False):
            return at
        at = at.__cause__ or at.__context__
    return error


def _engine(url: str, *, read_only: bool, patience: Patience | None) -> Engine:
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
        if backend == "sqlite":
            engine = create_engine(
                url,
                connect_args={"timeout": 60, "check_same_thread": False},
                pool_use_lifo=True,  # the connection that was used last: each keeps a page cache of its own
            )
            event.listen(engine, "do_connect", _make_private)
            event.listen(engine, "connect", _prepare_sqlite)
            if read_only:
                event.listen(engine, "connect", _refuse_writes)
            event.listen(engine, "begin", _begin_sqlite)
            return engine
        if backend == "postgresql":
            if parsed.drivername == "postgresql":
                parsed = parsed.set(drivername="postgresql+psycopg")
            from eventstore.storage.watched_connection import Patience, connector  # the driver is an extra

            # No plan is kept for later: it was made for tables of another size (`planning`).
            plain = {"prepare_threshold": None}
            engine = create_engine(
                parsed, connect_args=plain, pool_pre_ping=True, pool_size=10, max_overflow=20
            )
            event.listen(engine, "do_connect", connector(patience or Patience()))
            if read_only:
                event.listen(engine, "connect", _refuse_writes)
            return engine
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise StoreError(
            f"The driver for {public(url)} is not installed.",
            hint=install("postgres"),
        ) from error
    except (SQLAlchemyError, ValueError) as error:
        raise StoreError("store.url cannot be parsed.") from error
    raise StoreError(
        f"Unsupported event store {backend}.",
        hint="Use sqlite:///file.db or postgresql+psycopg://user:password@host/database.",
    )


def _make_private(_dialect: object, _record: object, arguments: Any, _options: object) -> None:
    """A file that is not there yet is made as its owner's alone; SQLite makes -wal and -shm of that mode."""
    name = str(arguments[0]) if arguments else ""
    if name and not name.startswith((":memory:", "file:")):
        private_files.make(Path(name))


def _prepare_sqlite(connection: Any, _record: object) -> None:
    """Every commit is on disk when it returns: sinks hold what was committed, so it may not vanish.

    `recursive_triggers` makes INSERT OR REPLACE fire the DELETE triggers that guard history.
    """
    connection.isolation_level = None  # BEGIN is ours: see _begin_sqlite
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "recursive_triggers=ON",
        f"cache_size=-{PAGE_CACHE // 1024}",
        "temp_store=MEMORY",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _refuse_writes(connection: Any, _record: object) -> None:
    sqlite = type(connection).__module__.startswith("sqlite3")
    cursor = connection.cursor()
    cursor.execute("PRAGMA query_only=ON" if sqlite else "SET default_transaction_read_only = on")
    cursor.close()
    if not sqlite:
        connection.commit()  # the setting lasts when the transaction does


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("chainfold_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
