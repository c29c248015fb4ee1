"""A statement is parsed once, and sharing it is safe."""

from __future__ import annotations

from sqlalchemy import bindparam

from eventstore.storage.sql import text


def test_a_statement_is_parsed_once() -> None:
    assert text("SELECT :a") is text("SELECT :a")
    assert text("SELECT :a") is not text("SELECT :b")


def test_parameters_that_are_bound_are_those_of_a_copy() -> None:
    shared = text("SELECT :keys")
    bound = shared.bindparams(bindparam("keys", expanding=True))
    assert bound is not shared
    assert not shared._bindparams["keys"].expanding
