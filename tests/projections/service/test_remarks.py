"""The parts of a configuration without effect are named: dead handlers, unhandled and lost events."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from projections.errors import SignatureError
from projections.projectors import Projector, handles
from projections.service.checkup.remarks import as_line, remarks
from projections.service.config.loader import load
from projections.service.runtime.wiring import Plan

TRANSFER = "Transfer(address indexed from, address indexed to, uint256 value)"
NFT = "Transfer(address indexed from, address indexed to, uint256 indexed tokenId)"


class Doc(Struct, frozen=True):
    """Nothing."""

    key: str


class Shop(Projector):
    """Two handlers of one contract."""

    document = Doc
    key = "key"

    @handles("Sold(address indexed who)")
    def sold(self, event: Any, documents: Any) -> None:
        """Not called."""

    @handles("Note(bytes32 indexed what)")
    def noted(self, event: Any, documents: Any) -> None:
        """Not called."""


class Tokens(Projector):
    """Only of what has a number of its own."""

    document = Doc
    key = "key"

    @handles(NFT)
    def moved(self, event: Any, documents: Any) -> None:
        """Not called."""


def planned(
    folder: Path,
    *,
    events: list[str],
    to: str = "Shop",
    abi: Any = None,
    more: str = "",
    source: str = "",
    ours: str = "",
) -> Plan:
    if abi is not None:
        (folder / "abi.json").write_text(json.dumps(abi))
        more += 'abi = "abi.json"\n'
    (folder / "chainfold.toml").write_text(
        f'''
[chains.main]
rpc = "http://127.0.0.1:1"
chain_id = 1
[contracts.c]
chain = "main"
address = "0x{"51" * 20}"
events = {json.dumps(events)}
{more}
[projections.p]
projector = "{ours or f"{__name__}:{to}"}"
from = [{{ contract = "c"{source} }}]
'''
    )
    return Plan(load(folder / "chainfold.toml"))


def said(plan: Plan) -> list[str]:
    try:
        return [str(item) for item in remarks(plan)]
    finally:
        plan.close()


SOLD, NOTE = "Sold(address indexed who)", "Note(bytes32 indexed what)"
NEVER = "projections.p: Shop.noted is never called: "


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"events": [SOLD, NOTE]}, []),
        ({"events": [SOLD]}, [f"{NEVER}no contract of it has an event Note."]),
        (
            {"events": [SOLD, "Noted(bytes32 indexed what)"]},
            [
                f"{NEVER}no contract of it has an event Note. Did you mean Noted?",
                "contracts.c: no handler takes Noted.",
            ],
        ),
        (
            {"events": [SOLD, NOTE, "Paused()", "Unpaused()"]},
            ["contracts.c: no handler takes Paused, Unpaused."],
        ),
        ({"events": [SOLD, NOTE, "Paused()"], "source": ', events = ["Sold", "Note"]'}, []),
        ({"events": [TRANSFER, NFT], "to": "Tokens"}, [f"contracts.c: no handler takes {TRANSFER}."]),
        (
            {"events": [SOLD, f"{NOTE} anonymous"], "more": 'topics = "declared"\n'},
            [
                'contracts.c: topics = "declared" fetches all of it: no topic tells the logs of Note, which '
                "is anonymous."
            ],
        ),
        (
            {"events": [SOLD, "Note(bytes32 indexed what, bool indexed b) anonymous"]},
            [
                "contracts.c: who chooses what of Note, which is anonymous, can have its log taken for Sold.",
            ],
        ),
        (
            {
                "events": [SOLD, NOTE],
                "abi": [{"type": "event", "name": "Odd", "inputs": [{"name": "a", "type": "uint7"}]}],
            },
            [
                "contracts.c: Odd is left out: In the event 'abi.json: Odd' the parameter a has no known "
                "type: uint7. Integers have 8, 16, ... 256 bits, bytes1 to bytes32 as many bytes."
            ],
        ),
        (
            {
                "events": [SOLD],
                "abi": [{"type": "event", "name": "Note", "anonymous": "false"}],
            },
            [
                f"{NEVER}Note is left out of its contract's ABI.",
                "contracts.c: Note is left out: The event 'abi.json: Note' has anonymous = 'false', which is "
                "neither true nor false. Write it without quotation marks.",
            ],
        ),
        (
            {"events": [SOLD, NOTE, "A(bool indexed a) anonymous", "B(int8 indexed b) anonymous"]},
            [
                "contracts.c: no handler takes A, B.",
                "contracts.c: no log can tell A(bool indexed a) and B(int8 indexed b) apart, which are "
                "anonymous: logs of both stay raw.",
            ],
        ),
    ],
)
def test_what_has_no_effect_is_named(tmp_path: Path, given: dict[str, Any], wanted: list[str]) -> None:
    assert said(planned(tmp_path, **given)) == wanted


def test_the_line_of_sync_is_cut_where_check_names_all(tmp_path: Path) -> None:
    events = [f"E{place}()" for place in range(8)]
    plan = planned(tmp_path, events=[SOLD, NOTE, *events])
    line = as_line(remarks(plan))
    plan.close()
    assert line == "contracts.c: no handler takes E0, E1, E2, E3, E4 and 3 more (see `chainfold check`)."


def test_an_anonymous_event_that_no_log_can_be_told_to_be_is_refused_where_it_is_handled(
    tmp_path: Path,
) -> None:
    events = [SOLD, f"{NOTE} anonymous", "Other(uint256 indexed a) anonymous"]
    with pytest.raises(
        SignatureError, match=r"projections\.p: the anonymous event Note.*Other.*nothing in a log"
    ):
        planned(tmp_path, events=events)


def of_two(first: str, second: str) -> dict[str, Any]:
    """Two contracts of one address; the second calls the handler's `who` whom."""
    other = f'[contracts.d]\nchain = "main"\naddress = "0x{"51" * 20}"\nevents = ["{second}"]\n'
    source = ' }, { contract = "d", roles = { who = "whom" }'
    return {"events": [first], "more": other, "source": source}


