"""A migration that writes history anew leaves every row as it was, and history as guarded as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import text

from eventstore import bulk, schema
from eventstore.errors import StoreError
from eventstore.integrity import check_digests
from eventstore.journal import Journal
from eventstore.store import Store
from projections.service.migrate import _config, migrate
from tests.blocks import headers_of, log

CHAIN = 1
TABLES = ("entries", "entry_kinds", "blocks", "log_kinds", "logs", "orphans")


@pytest.fixture(params=["sqlite", "postgresql"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store of the schema before e0005, with the history of `written` in it."""
    url = (
        f"sqlite:///{tmp_path / 'old.db'}"
        if request.param == "sqlite"
        else request.getfixturevalue("postgres_url")
    )
    made, config, history = Store(url), _config(), written(tmp_path)
    with made.write() as tx:
        config.attributes["connection"] = tx
        command.upgrade(config, "e0004")
        command.upgrade(config, "p0001")
        tx.exec_driver_sql("INSERT INTO store VALUES ('00', 0)")
        for table, rows in history.items():
            tx.execute(schema.metadata.tables[table].insert(), rows)
    yield made
    made.close()


def written(folder: Path) -> dict[str, list[dict[str, object]]]:
    """Logs of every number of topics, and two that a reorg put at one place."""
    store = Store(f"sqlite:///{folder / 'new.db'}")
    migrate(store)
    with store.write() as tx:
        journal = Journal(tx, CHAIN)
        for branch in ("a", "b"):
            logs = [
                log(block, index, topics=tuple(bytes([n + 1]) * 32 for n in range(index)), data=bytes(block))
                for block in range(1, 40)
                for index in range(5)
            ]
            logs = [item for item in logs if branch == "a" or item.block_number > 30]
            journal.append(logs, headers_of(logs, branch), [])
            if branch == "a":
                journal.orphan(31)
    found = rows(store)
    store.close()
    return found


def rows(store: Store) -> dict[str, list[dict[str, object]]]:
    with store.read() as tx:
        return {
            table: [
                dict(row)
                for row in tx.execute(
                    schema.metadata.tables[table]
                    .select()
                    .order_by(*schema.metadata.tables[table].primary_key.columns)
                ).mappings()
            ]
            for table in TABLES
        }


def test_logs_that_are_written_anew_are_the_same_rows_and_the_same_digests(old: Store) -> None:
    before = rows(old)
    migrate(old)
    assert rows(old) == before
    with old.read() as tx:
        assert check_digests(tx, CHAIN) == []
        journal = Journal(tx, CHAIN)
        assert [len(item.log.topics) for item in journal.history()] == [0, 1, 2, 3, 4] * 39


@pytest.mark.parametrize("statement", ["UPDATE logs SET tx_index = 7", "DELETE FROM logs", "TRUNCATE logs"])
def test_logs_that_were_written_anew_refuse_to_be_changed(old: Store, statement: str) -> None:
    migrate(old)
    if old.sqlite and statement.startswith("TRUNCATE"):
        statement = "INSERT OR REPLACE INTO logs SELECT * FROM logs"
    with pytest.raises(StoreError, match="append-only"), old.write() as tx:
        tx.execute(text(statement))


def test_a_log_may_be_appended_after_the_migration(old: Store) -> None:
    migrate(old)
    with old.write() as tx:
        logs = [log(50)]
        Journal(tx, CHAIN).append(logs, headers_of(logs, "a"), [])
    assert rows(old)["logs"][-1]["block_number"] == 50
    assert set(bulk.LOG_COLUMNS) == set(rows(old)["logs"][-1])
