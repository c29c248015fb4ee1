"""Runs: one that ends says how, one that is killed is written down by the next."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from eventstore import clock
from eventstore.errors import SourceUnavailable
from eventstore.storage.lease import this_process
from eventstore.storage.store import Store
from projections.errors import ConfigurationError
from projections.service.records.runs import SILENCE, Outcome, Run, Runs
from projections.service.runtime.run_recorder import recorded


def listed(store: Store) -> list[Run]:
    with store.read() as tx:
        return Runs(tx).listed(limit=99)


def begin(store: Store, owner: str) -> int:
    with store.write() as tx:
        return Runs(tx).begin("sync", origin="manual", owner=owner)


def dead() -> str:
    """The name of a process of this machine that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    host, namespace, _, nonce = this_process().split("|")
    return f"{host}|{namespace}|{process.pid}|{nonce}"


def test_a_run_that_ends_says_what_it_did_and_how_long_it_took(store: Store) -> None:
    with recorded(store, "sync") as note:
        [begun] = listed(store)
        assert (begun.state, begun.seconds) == ("running", None)
        note("three logs")
    [run] = listed(store)
    assert (run.command, run.origin, run.state, run.detail) == ("sync", "manual", "done", "three logs")
    assert run.seconds is not None
    assert str(os.getpid()) in run.owner


@pytest.mark.parametrize(
    ("error", "state", "detail"),
    [
        (SourceUnavailable("The node is away."), "failed", "The node is away."),
        (ConfigurationError("No such key."), "misused", "No such key."),
        (KeyboardInterrupt(), "interrupted", "It was asked to stop."),
        (ValueError("s3cr3t"), "failed", "An unexpected ValueError ended it."),
    ],
)
def test_a_run_that_fails_says_why(
    sqlite_store: Store, error: BaseException, state: str, detail: str
) -> None:
    with pytest.raises(type(error)), recorded(sqlite_store, "sync"):
        raise error
    [run] = listed(sqlite_store)
    assert (run.state, run.detail) == (state, detail)


@pytest.mark.process
def test_a_run_whose_process_is_dead_shows_as_interrupted_and_the_next_writes_that_down(store: Store) -> None:
    begin(store, dead())
    assert listed(store)[0].state == "interrupted"
    with store.read() as tx:
        assert Runs(tx).last_scheduled("sync") is None
    begin(store, this_process())
    with store.read() as tx:
        rows = tx.exec_driver_sql("SELECT outcome, detail FROM runs ORDER BY id").all()
    assert [tuple(row) for row in rows] == [(-1, "Its process ended before the run did."), (None, "")]


def test_a_run_of_another_machine_is_taken_for_dead_when_it_has_been_silent_for_long(store: Store) -> None:
    number = begin(store, "elsewhere|x|1|a")
    assert listed(store)[0].state == "running"
    with store.write() as tx:
        old = clock.now() - int((SILENCE + 1) * 1e6)
        tx.exec_driver_sql(f"UPDATE runs SET beat_at = {old}")
    assert listed(store)[0].state == "interrupted"
    with store.write() as tx:
        Runs(tx).beat(number)
    assert listed(store)[0].state == "running"


@pytest.mark.process
def test_one_that_was_taken_for_dead_and_lives_knows_better(store: Store) -> None:
    number = begin(store, dead())
    begin(store, this_process())
    with store.write() as tx:
        Runs(tx).end(number, Outcome.DONE, "after all")
    assert [run.state for run in listed(store)] == ["running", "done"]


def test_runs_are_listed_page_by_page_and_by_command(sqlite_store: Store) -> None:
    for command in ("sync", "verify", "sync", "verify sinks", "run"):
        with recorded(sqlite_store, command):
            pass
    with sqlite_store.read() as tx:
        runs = Runs(tx)
        assert [run.id for run in runs.listed(limit=2)] == [5, 4]
        assert [run.id for run in runs.listed(limit=2, before=4)] == [3, 2]
        assert [run.command for run in runs.listed(limit=9, command="verify")] == ["verify sinks", "verify"]
        newest = runs.newest("verify")
    assert newest is not None
    assert newest.id == 2
