"""Real declarations, bound to the referral projector as a configuration would bind them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from eventstore.journal.reading import StoredBlock, StoredLog
from projections.decoding.event import Event, parse
from projections.errors import SignatureError
from projections.projectors.referrals import Referrals
from projections.routing.routes import Route, bind
from tests.places import DATA

DECLARATIONS: list[dict[str, Any]] = json.loads((DATA / "referral-events.json").read_text())
CONTRACT = b"\xcc" * 20
USER, REFERRER = "0x" + "aa" * 20, "0x" + "bb" * 20
BLOCK = StoredBlock(7, b"\x07" * 32, 1_700_000_000)


def routes(*signatures: str, **roles: str) -> list[Route]:
    return bind(
        Referrals(),
        addresses=[CONTRACT],
        events=[parse(text) for text in signatures],
        roles=roles,
        where="here",
    )


def word(parameter_type: str, value: str | int) -> bytes:
    return bytes.fromhex(value[2:]).rjust(32, b"\0") if isinstance(value, str) else value.to_bytes(32, "big")


def log(event: Event, values: dict[str, str | int]) -> StoredLog:
    """A log of an event whose parameters each fill one word; 5 where no value is given."""
    words = [(item.indexed, word(item.type, values.get(item.name, 5))) for item in event.parameters]
    topics = [found for indexed, found in words if indexed] + [None] * 3
    data = b"".join(found for indexed, found in words if not indexed)
    return StoredLog(7, 3, 1, 1, b"\x01" * 32, topics[0], topics[1], topics[2], data)


def one_word(event: Event) -> bool:
    return not any("[" in item.type or item.type in ("string", "bytes") for item in event.parameters)


def types(given: dict[str, Any], *fields: str) -> set[str | None]:
    kinds = {item.name: item.type for item in parse(given["declaration"]).parameters}
    return {kinds.get(given[field]) for field in fields}


OPPOSITES = ("ReferralRemoved", "RegisteredRefererFailed")
"""They name both and register no one: such an event is not to be given the roles of a registration."""

BOTH = [
    given
    for given in DECLARATIONS
    if types(given, "user_field", "referrer_field") == {"address"}
    and one_word(parse(given["declaration"]))
    and parse(given["declaration"]).name not in OPPOSITES
]


@pytest.mark.parametrize("given", BOTH, ids=lambda given: given["declaration"][6:])
def test_a_real_registration_reaches_the_handler_with_its_roles(given: dict[str, Any]) -> None:
    event = parse(given["declaration"])
    user, referrer = given["user_field"], given["referrer_field"]
    (route,) = routes(given["declaration"], user=user, referrer=referrer)
    assert route.kind.topic0.hex() == given["topic0"][2:]
    found = route.decode(log(event, {user: USER, referrer: REFERRER}), BLOCK)
    assert (found.user, found.referrer) == (USER, REFERRER)
    has_time = any(item.name == "timestamp" for item in event.parameters)
    assert found.timestamp == (5 if has_time else None)


def test_most_of_the_real_declarations_are_such_registrations() -> None:
    assert len(BOTH) == 29


def test_a_dynamic_parameter_beside_the_roles_does_no_harm() -> None:
    (given,) = (item for item in DECLARATIONS if "referralChain" in item["declaration"])
    (route,) = routes(given["declaration"], user="user", referrer="referrer")
    data = word("", USER) + word("", REFERRER) + word("", 128) + word("", 9) + word("", 0)
    found = route.decode(StoredLog(7, 3, 1, 1, b"\x01" * 32, None, None, None, data), BLOCK)
    assert (found.user, found.referrer, found.timestamp) == (USER, REFERRER, 9)


@pytest.mark.parametrize("signature", ["ReferralRemoved(address indexed user)", "Left(address indexed user)"])
def test_an_event_with_the_role_user_only_means_leaving(signature: str) -> None:
    (route,) = routes(signature, user="user")
    assert route.handle.__name__ == "left"
    assert route.decode(log(parse(signature), {"user": USER}), BLOCK).user == USER


def test_the_event_knows_its_place() -> None:
    event = parse("ReferralRegistered(address indexed user, address indexed referrer)")
    (route,) = routes(str(event))
    found = route.decode(log(event, {"user": USER, "referrer": REFERRER}), BLOCK)
    assert (found.block, found.log_index, found.tx_hash) == (BLOCK, 3, b"\x01" * 32)
    assert found.contract == "0x" + "cc" * 20


def test_swapped_parameters_under_the_flagships_topic_are_refused_without_roles() -> None:
    """Same topic, other meaning: guessing by place would turn the graph around."""
    with pytest.raises(SignatureError, match=r"has no parameter for user.*referrer, referee, timestamp"):
        routes("ReferralRegistered(address indexed referrer, address indexed referee, uint256 timestamp)")


def test_a_role_that_names_no_parameter_is_refused_with_what_there_is() -> None:
    with pytest.raises(SignatureError, match=r"roles\.user = unknown is not a parameter.*inviter, referee"):
        routes("Joined(address indexed inviter, address indexed referee)", user="unknown", referrer="inviter")


def test_a_role_that_the_projector_does_not_know_is_refused() -> None:
    with pytest.raises(SignatureError, match="the projector knows no role friend"):
        routes("Joined(address indexed inviter, address indexed referee)", friend="inviter")


def test_an_event_of_another_name_without_roles_is_left_alone() -> None:
    assert routes("Transfer(address indexed from, address indexed to, uint256 value)") == []


def test_an_event_that_only_names_the_user_is_no_leaving_where_the_roles_say_more() -> None:
    bound = routes(
        "Joined(address indexed inviter, address indexed referee)",
        "Claimed(address indexed referee, uint256 amount)",
        user="referee",
        referrer="inviter",
    )
    assert [(route.decoder.event.name, route.handle.__name__) for route in bound] == [
        ("Joined", "registered")
    ]


@pytest.mark.parametrize(
    "signature",
    [
        "Joined(bytes32 indexed inviter, address indexed referee)",
        "ReferralRegistered(string indexed inviter, address indexed referee)",
    ],
)
def test_a_role_of_another_type_is_refused_and_is_no_leaving(signature: str) -> None:
    with pytest.raises(SignatureError, match="has no parameter for referrer"):
        routes(signature, user="referee", referrer="inviter")


def test_an_event_with_a_handlers_name_goes_to_that_handler_whatever_it_names_beside() -> None:
    (route,) = routes(
        "ReferralRemoved(address indexed user, address indexed referrer)", user="user", referrer="referrer"
    )
    assert route.handle.__name__ == "left"
