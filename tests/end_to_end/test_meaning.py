"""Contracts whose first topics do not say everything: each log is one event to sync, events and export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from eventstore.sources.simulated.chain import Emission, SimulatedChain
from eventstore.sources.simulated.node import SimulatedNode
from projections.decoding.event import parse
from projections.service.status.projections import served_documents
from tests.end_to_end.site import CONTRACT, Site, Workshop

LEDGER = '''
from msgspec import Struct

from projections.projectors import Projector, handles


class Line(Struct, frozen=True):
    """One event."""

    place: str
    said: str


class Ledger(Projector):
    """Writes down which event each log was."""

    document = Line
    key = "place"

    def note(self, event, lines, said):
        place = f"{event.block.number}:{event.log_index}"
        lines.put(place, Line(place, said))

    @handles("Transfer(address indexed from, address indexed to, uint256 value)")
    def paid(self, event, lines):
        self.note(event, lines, f"Transfer value={event.value}")

    @handles("Transfer(address indexed from, address indexed to, uint256 indexed tokenId)")
    def given(self, event, lines):
        self.note(event, lines, f"Transfer tokenId={event.tokenId}")

    @handles("Moved(address who, address to)")
    def moved(self, event, lines):
        self.note(event, lines, f"Moved who={event.who} to={event.to}")

    @handles("Note(bytes4 indexed sig, uint256 wad)")
    def noted(self, event, lines):
        self.note(event, lines, f"Note sig=0x{event.sig.hex()} wad={event.wad}")
'''

ERC20 = "Transfer(address indexed from, address indexed to, uint256 value)"
ERC721 = "Transfer(address indexed from, address indexed to, uint256 indexed tokenId)"
OLD, NEW = "Moved(address indexed who, address to)", "Moved(address who, address indexed to)"
NOTE = "Note(bytes4 indexed sig, uint256 wad) anonymous"
APPROVAL = "Approval(address indexed owner, address indexed spender, uint256 value)"


def word(number: int) -> bytes:
    return number.to_bytes(32, "big")


def address(number: int) -> str:
    return f"0x{number:040x}"


def emitted(topics: list[bytes], data: bytes = b"") -> Emission:
    return Emission(CONTRACT, tuple(topics), data)


TRANSFER, MOVED = parse(ERC20).topic0, parse(OLD).topic0
BEFORE = [
    (emitted([TRANSFER, word(1), word(2)], word(70)), "Transfer value=70"),
    (emitted([TRANSFER, word(1), word(2), word(7)]), "Transfer tokenId=7"),
    (emitted([parse(APPROVAL).topic0, word(1), word(2)], word(9)), None),
    (emitted([b"\xaa\xbb\xcc\xdd" + bytes(28)], word(5)), "Note sig=0xaabbccdd wad=5"),
    (emitted([MOVED, word(1)], word(2)), f"Moved who={address(1)} to={address(2)}"),
    (emitted([b"\xee" * 32, word(1), word(2), word(3)]), None),
]
AFTER = [
    (emitted([MOVED, word(2)], word(1)), f"Moved who={address(1)} to={address(2)}"),
    (emitted([b"\x01\x02\x03\x04" + bytes(28)], word(6)), "Note sig=0x01020304 wad=6"),
    (emitted([TRANSFER, word(3), word(4), word(8)]), "Transfer tokenId=8"),
]


@pytest.fixture(scope="module", params=["all", "declared"])
def site(request: Any, workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A token that was upgraded at block 4: `old` to there, `new` from there on, at one address."""
    chain = SimulatedChain(seed=4)
    chain.mine(3, logs=[log for log, _ in BEFORE])
    chain.mine(2, logs=[log for log, _ in AFTER])
    chain.finalize(5)
    with SimulatedNode(chain) as node:
        made = Site(workshop, tmp_path_factory.mktemp("site") / "here", rpc=node.url)
        (made.folder / "ledger.py").write_text(LEDGER)
        shared = {"chain": "main", "address": "0x" + CONTRACT.hex(), "topics": request.param}
        made.settings["contracts"] = {
            "old": {**shared, "end_block": 3, "events": [ERC20, ERC721, APPROVAL, OLD, NOTE]},
            "new": {**shared, "start_block": 4, "events": [ERC20, ERC721, APPROVAL, NEW, NOTE]},
        }
        made.settings["projections"] = {
            "referrals": {"projector": "ledger:Ledger", "from": [{"contract": "old"}, {"contract": "new"}]}
        }
        made.write()
        done = made.run("sync")
        assert done.code == 0, done.err
    return made


def wanted() -> dict[str, str | None]:
    """By block and log index what each log is."""
    found: dict[str, str | None] = {}
    for block, logs in ((1, BEFORE), (4, AFTER)):
        found |= {f"{block}:{index}": said for index, (_, said) in enumerate(logs)}
    return found


def test_every_log_reaches_its_own_handler(site: Site) -> None:
    from projections.service.config.loader import load
    from projections.service.runtime.wiring import planned

    with planned(load(site.folder / "chainfold.toml")) as plan:
        found = {item["place"]: item["said"] for item in served_documents(plan.store, "referrals")}
    assert found == {place: said for place, said in wanted().items() if said is not None}


