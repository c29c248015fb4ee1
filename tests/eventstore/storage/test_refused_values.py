"""A value that the database cannot hold is named as such, on both engines and on every road into them; a
store that is away still is."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from random import Random

import pytest
from sqlalchemy import BigInteger, Column, Connection, MetaData, Table, Text, text

from eventstore.errors import DataRefused, StoreError, StoreUnavailable
from eventstore.storage import bulk
from eventstore.storage.store import Store

WIDE = 2**63


def by_statement(tx: Connection, column: str, value: object) -> None:
    tx.execute(text(f"INSERT INTO held ({column}) VALUES (:value)"), {"value": value})


def by_driver(tx: Connection, column: str, value: object) -> None:
    tx.exec_driver_sql(
        f"INSERT INTO held ({column}) VALUES ({'?' if tx.dialect.name == 'sqlite' else '%s'})", (value,)
    )


def in_bulk(tx: Connection, column: str, value: object) -> None:
    bulk.insert(tx, HELD[column], [(value,)])


HELD = {
    name: Table("held", MetaData(), Column(name, kind))
    for name, kind in (("number", BigInteger()), ("name", Text()), ("key", Text()))
}
"""The table `held` below, of one column each."""

ROADS = [by_statement, by_driver, in_bulk]

UNFIT: list[tuple[str, object]] = [
    ("number", WIDE),
    ("number", -WIDE - 1),
    ("number", 2**300),
    ("name", "half of a pair: \ud83d"),
]
"""What neither engine holds."""

UNFIT_IN_POSTGRESQL: list[tuple[str, object]] = [
    ("name", "a\x00b"),
    ("key", "\x00"),
    ("key", "".join(Random(7).choices("abcdefghijklmnop", k=1_000_000))),
]


@pytest.fixture
def held(store: Store) -> Store:
    with store.write() as tx:
        tx.execute(text("CREATE TABLE held (number BIGINT, name TEXT, key TEXT)"))
        tx.execute(text("CREATE INDEX held_key ON held (key)"))
    return store


@pytest.mark.parametrize("road", ROADS)
def test_a_value_that_no_column_holds_is_refused_by_name(
    held: Store, road: Callable[[Connection, str, object], None]
) -> None:
    cases = UNFIT if held.sqlite else UNFIT + UNFIT_IN_POSTGRESQL
    for column, value in cases:
        with pytest.raises(DataRefused) as caught, held.write() as tx:
            road(tx, column, value)
        assert not caught.value.retry
        assert "not available" not in str(caught.value)
        assert caught.value.__cause__ is not None
        with held.write() as tx:  # the store goes on, and nothing of it was written
            assert tx.execute(text("SELECT count(*) FROM held")).scalar_one() == 0


@pytest.mark.parametrize(
    ("sqlite", "postgresql"),
    [
        ("SELECT abs(-9223372036854775807 - 1)", "SELECT abs(-9223372036854775808::bigint)"),
        ("SELECT json('{')", "SELECT '{'::json"),
        ("SELECT sum(x) FROM (SELECT 9223372036854775807 AS x UNION ALL SELECT 1)", "SELECT 1 / 0"),
        ("SELECT zeroblob(2000000000)", "SELECT repeat('x', 2000000000)"),
        ("SELECT " + "+".join("1" * 2000), "SELECT chr(0)"),
    ],
)
def test_a_statement_that_fails_of_its_data_is_no_store_that_is_away(
    store: Store, sqlite: str, postgresql: str
) -> None:
    with pytest.raises(DataRefused), store.write() as tx:
        tx.execute(text(sqlite if store.sqlite else postgresql)).all()


@pytest.mark.parametrize("state", ["08006", "57P01", "53100", "40001", "55P03", "XX000"])
def test_what_is_no_error_of_data_still_may_heal(postgres_store: Store, state: str) -> None:
    with pytest.raises(StoreUnavailable), postgres_store.write() as tx:
        tx.execute(text(f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END $$"))


@pytest.mark.parametrize(
    "state", ["22003", "22021", "22P05", "22001", "22012", "22P02", "54000", "54001", "54023"]
)
def test_every_error_of_data_is_told_as_one(postgres_store: Store, state: str) -> None:
    with pytest.raises(DataRefused), postgres_store.write() as tx:
        tx.execute(text(f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END $$"))


def test_a_locked_file_still_may_heal(sqlite_store: Store) -> None:
    path = sqlite_store.engine.url.database
    other = sqlite3.connect(str(path))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable), sqlite_store.read() as tx:
        tx.exec_driver_sql("PRAGMA busy_timeout = 1")
        tx.execute(text("UPDATE store SET created_at = 0"))
    other.rollback()
    other.close()


def test_a_constraint_is_neither(store: Store) -> None:
    with pytest.raises(StoreError) as caught, store.write() as tx:
        tx.execute(text("INSERT INTO progress (chain_id) VALUES (1)"))
    assert type(caught.value) is StoreError
