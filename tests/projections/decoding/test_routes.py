"""How an event finds its handler: by topic, by name or by roles. Real declarations: see test_binding.py."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Struct

from eventstore.journal.reading import StoredBlock, StoredLog
from projections.decoding.event import parse
from projections.errors import SignatureError
from projections.projectors import Projector, handles
from projections.projectors.referrals import Referrals
from projections.routing.routes import Route, bind

CONTRACT = bytes.fromhex("51" * 20)
OTHER = bytes.fromhex("52" * 20)
BLOCK = StoredBlock(5, b"\x05" * 32, 60)


class Balance(Struct, frozen=True):
    """What an address holds."""

    address: str
    amount: int = 0


class Balances(Projector):
    """A projector whose parameters have the names that ERC-20 gives them."""

    document = Balance
    key = "address"

    @handles("Transfer(address indexed from, address indexed to, uint256 value, uint256 block)")
    def moved(self, event: Any, balances: Any) -> None:
        """Nothing: these tests only decode."""


def bound(*signatures: str, roles: dict[str, str] | None = None, to: Projector | None = None) -> list[Route]:
    return bind(
        to or Referrals(),
        addresses=[CONTRACT],
        events=[parse(text) for text in signatures],
        roles=roles or {},
        where="projections.p.from.c",
    )


def word(number: int) -> bytes:
    return number.to_bytes(32, "big")


def decoded(route: Route, *words: int, data: bytes = b"") -> Any:
    """The event that a handler gets for a log with these indexed words."""
    topics = [word(number) for number in words] + [None] * (3 - len(words))
    return route.decode(StoredLog(5, 0, 1, 1, b"\x01" * 32, *topics, data), BLOCK)


def address(number: int) -> str:
    return f"0x{number:040x}"


def test_an_event_of_the_handlers_topic_binds_whatever_it_is_called_inside() -> None:
    [route] = bound("ReferralRegistered(address indexed user, address indexed referrer, uint256 timestamp)")
    event = decoded(route, 1, 2, data=word(7))
    assert (event.user, event.referrer, event.timestamp) == (address(1), address(2), 7)


def test_an_event_of_the_handlers_name_binds_with_fewer_parameters() -> None:
    """What it does not carry is None: the projector takes the block's time."""
    [route] = bound("ReferralRegistered(address indexed user, address indexed referrer)")
    assert decoded(route, 1, 2).timestamp is None


def test_an_event_of_another_name_binds_by_its_roles() -> None:
    [route] = bound(
        "Joined(address indexed inviter, address indexed who)", roles={"user": "who", "referrer": "inviter"}
    )
    event = decoded(route, 1, 2)
    assert (event.user, event.referrer) == (address(2), address(1))


def test_swapped_roles_swap_what_the_handler_sees() -> None:
    signature = "ReferralRegistered(address indexed referrer, address indexed referee, uint256 timestamp)"
    [route] = bound(signature, roles={"user": "referee", "referrer": "referrer"})
    event = decoded(route, 1, 2, data=word(7))
    assert (event.user, event.referrer) == (address(2), address(1))


def test_an_event_with_the_role_user_only_is_one_of_leaving() -> None:
    [route] = bound("Left(address indexed who)", roles={"user": "who"})
    assert route.handle.__name__ == "left"
    assert decoded(route, 3).user == address(3)


def test_one_event_of_several_addresses_has_a_route_for_each() -> None:
    routes = bind(
        Referrals(),
        addresses=[CONTRACT, OTHER],
        events=[parse("ReferralRegistered(address indexed user, address indexed referrer)")],
        roles={},
        where="here",
    )
    assert [route.kind.address for route in routes] == [CONTRACT, OTHER]
    assert [route.contract for route in routes] == ["0x" + "51" * 20, "0x" + "52" * 20]


def test_keywords_and_facts_get_a_trailing_underscore() -> None:
    [route] = bound(
        "Transfer(address indexed from, address indexed to, uint256 value, uint256 block)", to=Balances()
    )
    event = decoded(route, 1, 2, data=word(9) + word(8))
    assert (event.from_, event.to, event.value, event.block_) == (address(1), address(2), 9, 8)
    assert event.block is BLOCK


def test_a_handler_without_one_of_its_indexed_parameters_is_refused_with_what_there_is() -> None:
    with pytest.raises(SignatureError, match=r"^projections\.p\.from\.c: .*inviter"):
        bound("ReferralRegistered(address indexed inviter, address indexed user)")


def test_a_role_that_names_nothing_of_the_contract_is_refused_with_what_there_is() -> None:
    with pytest.raises(SignatureError, match=r"roles\.user = whom .*\n?.*They have inviter, who"):
        bound("Joined(address indexed inviter, address indexed who)", roles={"user": "whom"})


def test_an_event_that_nothing_names_is_left_alone() -> None:
    assert bound("Paused(address account)") == []


def test_an_anonymous_event_is_decoded_from_its_first_topic_on() -> None:
    [route] = bound("ReferralRegistered(address indexed user, address indexed referrer) anonymous")
    topics = [word(2), None, None]
    event = route.decoding(word(1))(StoredLog(5, 0, 1, 1, b"\x01" * 32, *topics, b""), BLOCK)
    assert (event.user, event.referrer) == (address(1), address(2))
    assert (route.filter.address, route.filter.topic0) == (CONTRACT, None)