def test_events_shows_them_as_they_were_folded(site: Site) -> None:
    shown = site.run("events", "--json").json()
    found = {f"{item['block']}:{item['log_index']}": _said(item) for item in shown}
    approved = f"Approval owner={address(1)} spender={address(2)} value=9"
    assert found == wanted() | {"1:2": approved}
    for name, count in (("Transfer", 3), ("Note", 2), ("Moved", 2), ("Approval", 1)):
        named = site.run("events", "--event", name, "--json").json()
        assert [item["event"] for item in named] == [name] * count


def test_the_export_holds_each_in_the_file_of_its_own_layout(site: Site) -> None:
    done = site.run("export", "tables", "--decoded", "--json")
    assert done.code == 0, done.err
    found = {
        file["path"].removeprefix("tables/").removesuffix(".parquet"): file["rows"]
        for file in done.json()["files"]
    }
    topic = TRANSFER.hex()[:8]
    assert found == {
        f"old.Transfer.{topic}.indexed2": 1,
        f"old.Transfer.{topic}.indexed3": 1,
        "old.Approval": 1,
        "old.Moved": 1,
        "old.Note": 1,
        f"new.Transfer.{topic}.indexed2": 0,
        f"new.Transfer.{topic}.indexed3": 1,
        "new.Approval": 0,
        "new.Moved": 1,
        "new.Note": 1,
    }
    assert done.json()["undecoded"] == 0
    read = pyarrow.parquet.read_table(site.folder / "tables" / "new.Moved.parquet").to_pylist()
    assert [(row["who"], row["to"]) for row in read] == [(address(1), address(2))]


def test_a_contract_that_has_ended_holds_no_height_back(site: Site) -> None:
    assert site.run("status", "--json").json()["chains"]["main"]["covered_to"] == 5


def test_check_names_what_nobody_handles_and_that_everything_is_fetched(site: Site) -> None:
    found = {item["name"]: item["notes"] for item in site.run("check", "--json").json()}
    fetched = 'topics = "declared" fetches all of it: no topic tells the logs of Note, which is anonymous.'
    all_of_it = [fetched] if site.settings["contracts"]["old"]["topics"] == "declared" else []
    for name in ("old", "new"):
        assert found[f"contract {name}"] == ["no handler takes Approval.", *all_of_it]
    assert found["handlers of referrals"] == []


def test_a_handler_of_an_event_that_no_contract_has_is_named_first(
    site: Site, workshop: Workshop, tmp_path: Path
) -> None:
    made = Site(workshop, tmp_path / "here", rpc="http://127.0.0.1:1")
    (made.folder / "misspelt.py").write_text(LEDGER.replace('"Moved(', '"Movde('))
    made.settings["contracts"] = site.settings["contracts"]
    made.settings["projections"] = {
        "referrals": {"projector": "misspelt:Ledger", "from": [{"contract": "old"}, {"contract": "new"}]}
    }
    made.write()
    said = "Ledger.moved is never called: no contract of it has an event Movde. Did you mean Moved?"
    found = {item["name"]: item["notes"] for item in made.run("check", "--json").json()}
    assert found["handlers of referrals"] == [said]
    assert found["contract new"][0] == "no handler takes Approval, Moved."
    with SimulatedNode(SimulatedChain()) as node:
        made.set("chains.main.rpc", [node.url])
        first = made.run("sync").out.splitlines()[0]
        assert first.startswith(
            f"projections.referrals: {said} contracts.old: no handler takes Approval, Moved."
        )
        assert made.run("sync", "--json").json()["remarks"][0] == f"projections.referrals: {said}"


def test_a_build_is_empty_where_every_log_of_its_topics_is_of_another_layout(
    workshop: Workshop, tmp_path: Path
) -> None:
    chain = SimulatedChain()
    chain.mine(logs=[BEFORE[0][0]])
    chain.mine(3)
    chain.finalize(3)
    with SimulatedNode(chain) as node:
        made = Site(workshop, tmp_path / "here", rpc=node.url)
        (made.folder / "nfts.py").write_text(LEDGER.replace(f'"{ERC20}"', '"Gone(uint8 value)"'))
        made.set("contracts.referral.events", [ERC20, ERC721])
        made.set("projections.referrals.projector", "nfts:Ledger")
        assert made.run("sync").code == 0
        assert made.run("rebuild", "referrals").code == 0
        found = made.run("status", "--json").json()["projections"]["referrals"]
    assert (found["state"], found["documents"], found["error"]) == ("live", 0, None)


def _said(item: dict[str, Any]) -> str | None:
    if item["event"] is None:
        return None
    given = {name: value for name, value in item["args"].items() if name not in ("from", "to")}
    if item["event"] == "Moved":
        given["to"] = item["args"]["to"]
    return f"{item['event']} {' '.join(f'{name}={value}' for name, value in given.items())}"
