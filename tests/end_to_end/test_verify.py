"""`chainfold verify`: what differs is named, and the exit code says so."""

from __future__ import annotations

import sqlite3

import pytest

from eventstore.sources.simulated import SimulatedChain
from eventstore.sources.simulated_node import SimulatedNode
from tests.end_to_end.site import Site, Workshop, register


@pytest.fixture
def synced(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site whose ten registrations are folded, without sinks, and whose node is gone."""
    chain = SimulatedChain()
    chain.mine(logs=[register(user, 1) for user in range(2, 12)])
    with SimulatedNode(chain) as node:
        site = Site(workshop, tmp_path_factory.mktemp("site") / "here", rpc=node.url)
        assert site.run("sync").code == 0
    return site


def test_a_journal_that_is_whole_passes(synced: Site) -> None:
    done = synced.run("verify", "journal", "--json")
    assert done.code == 0, done.err
    [check] = done.json()["checks"]
    assert (done.json()["ok"], check["name"], check["ok"]) == (True, "journal main", True)
    assert (check["checked"], check["found"], check["differences"]) == (10, 0, [])
    assert synced.run("verify", "journal").out == "journal main: ok, 10 looked at\n"


def test_one_byte_that_was_changed_is_named_by_its_entry(synced: Site) -> None:
    with sqlite3.connect(synced.folder / "store.db") as connection:
        connection.execute("DROP TRIGGER logs_refuse_update")
        connection.execute("UPDATE logs SET data = x'00' WHERE log_index = 3")
    connection.close()
    done = synced.run("verify", "journal")
    assert done.code == 3, done.err
    assert "journal main: 1 differs, 10 looked at" in done.out
    assert "entry 1: its rows are not what they were when it was written" in done.out
    assert "chainfold sync --force" in done.out


def test_a_check_that_there_is_not_is_wrong_use(synced: Site) -> None:
    done = synced.run("verify", "everything")
    assert (done.code, done.complaint.split(" Known are ")[0]) == (2, "everything is no check.")
