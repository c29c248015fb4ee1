"""A migration that rewrites history leaves every row as it was, and history as guarded as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import text

from eventstore.errors import StoreError
from eventstore.journal.history import Question, ask
from eventstore.journal.integrity import check_digests, check_journal
from eventstore.journal.journal import Journal
from eventstore.storage import history_tables, schema
from eventstore.storage.store import Store
from projections.migrate import _config, migrate
from tests.blocks import headers_of, log
from tests.stores import ENGINES

CHAIN = 1
TABLES = ("entries", "entry_kinds", "blocks", "log_kinds", "logs", "orphans")


@pytest.fixture(params=ENGINES)
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
        assert [len(item.log.topics) for item in ask(tx, CHAIN, Question())] == [0, 1, 2, 3, 4] * 39


@pytest.mark.parametrize("statement", ["UPDATE logs SET tx_index = 7", "DELETE FROM logs", "TRUNCATE logs"])
def test_logs_that_were_written_anew_refuse_to_be_changed(old: Store, statement: str) -> None:
    migrate(old)
    if old.sqlite and statement.startswith("TRUNCATE"):
        statement = "INSERT OR REPLACE INTO logs SELECT * FROM logs"
    with pytest.raises(StoreError, match="append-only"), old.write() as tx:
        tx.execute(text(statement))


def test_indexes_that_the_narrow_column_made_negative_are_what_the_node_sent(
    postgres_url: str, tmp_path: Path
) -> None:
    """The digests speak for them, so they hold again; the table is guarded as before."""
    new = Store(f"sqlite:///{tmp_path / 'wide.db'}")
    migrate(new)
    logs = [log(7, index) for index in (0, 2**31 - 1, 2**31, 0xFFFFFFE2, 2**32 - 1)]
    with new.write() as tx:
        Journal(tx, CHAIN).append(logs, headers_of(logs), [])
    history, config = rows(new), _config()
    new.close()
    with closing(Store(postgres_url)) as store:
        with store.write() as tx:
            config.attributes["connection"] = tx
            command.upgrade(config, "e0005")
            command.upgrade(config, "p0003")
            tx.exec_driver_sql("INSERT INTO store VALUES ('00', 0)")
            for table, told in history.items():
                if table == "logs":  # as the driver wrote them
                    told = [row | {"log_index": signed(row["log_index"])} for row in told]  # noqa: PLW2901
                if told:
                    tx.execute(schema.metadata.tables[table].insert(), told)
            tx.exec_driver_sql(
                "INSERT INTO skips (projection, block_hash, log_index, reason, created_at) "
                "VALUES ('p', '\\x00', -30, 'no', 1), ('p', '\\x00', 30, 'no', 1)"
            )
        migrate(store)
        assert rows(store) == history
        with store.read() as tx:
            assert check_journal(tx, CHAIN).ok
            found = tx.execute(text("SELECT log_index FROM skips ORDER BY log_index")).scalars().all()
        assert found == [30, 0xFFFFFFE2]
        with pytest.raises(StoreError, match="append-only"), store.write() as tx:
            tx.execute(text("UPDATE logs SET log_index = 7"))


def signed(number: object) -> int:
    """What 32 bits hold of it."""
    assert isinstance(number, int)
    return number - 2**32 if number >= 2**31 else number


def test_a_log_may_be_appended_after_the_migration(old: Store) -> None:
    migrate(old)
    with old.write() as tx:
        logs = [log(50)]
        Journal(tx, CHAIN).append(logs, headers_of(logs, "a"), [])
    assert rows(old)["logs"][-1]["block_number"] == 50
    assert set(history_tables.logs.columns.keys()) == set(rows(old)["logs"][-1])
