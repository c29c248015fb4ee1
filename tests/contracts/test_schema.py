"""The tables that the code names are those that the migrations made: each column, on both engines."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Table, inspect
from sqlalchemy.types import TypeEngine

from eventstore.storage import schema
from eventstore.storage.store import Store
from projections import schema as read_schema

TABLES = {**schema.metadata.tables, **read_schema.metadata.tables}


INTEGERS, NUMBERS = ("SMALLINT", "INTEGER", "BIGINT"), ("REAL", "FLOAT")


def kind(store: Store, type_: TypeEngine[Any]) -> str:
    """The name of a column's type; SQLite has one type of integer and one of fraction, under any name."""
    name = type_.compile(dialect=store.engine.dialect)
    if store.sqlite:
        return "INTEGER" if name in INTEGERS else "REAL" if name in NUMBERS else name
    return {"DOUBLE PRECISION": "FLOAT"}.get(name, name)


def declared(store: Store, table: Table) -> list[tuple[str, str, bool]]:
    return [(column.name, kind(store, column.type), bool(column.nullable)) for column in table.columns]


def made(store: Store, table: Table) -> list[tuple[str, str, bool]]:
    with store.read() as tx:
        return [
            (column["name"], kind(store, column["type"]), column["nullable"])
            for column in inspect(tx).get_columns(table.name)
        ]


@pytest.mark.parametrize("name", sorted(TABLES))
def test_columns_types_and_nullability_are_those_of_the_migrated_database(store: Store, name: str) -> None:
    assert sorted(made(store, TABLES[name])) == sorted(declared(store, TABLES[name]))


@pytest.mark.parametrize("name", sorted(TABLES))
def test_primary_keys_are_those_of_the_migrated_database(store: Store, name: str) -> None:
    with store.read() as tx:
        key = inspect(tx).get_pk_constraint(name)["constrained_columns"]
    assert key == [column.name for column in TABLES[name].primary_key.columns]


def test_every_table_of_the_migrated_database_is_declared(store: Store) -> None:
    with store.read() as tx:
        assert set(inspect(tx).get_table_names()) - {"alembic_version"} == set(TABLES)
