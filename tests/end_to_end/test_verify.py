"""`chainfold verify`: what differs is named, and the exit code says so."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.node import Faults, SimulatedNode
from eventstore.storage.store import Store
from projections.service.records.incidents import Incidents, Key
from tests.end_to_end.site import (
    Command,
    Site,
    Workshop,
    bare,
    expected,
    in_sql,
    register,
    registrations,
)


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


def test_a_check_that_cannot_be_made_holds_up_no_other(synced: Site) -> None:
    """The node is gone: the journal is looked at all the same, and the exit code says that not all was."""
    done = synced.run("verify", "--json")
    assert done.code == 1, done.err
    checks = {check["name"]: check for check in done.json()["checks"]}
    assert checks["journal main"]["ok"]
    assert "cannot be reached" in checks["events main"]["error"], checks["events main"]
    assert not checks["events main"]["ok"]


def test_a_check_that_there_is_not_is_wrong_use(synced: Site) -> None:
    done = synced.run("verify", "everything")
    assert (done.code, done.complaint.split(" Known are ")[0]) == (2, "everything is not a check.")


@pytest.fixture
def lying(workshop: Workshop, tmp_path: Path) -> Iterator[tuple[Site, SimulatedNode]]:
    """A site over a chain that commits to its logs, whose node kept one registration back."""
    chain = SimulatedChain(sealed=True)
    for number in range(40):
        chain.mine(logs=registrations(Random(number), 4, users=2_000))
    chain.finalize(36)
    with SimulatedNode(chain, faults=Faults(withheld={(17, 2)}, receipts_honest=True)) as node:
        site = Site(workshop, tmp_path / "here", rpc=node.url)
        assert site.run("sync").code == 0
        yield site, node


def test_a_log_that_a_node_kept_back_is_proved_missing_and_repaired(
    lying: tuple[Site, SimulatedNode],
) -> None:
    site, node = lying
    assert bare(in_sql(site)) != expected(node.chain)
    done = site.run("verify", "events", "--json")
    assert done.code == 3, done.err
    [check] = done.json()["checks"]
    assert check["differences"] == [{"what": "block 17", "detail": "log 2 is missing"}]
    assert check["checked"] == 36
    status = site.run("status", "--json").json()["chains"]["main"]
    assert (status["proven_from"], status["proven_to"]) == (18, 36)
    assert "1 blocks are not what the chain committed to, the first is 17" in status["error"]
    assert "18 to 36" in site.run("status").out

    done = site.run("verify", "events", "--repair", "--json")  # the node's receipts are honest
    assert done.code == 0, done.err
    [check] = done.json()["checks"]
    assert (check["ok"], check["found"], check["repaired"]) == (True, 1, 1)
    node.faults.withheld = set()
    assert site.run("sync").code == 0
    assert bare(in_sql(site)) == expected(node.chain)
    status = site.run("status", "--json").json()["chains"]["main"]
    assert (status["proven_from"], status["proven_to"], status["error"]) == (0, 36, None)
    assert site.run("verify", "events").out == "events main: ok, 37 looked at\n"


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        ({"altered": {(17, 2)}}, "log 2 differs in data"),
        ({"invented": {17}}, "log 4 is not on the chain"),
    ],
    ids=["altered", "invented"],
)
def test_a_log_that_a_node_altered_or_invented_is_proved_wrong_and_every_projection_follows_the_repair(
    workshop: Workshop, tmp_path: Path, lie: dict[str, Any], said: str
) -> None:
    chain = SimulatedChain(sealed=True)
    for number in range(40):
        chain.mine(logs=registrations(Random(number), 4, users=2_000))
    chain.finalize(36)
    with SimulatedNode(chain, faults=Faults(**lie, receipts_honest=True)) as node:
        site = Site(workshop, tmp_path / "here", rpc=node.url)
        assert site.run("sync").code == 0
        [check] = site.run("verify", "events", "--json").json()["checks"]
        assert check["differences"] == [{"what": "block 17", "detail": said}]
        for name in lie:
            setattr(node.faults, name, set())
        assert site.run("verify", "events", "--repair").code == 0
        assert site.run("sync").code == 0
        assert bare(in_sql(site)) == expected(chain)
        assert site.run("verify", "events", "documents").code == 0


def test_a_running_service_proves_in_the_background_and_repairs_when_asked(
    lying: tuple[Site, SimulatedNode],
) -> None:
    site, node = lying
    site.set("chains.main.prove", True)
    service = site.start("run")
    until(lambda: "wrong" in service.complaints, "the service has proved a block wrong", service)
    assert "block=17" in service.complaints
    node.faults.withheld = set()
    done = site.run("verify", "events", "--repair", "--json")  # the prover is asked, and the ingester
    assert done.code == 0, done.err
    assert [check["repaired"] for check in done.json()["checks"]] == [1]
    service.signal(signal.SIGTERM)
    assert service.end().code == 0
    assert site.run("sync").code == 0
    assert site.run("verify", "events").code == 0
    assert bare(in_sql(site)) == expected(node.chain)


def until(condition: Callable[[], bool], what: str, service: Command) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert service.runs, service.end()
        assert time.monotonic() < deadline, f"in vain: {what}\n{service.complaints}"
        time.sleep(0.05)


# --- what could not be looked at is never ok ---


def test_a_chain_with_quirks_is_not_ok_unless_the_configuration_accepts_that(
    workshop: Workshop, tmp_path: Path
) -> None:
    chain = SimulatedChain(chain_id=137, sealed=True)
    chain.mine(logs=registrations(Random(1), 4, users=2_000))
    chain.mine(9)
    chain.finalize(8)
    with SimulatedNode(chain) as node:
        site = Site(workshop, tmp_path / "here", rpc=node.url)
        site.set("chains.main.chain_id", 137)
        assert site.run("sync").code == 0
        done = site.run("verify", "events", "--json")
        assert (done.code, done.json()["ok"]) == (1, False)
        [check] = done.json()["checks"]
        assert (check["ok"], check["checked"]) == (False, 0)
        assert check["error"].startswith("Nothing can be proved on this chain: logs of state-sync")
        site.set("chains.main.accept_unproven", True)
        done = site.run("verify", "events")
        assert done.code == 0
        assert "ok, 0 looked at" not in done.out
        assert done.out.startswith(
            "events main: nothing to compare\n   chains.main.accept_unproven: Nothing can be"
        )


@pytest.mark.parametrize("name", ["events", "journal", "documents", "sinks"])
def test_where_nothing_was_looked_at_nothing_is_ok(name: str, workshop: Workshop, tmp_path: Path) -> None:
    with SimulatedNode(SimulatedChain()) as node:
        site = Site(workshop, tmp_path / "here", rpc=node.url)
        done = site.run("verify", name, "--json")
    assert (done.code, done.json()["ok"]) == (1, False)
    [check] = done.json()["checks"]
    assert check["error"], check


def test_documents_of_other_code_are_looked_at_and_are_not_ok(synced: Site) -> None:
    """Their digest and index are; folded again they cannot be."""
    synced.set("projections.referrals.poison", "quarantine")
    done = synced.run("verify", "documents")
    assert done.code == 1
    assert done.out.startswith(
        "documents referrals: not all could be checked, 11 looked at: They were built by other"
    )


def test_an_open_incident_is_an_exit_code(synced: Site) -> None:
    assert synced.run("status", "--check").code == 0
    with closing(Store(f"sqlite:///{synced.folder}/store.db")) as store, store.write() as tx:
        Incidents(tx).open(Key("source-failing", "main"), "it is away", now=1)
    assert synced.run("status", "--check").code == 1
    assert synced.run("status").code == 0