def test_a_log_that_would_go_two_ways_is_refused(tmp_path: Path) -> None:
    both = "Sold(address indexed who, address other)", "Sold(address indexed who, address whom)"
    with pytest.raises(SignatureError, match="are one log at 0x51"):
        planned(tmp_path, **of_two(*both))


def test_one_event_under_two_names_goes_one_way(tmp_path: Path) -> None:
    plan = planned(tmp_path, **of_two(SOLD, "Sold(address indexed whom)"))
    assert said(plan) == [f"{NEVER}no contract of it has an event Note."]


def test_an_event_that_is_asked_for_and_lost_is_refused_with_its_reason(tmp_path: Path) -> None:
    abi = [{"type": "event", "name": "Odd", "inputs": [{"name": "a", "type": "uint7"}]}]
    with pytest.raises(
        SignatureError, match=r"projections\.p\.from\[0\]\.events\[1\]: .*no known type: uint7"
    ):
        planned(tmp_path, events=[SOLD], abi=abi, source=', events = ["Sold", "Odd"]')


def test_a_handler_that_ships_and_that_the_contract_has_no_event_for_is_told_by_check_alone(
    tmp_path: Path,
) -> None:
    """The flagship also handles an event for leaving, which few contracts have; a misspelling is reported."""
    flagship = "ReferralRegistered(address indexed user, address indexed referrer, uint256 timestamp)"
    with closing(planned(tmp_path, events=[flagship], ours="referrals")) as plan:
        assert [(item.said.split(" is ")[0], item.short) for item in remarks(plan)] == [
            ("Referrals.left", "")
        ]
    misspelt = [flagship, "ReferralRemovd(address indexed user)"]
    with closing(planned(tmp_path, events=misspelt, ours="referrals")) as plan:
        told = [item.short for item in remarks(plan) if item.short]
    assert told[0].endswith("no contract of it has an event ReferralRemoved. Did you mean ReferralRemovd?")
