"""`chainfold events`: history as an auditor asks for it, in every form."""

from __future__ import annotations

import csv
import io
from typing import Any

import msgspec
import pytest

from eventstore.sources.simulated.chain import Emission, SimulatedChain
from eventstore.sources.simulated.node import SimulatedNode
from tests.end_to_end.site import CONTRACT, SIGNATURE, Site, Workshop, register
from tests.servers.postgres import database
from tests.stores import ENGINES

OTHER = bytes.fromhex("52" * 20)


@pytest.fixture(scope="module", params=ENGINES)
def site(request: pytest.FixtureRequest, workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Blocks 1 to 5 with a registration each; entry 2 takes 4 and 5 off the chain, 6 and 7 are new; in 3
    there is an event that is not declared."""
    chain = SimulatedChain(seed=9)
    chain.mine(logs=[register(2, 1)])
    chain.mine(logs=[register(3, 1)])
    chain.mine(logs=[register(4, 1), Emission(OTHER, (bytes([7]) * 32,), b"\x01")])
    chain.mine(logs=[register(50, 1)])
    chain.mine(logs=[register(51, 1)])

    def build(url: str) -> Site:
        with SimulatedNode(chain) as node:
            made = Site(workshop, tmp_path_factory.mktemp("site") / "here", rpc=node.url, store={"url": url})
            made.set(
                "contracts.other", {"chain": "main", "address": "0x" + OTHER.hex(), "events": [SIGNATURE]}
            )
            assert made.run("sync").code == 0
            chain.reorg(depth=2)
            chain.mine(logs=[register(60, 1)])
            chain.mine(logs=[register(61, 1)])
            assert made.run("sync").code == 0
        return made

    if request.param == "sqlite":
        yield build("sqlite:///store.db")
        return
    with database(request.getfixturevalue("postgres_server")) as url:
        yield build(url)


def asked(site: Site, *arguments: str) -> list[dict[str, Any]]:
    done = site.run("events", *arguments, "--json")
    assert done.code == 0, done.err
    found: list[dict[str, Any]] = done.json()
    return found


def users(found: list[dict[str, Any]]) -> list[int]:
    return [int(item["args"]["user"], 16) for item in found if item["args"]]


def test_it_shows_what_is_on_the_chain_decoded_and_raw(site: Site) -> None:
    found = asked(site)
    assert users(found) == users(asked(site, "--canonical")) == [2, 3, 4, 60, 61]
    first = found[0]
    assert (first["event"], first["args"]["referrer"]) == ("ReferralRegistered", "0x" + f"{1:040x}")
    assert (first["chain"], first["block"], first["log_index"], first["entry"]) == ("main", 1, 0, 1)
    assert (len(first["topics"]), len(first["data"]), first["orphaned_by"]) == (3, 66, None)
    assert first["recorded_at"].endswith("Z")
    [raw] = [item for item in found if item["event"] is None]
    assert (raw["address"], raw["args"], raw["data"]) == ("0x" + OTHER.hex(), {}, "0x01")


def test_what_left_the_chain_says_by_which_entry_and_when(site: Site) -> None:
    found = asked(site, "--orphaned")
    assert users(found) == [50, 51]
    assert all(item["orphaned_by"] == 2 and item["orphaned_at"] > item["recorded_at"] for item in found)
    assert users(asked(site, "--all")) == [2, 3, 4, 50, 51, 60, 61]


def test_what_was_known_at_an_entry(site: Site) -> None:
    assert users(asked(site, "--as-of", "1")) == [2, 3, 4, 50, 51]
    assert users(asked(site, "--as-of", "2")) == [2, 3, 4]
    assert users(asked(site, "--as-of", "2", "--orphaned")) == [50, 51]
    assert asked(site, "--as-of", "1", "--orphaned") == asked(site, "--as-of", "0") == []


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("--user", f"0x{60:040x}"), [60]),
        (("--user", f"0x{60:040X}".replace("0X", "0x")), [60]),
        (("--from-block", "2", "--to-block", "3"), [3, 4]),
        (("--address", "0x" + CONTRACT.hex().upper()), [2, 3, 4, 60, 61]),
        (("--address", "0x" + OTHER.hex()), []),
        (("--contract", "referral"), [2, 3, 4, 60, 61]),
        (("--contract", "other", "--address", "0x" + CONTRACT.hex()), []),
        (("--event", "ReferralRegistered"), [2, 3, 4, 60, 61]),
        (("--event", "ReferralRegistered", "--contract", "other"), []),
        (("--chain", "main", "--limit", "2"), [2, 3]),
        (("--limit", "5", "--event", "ReferralRegistered"), [2, 3, 4, 60, 61]),
    ],
    ids=str,
)
def test_a_question(site: Site, arguments: tuple[str, ...], found: list[int]) -> None:
    assert users(asked(site, *arguments)) == found


def test_a_transaction(site: Site) -> None:
    wanted = asked(site)[1]
    assert asked(site, "--tx", wanted["tx_hash"]) == [wanted]


def test_the_forms_tell_the_same(site: Site) -> None:
    whole = asked(site, "--all")
    lines = site.run("events", "--all", "--format", "jsonl").out.splitlines()
    assert [msgspec.json.decode(line) for line in lines] == whole
    rows = list(csv.DictReader(io.StringIO(site.run("events", "--all", "--format", "csv").out)))
    assert [
        {
            **row,
            "args": msgspec.json.decode(row["args"]) if row["args"] else {},
            "marks": msgspec.json.decode(row["marks"]) if row["marks"] else {},
            "topics": row["topics"].split(),
        }
        for row in rows
    ] == [
        {
            key: value if key in ("args", "marks", "topics") else "" if value is None else str(value)
            for key, value in item.items()
        }
        for item in whole
    ]
    shown = site.run("events", "--all").out.splitlines()
    assert len(shown) == len(whole) + 1
    assert f"ReferralRegistered(user=0x{50:040x}" in shown[5]


def test_what_is_cut_is_said(site: Site) -> None:
    for form in ("table", "json", "jsonl", "csv"):
        done = site.run("events", "--limit", "2", "--format", form)
        assert "The first 2; see more with --limit or --from-block." in done.err
        assert "The first" not in done.out
        assert site.run("events", "--limit", "6", "--format", form).err == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--address", "0x12"), "--address 0x12 is not 0x and 40 hexadecimal digits."),
        (("--user", "0x" + "g" * 40), "is not 0x and 40 hexadecimal digits."),
        (("--tx", "0x" + "a" * 63), "is not 0x and 64 hexadecimal digits."),
        (("--orphaned", "--all"), "--canonical, --orphaned and --all exclude each other."),
        (("--from-block", "5", "--to-block", "4"), "--from-block 5 is above --to-block 4."),
        (("--chain", "moon"), "There is no chain moon. Known are: main."),
        (("--contract", "moon"), "There is no contract moon."),
        (("--event", "Moon"), "No contract declares an event Moon. Declared are: ReferralRegistered."),
        (("--as-of", "99"), "The journal of main ends at entry 3, before 99."),
    ],
    ids=str,
)
def test_a_question_that_is_none_is_one_sentence(site: Site, arguments: tuple[str, ...], said: str) -> None:
    done = site.run("events", *arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.complaint
