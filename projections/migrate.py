"""Brings the store's schema up to date: both packages' migrations, each on its own branch."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from msgspec import Struct

import eventstore
import projections
from eventstore.errors import SchemaOutdated
from eventstore.redaction import public
from eventstore.storage import identity
from eventstore.storage.sql import text
from eventstore.storage.store import Store


class Migrated(Struct, frozen=True):
    """Which revisions the store had and has; the same where nothing was to be done."""

    before: tuple[str, ...]
    after: tuple[str, ...]


def migrate(store: Store) -> Migrated:
    """Runs what is missing, in one transaction. Two processes at once: the second finds it done."""
    config = _config()
    with store.write() as tx, store.at_leisure(tx):
        if not store.sqlite:
            tx.execute(text("SELECT pg_advisory_xact_lock(4831529)"))
        before = _revisions(store, tx)
        config.attributes["connection"] = tx
        command.upgrade(config, "heads")
        identity.draw(tx)
        return Migrated(before, _revisions(store, tx))


def ensure(store: Store) -> None:
    """Sets up an empty store; raises `SchemaOutdated` for one that is older or newer than the code."""
    heads = tuple(sorted(ScriptDirectory.from_config(_config()).get_heads()))
    with store.read() as tx:
        found = _revisions(store, tx)
    if not found:
        migrate(store)
    elif found != heads:
        raise SchemaOutdated(
            f"The event store {public(store.url)} has the schema {', '.join(found)}; this chainfold "
            f"needs {', '.join(heads)}.",
            hint="Run `chainfold migrate` (after a backup), or use the chainfold that wrote it.",
        )


def _revisions(store: Store, tx: object) -> tuple[str, ...]:
    context = MigrationContext.configure(tx)  # type: ignore[arg-type]  # alembic's stub wants its own
    return tuple(sorted(context.get_current_heads()))


def _config() -> Config:
    config = Config()
    here, there = Path(eventstore.__file__).parent, Path(projections.__file__).parent
    config.set_main_option("script_location", str(here / "migrations"))
    config.set_main_option("path_separator", "newline")
    config.set_main_option(
        "version_locations",
        f"{here / 'migrations' / 'versions'}\n{there / 'migrations' / 'versions'}",
    )
    return config
