"""`sync --force`: blocks that are covered are fetched again, compared, and repaired; nothing is deleted."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.node import SimulatedNode
from tests.end_to_end.site import Command, Site, Workshop, bare, expected, grow, in_mongo, in_sql, register
from tests.servers.mongo import Mongo

OLD = 20
"""A block, long final, whose logs the node does not tell right at first."""


@pytest.fixture
def chain() -> SimulatedChain:
    made = SimulatedChain(seed=3)
    random = Random(3)
    grow(made, random, OLD - 1, users=60)
    made.mine(logs=[register(user, user + 1) for user in range(100, 106)])
    grow(made, random, 40, users=60)
    made.finalize(50)
    return made


@pytest.fixture
def node(chain: SimulatedChain) -> Iterator[SimulatedNode]:
    with SimulatedNode(chain) as made:
        yield made


@pytest.fixture
def site(node: SimulatedNode, tmp_path: Path, workshop: Workshop, mongo: Mongo) -> Site:
    made = Site(workshop, tmp_path / "site", rpc=node.url)
    made.publish(mongo=(mongo.url, mongo.database))
    return made


def synced(site: Site, *arguments: str) -> str:
    done = site.run("sync", *arguments)
    assert done.code == 0, done.err
    return done.out


def right(site: Site, chain: SimulatedChain, mongo: Mongo) -> None:
    found = in_sql(site)
    assert bare(found) == expected(chain)
    assert in_mongo(mongo.url, mongo.database) == found


def entries(site: Site, block: int) -> set[int]:
    """In which entries the journal learned of a block's living logs."""
    done = site.run("events", "--from-block", str(block), "--to-block", str(block), "--json")
    return {item["entry"] for item in done.json()}


@pytest.fixture
def deceived(site: Site, chain: SimulatedChain, node: SimulatedNode) -> Site:
    """It has believed a node that withheld two logs of the old block."""
    node.faults.withheld = {(OLD, 1), (OLD, 4)}
    synced(site)
    assert bare(in_sql(site)) != expected(chain)
    node.faults.withheld = set()
    synced(site)
    assert bare(in_sql(site)) != expected(chain), "nothing in an answer tells what it leaves out"
    return site


def test_logs_that_a_node_withheld_are_found_and_appended_and_every_projection_follows(
    deceived: Site, chain: SimulatedChain, mongo: Mongo
) -> None:
    [first] = entries(deceived, OLD)
    said = synced(deceived, "--from", "10", "--to", "30", "--force")
    assert "2 logs were missing and are appended, in block 20" in said
    right(deceived, chain, mongo)
    later = entries(deceived, OLD) - {first}
    assert later, "the journal shows when it learned of them"
    assert min(later) > first


def test_a_second_resync_finds_the_same_and_writes_nothing(deceived: Site) -> None:
    synced(deceived, "--force")
    before = deceived.run("status", "--json").json()["chains"]["main"]["entries"]
    assert "the journal holds the same" in synced(deceived, "--force")
    assert deceived.run("status", "--json").json()["chains"]["main"]["entries"] == before


def test_a_range_without_force_trusts_what_is_covered(deceived: Site, chain: SimulatedChain) -> None:
    synced(deceived, "--from", "10", "--to", "30")
    assert bare(in_sql(deceived)) != expected(chain)


def test_a_range_that_was_refused_is_a_gap_that_says_why_and_force_fills_it(
    site: Site, chain: SimulatedChain, node: SimulatedNode, mongo: Mongo
) -> None:
    """Two logs at one index of a block are not an answer to any request."""
    chain.finalize(chain.head().number)
    node.faults.log_index_reset = True
    done = site.run("sync", "--json")
    assert done.code == 1
    gaps = done.json()["failed"]
    assert gaps
    assert all("was given twice" in gap["reason"] for gap in gaps)
    listed = site.run("failures", "list", "--json").json()
    assert [(item["state"], item["first_block"]) for item in listed] == [
        ("gap", gap["first_block"]) for gap in gaps
    ]
    status = site.run("status", "--json").json()["chains"]["main"]
    assert [gap["first_block"] for gap in status["gaps"]] == [gap["first_block"] for gap in gaps]
    assert status["calls"]["eth_getLogs"] > len(gaps)
    node.faults.log_index_reset = False
    synced(site, "--force")
    right(site, chain, mongo)


def test_gaps_are_asked_for_again_when_a_command_says_so(
    site: Site, chain: SimulatedChain, node: SimulatedNode, mongo: Mongo
) -> None:
    chain.finalize(chain.head().number)
    node.faults.pruned_below = 30
    assert site.run("sync").code == 1
    node.faults.pruned_below = None
    while site.run("failures", "list", "--json").json():
        assert "failed ranges are due now" in site.run("failures", "retry").out
        site.run("sync")
    synced(site)
    right(site, chain, mongo)


def test_a_node_that_withholds_now_does_not_make_the_journal_forget(
    site: Site, chain: SimulatedChain, node: SimulatedNode, mongo: Mongo
) -> None:
    synced(site)
    node.faults.withheld = {(OLD, 1), (OLD, 4)}
    done = site.run("sync", "--force")
    assert "withholds logs that the bloom speaks of: block 20" in done.out
    right(site, chain, mongo)


def test_only_one_contract_is_fetched_where_one_is_named(deceived: Site, chain: SimulatedChain) -> None:
    deceived.set(
        "contracts.other",
        {**deceived.settings["contracts"]["referral"], "address": "0x" + "77" * 20, "start_block": 60},
    )
    said = synced(deceived, "--force", "--contract", "other")
    assert "with 0 logs fetched again" in said
    assert "2 logs were missing" in synced(deceived, "--force", "--contract", "referral")
    assert deceived.run("sync", "--force", "--contract", "unknown").complaint == (
        "There is no contract unknown. Known are: referral, other."
    )


def test_a_running_service_does_it_when_a_command_asks(
    deceived: Site, chain: SimulatedChain, mongo: Mongo
) -> None:
    service = deceived.start("run")
    wait_until_held(deceived, service)
    said = synced(deceived, "--from", "10", "--to", "30", "--force")
    assert "2 logs were missing and are appended, in block 20" in said
    assert "The running service folds and publishes what was found." in said
    while in_mongo(mongo.url, mongo.database) != in_sql(deceived) or bare(in_sql(deceived)) != expected(
        chain
    ):
        assert service.runs, service.complaints
    service.signal(signal.SIGTERM)
    assert service.end().code == 0
    right(deceived, chain, mongo)


def wait_until_held(site: Site, service: Command) -> None:
    """The service has begun to work: another sync says so."""
    while site.run("sync", "--tries", "1").code == 0:
        assert service.runs, service.complaints
