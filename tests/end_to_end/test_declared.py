"""What is fetched of a contract, and when: all its topics at once, or those of the declared events."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventstore.sources.simulated.chain import Emission, SimulatedChain
from eventstore.sources.simulated.node import SimulatedNode
from projections.decoding.event import parse
from tests.end_to_end.site import CONTRACT, SIGNATURE, Site, Workshop, bare, in_sql, register
from tests.folding import address
from tests.oracle import plain

REMOVED = "ReferralRemoved(address indexed user)"
SECOND = bytes.fromhex("52" * 20)
REVERSED = "ReferralRegistered(address indexed user, address indexed referrer)"
SWAPPED = {"user": "referrer", "referrer": "user"}
"""The second contract says `user` for who referred, and `referrer` for who was: as some do."""

EVENTS = [(1, 2), (2, 3), (4, 2), (5, 1), (2, None), (6, 5), (5, None)]
"""(user, referrer), or (user, None) for who leaves."""


def left(user: int) -> Emission:
    return Emission(CONTRACT, (parse(REMOVED).topic0, user.to_bytes(32, "big")))


def invited(user: int, referrer: int) -> Emission:
    topics = (parse(REVERSED).topic0, referrer.to_bytes(32, "big"), user.to_bytes(32, "big"))
    return Emission(SECOND, topics)


@pytest.fixture
def chain() -> SimulatedChain:
    made = SimulatedChain()
    for user, referrer in EVENTS:
        made.mine(logs=[left(user) if referrer is None else register(user, referrer)])
    made.mine(20)
    made.finalize(18)
    return made


def wanted(*, leaving: bool) -> dict[str, object]:
    events = [event for event in EVENTS if leaving or event[1] is not None]
    return {
        key: {**document, "referralTimestamp": document["referralTimestamp"]}
        for key, document in plain(
            (address(user), None if referrer is None else address(referrer), 7, 0)
            for user, referrer in events
        ).items()
    }


def test_an_event_declared_later_finds_its_history_without_a_request(
    chain: SimulatedChain, tmp_path: Path, workshop: Workshop
) -> None:
    with SimulatedNode(chain) as node:
        site = Site(workshop, tmp_path / "site", rpc=node.url)
        assert site.run("sync").code == 0
        assert bare(in_sql(site)) == wanted(leaving=False)
        [unhandled] = site.run("status", "--json").json()["chains"]["main"]["unhandled"]
        assert unhandled["topic0"] == "0x" + parse(REMOVED).topic0.hex()
        site.set("contracts.referral.events", [SIGNATURE, REMOVED])
        assert site.run("status", "--json").json()["chains"]["main"]["unhandled"] == []
        asked = node.calls.total()
        done = site.run("rebuild", "referrals")
        assert done.code == 0, done.err
        assert node.calls.total() == asked
        assert bare(in_sql(site)) == wanted(leaving=True)


def test_of_declared_topics_only_those_are_fetched_and_a_later_one_backfills_itself(
    chain: SimulatedChain, tmp_path: Path, workshop: Workshop
) -> None:
    with SimulatedNode(chain) as node:
        site = Site(workshop, tmp_path / "site", rpc=node.url)
        site.set("contracts.referral.topics", "declared")
        done = site.run("sync", "--json")
        assert done.json()["appended"] == sum(referrer is not None for _, referrer in EVENTS)
        site.set("contracts.referral.events", [SIGNATURE, REMOVED])
        done = site.run("sync", "--json")
        assert done.json()["appended"] == sum(referrer is None for _, referrer in EVENTS)
        assert site.run("rebuild", "referrals").code == 0
        assert bare(in_sql(site)) == wanted(leaving=True)


def test_two_contracts_with_their_roles_reversed_feed_one_graph(
    chain: SimulatedChain, tmp_path: Path, workshop: Workshop
) -> None:
    for user, referrer in ((7, 1), (8, 7), (1, 8)):
        chain.mine(logs=[invited(user, referrer)])
    with SimulatedNode(chain) as node:
        site = Site(workshop, tmp_path / "site", rpc=node.url)
        site.set(
            "contracts.second",
            {"chain": "main", "address": "0x" + SECOND.hex(), "start_block": 20, "events": [REVERSED]},
        )
        site.settings["projections"]["referrals"] = {
            "projector": "referrals",
            "from": [{"contract": "referral"}, {"contract": "second", "roles": SWAPPED}],
        }
        site.write()
        done = site.run("sync")
        assert done.code == 0, done.err
        found = {key: document["directReferrer"] for key, document in in_sql(site).items()}
    assert {key: found[address(key)] for key in (1, 2, 4, 5, 6, 7, 8)} == {
        1: address(8),
        2: address(3),
        4: address(2),
        5: address(1),
        6: address(5),
        7: address(1),
        8: address(7),
    }


def test_several_chains_of_one_configuration_are_followed_side_by_side(
    chain: SimulatedChain, tmp_path: Path, workshop: Workshop
) -> None:
    other = SimulatedChain(chain_id=5, seed=5)
    for user in range(40, 45):
        other.mine(logs=[register(user, user + 1)])
    with SimulatedNode(chain) as node, SimulatedNode(other) as second:
        site = Site(workshop, tmp_path / "site", rpc=node.url)
        site.set("chains.five", {"rpc": [second.url], "chain_id": 5})
        site.set(
            "contracts.there",
            {"chain": "five", "address": "0x" + CONTRACT.hex(), "events": [SIGNATURE]},
        )
        site.set("projections.there", {"projector": "referrals", "contract": "there"})
        done = site.run("sync")
        assert done.code == 0, done.err
        assert bare(in_sql(site)) == wanted(leaving=False)
        status = site.run("status", "--json").json()
    assert status["projections"]["there"]["documents"] == 6
    assert status["chains"]["five"]["logs"] == 5
    assert status["chains"]["main"]["logs"] == len(EVENTS)
