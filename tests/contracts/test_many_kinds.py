"""As many kinds of log as an anonymous event has first parameters: more than a statement takes values."""

from __future__ import annotations

import sqlite3
from typing import Any

from sqlalchemy import Connection

from eventstore.journal.by_kind import LISTED
from eventstore.journal.history import Question, ask
from eventstore.journal.journal import Journal
from eventstore.records import Filter
from eventstore.storage.store import Store
from tests.blocks import ALICE, headers_of, log

CHAIN = 1
KINDS = 2 * LISTED + 7
FEWER = LISTED + 10
"""Values that SQLite is allowed to be given in these tests: it may be built with as few as 999."""


def narrow(tx: Connection) -> None:
    if tx.dialect.name == "sqlite":
        driver: Any = tx.connection.driver_connection
        driver.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, FEWER)


def test_more_kinds_than_a_statement_takes_values_are_read_counted_and_asked_for(store: Store) -> None:
    logs = [log(1 + place // 100, place, topics=(place.to_bytes(32, "big"),)) for place in range(KINDS)]
    with store.write() as tx:
        Journal(tx, CHAIN).append(logs, headers_of(logs, "a"))
        Journal(tx, CHAIN).orphan(10)
    left = [item for item in logs if item.block_number < 10]
    with store.read() as tx:
        narrow(tx)
        journal = Journal(tx, CHAIN)
        kinds = journal.kinds([Filter(ALICE)])
        assert len(kinds) == KINDS
        for limit in (50, 5_000):
            after, found = -1, []
            while after < 100:
                page = journal.read(kinds, after=after, to=100, limit=limit)
                found += [(item.block_number, item.log_index) for item in page.logs]
                after = page.through
            assert found == [(item.block_number, item.log_index) for item in left]
        assert journal.count(kinds, after=-1, to=100) == len(left)
        assert journal.lowest_change(0, kinds) == 1
        assert journal.lowest_change(1, kinds) == 10
        shown = [row.log for row in ask(tx, CHAIN, Question(filters=(Filter(ALICE),)))]
        assert shown == left
