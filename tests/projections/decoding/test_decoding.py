"""Decoding against vectors made by the Solidity compiler, real declarations, and the general road."""

from __future__ import annotations

import gzip
import json
from decimal import Context, Decimal
from typing import Any

import pytest
from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st

from projections.decoding.decoder import Decoder, EventMarker, presented
from projections.decoding.event import Event, Parameter, from_abi, parse
from projections.errors import DecodingError, SignatureError
from tests.places import DATA

VECTORS = json.loads(gzip.decompress((DATA / "abi-event-vectors.json.gz").read_bytes()))
DECLARATIONS = json.loads((DATA / "referral-events.json").read_text())
FLAGSHIP = parse("ReferralRegistered(address indexed user, address indexed referrer, uint256 timestamp)")


def raw(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def same(found: Any, wanted: Any, kind: str) -> bool:
    """Is the decoded value the vector's, which writes numbers and bytes as it likes?"""
    if isinstance(found, tuple):
        return len(found) == len(wanted) and all(
            same(mine, theirs, kind) for mine, theirs in zip(found, wanted, strict=True)
        )
    if isinstance(found, bool):
        return bool(found == wanted)
    if isinstance(found, int):
        return found == int(str(wanted), 0)
    if isinstance(found, bytes):
        return found == raw(wanted)
    if isinstance(found, Decimal):
        return found == Decimal(str(wanted))
    if str(found).startswith("0x"):
        return bool(found == str(wanted).lower())
    return bool(found == wanted)


@pytest.mark.parametrize("chunk", range(8))
def test_every_vector_of_the_compiler_decodes_to_its_values(chunk: int) -> None:
    count = 0
    for vector in VECTORS[chunk::8]:
        (event,) = [
            item for item in from_abi(json.loads(vector["interface"]), "x") if item.name == "testEvent"
        ]
        topics = tuple(raw(topic) for topic in vector["topics"])
        if not event.anonymous:
            assert topics[0] == event.topic0, vector["name"]
        values = Decoder(event)(topics, raw(vector["data"]))
        expected = vector["normalizedValues"]
        for item, value, wanted, hashed in zip(
            event.parameters, values, expected, vector["hashed"], strict=True
        ):
            if hashed:
                assert isinstance(value, bytes), vector["name"]
                continue
            assert same(value, wanted, item.type), (vector["name"], item, value, wanted)
        count += 1
    assert count == 126


@pytest.mark.parametrize("given_", DECLARATIONS, ids=lambda item: item["canonical"])
def test_every_real_declaration_parses_to_its_topic(given_: dict[str, Any]) -> None:
    event = parse(given_["declaration"])
    assert event.canonical == given_["canonical"]
    assert event.topic0 == raw(given_["topic0"])
    assert [from_abi([given_["abi"]], "x")[0].topic0] == [event.topic0]


WORDS: dict[str, st.SearchStrategy[Any]] = {
    "address": st.binary(min_size=20, max_size=20).map(lambda value: "0x" + value.hex()),
    "bool": st.booleans(),
    "uint256": st.integers(0, 2**256 - 1),
    "uint8": st.integers(0, 255),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "int256": st.integers(-(2**255), 2**255 - 1),
    "bytes32": st.binary(min_size=32, max_size=32),
    "bytes4": st.binary(min_size=4, max_size=4),
}


@given(
    st.lists(st.sampled_from(sorted(WORDS)), max_size=6).flatmap(
        lambda kinds: st.tuples(st.just(kinds), st.tuples(*(WORDS[kind] for kind in kinds)))
    )
)
def test_slices_give_what_the_general_road_gives(case: tuple[list[str], tuple[Any, ...]]) -> None:
    kinds, values = case
    event = Event("E", tuple(Parameter(f"p{i}", kind) for i, kind in enumerate(kinds)))
    assert Decoder(event)((event.topic0,), encode(kinds, values)) == values


def test_a_dynamic_event_decodes_by_the_general_road() -> None:
    event = parse("Said(address indexed who, string what, uint256[] many, (uint8,bytes) pair)")
    data = encode(["string", "uint256[]", "(uint8,bytes)"], ["hi", [1, 2], (3, b"x")])
    found = Decoder(event)((event.topic0, bytes(12) + b"\x01" * 20), data)
    assert found == ("0x" + "01" * 20, "hi", (1, 2), (3, b"x"))


@pytest.mark.parametrize(
    ("topics", "data", "said"),
    [
        ((FLAGSHIP.topic0, bytes(32)), bytes(32), "2 topics"),
        ((FLAGSHIP.topic0, bytes(32), bytes(32)), bytes(31), "31 bytes of data"),
        ((FLAGSHIP.topic0, b"\x01" + bytes(31), bytes(32)), bytes(32), "user.*is not an address"),
    ],
)
def test_a_log_of_another_shape_is_refused_by_name(topics: Any, data: bytes, said: str) -> None:
    with pytest.raises(DecodingError, match=said):
        Decoder(FLAGSHIP)(topics, data)


def word(number: int) -> bytes:
    return (number % 2**256).to_bytes(32, "big")


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("address", word(2**160)),
        ("bool", word(2)),
        ("uint8", word(256)),
        ("uint248", word(2**248)),
        ("int8", word(128)),
        ("int8", word(-129)),
        ("int8", word(255)),
        ("bytes4", word(1)),
        ("bytes31", word(1)),
        ("function", word(1)),
    ],
)
def test_a_word_that_its_type_cannot_hold_is_refused_with_the_value(
    kind: str, content: bytes, indexed: bool
) -> None:
    """In a topic and in the data alike: neither road masks what does not belong there."""
    event = Event("E", (Parameter("what", kind, indexed),))
    topics = (event.topic0, content) if indexed else (event.topic0,)
    with pytest.raises(DecodingError, match=rf"E\.what: 0x{content.hex()} is not "):
        Decoder(event)(topics, b"" if indexed else content)


@pytest.mark.parametrize(
    ("kind", "content", "value"),
    [
        ("uint8", word(255), 255),
        ("int8", word(127), 127),
        ("int8", word(-128), -128),
        ("int256", word(-1), -1),
        ("uint256", word(-1), 2**256 - 1),
        ("bool", word(1), True),
        ("bytes4", b"abcd" + bytes(28), b"abcd"),
        ("address", word(2**160 - 1), "0x" + "f" * 40),
    ],
)
def test_the_last_value_that_a_type_can_hold_is_taken(kind: str, content: bytes, value: object) -> None:
    event = Event("E", (Parameter("what", kind),))
    assert Decoder(event)((event.topic0,), content) == (value,)


@pytest.mark.parametrize("kind", ["string", "bytes", "uint8[]", "uint8[2]", "(uint8,bool)"])
def test_an_indexed_parameter_of_more_than_a_word_is_its_hash(kind: str) -> None:
    event = Event("E", (Parameter("what", kind, True), Parameter("more", "string")))
    assert Decoder(event)((event.topic0, b"\x99" * 32), encode(["string"], ["hi"])) == (b"\x99" * 32, "hi")


def test_an_anonymous_event_has_no_topic_of_its_own() -> None:
    event = parse("E(address indexed who) anonymous")
    assert Decoder(event)((word(1),), b"") == ("0x" + "0" * 39 + "1",)
    with pytest.raises(DecodingError, match="2 topics"):
        Decoder(event)((event.topic0, word(1)), b"")


@pytest.mark.parametrize("text", ["E(uint256 what)", "E(string what)"])
def test_data_beyond_what_is_declared_is_tolerated(text: str) -> None:
    """As every ABI decoder does: what follows cannot change what was declared."""
    event = parse(text)
    value: Any = 7 if "uint" in text else "seven"
    data = encode([event.parameters[0].type], [value])
    assert Decoder(event)((event.topic0,), data + b"more") == (value,)


def test_text_that_is_no_utf_8_is_read_with_replacements_and_marked() -> None:
    event = parse("Said(string what, string[] more, string fine)")
    raw = [b"a\xff\xfez", [b"\xe2\x82", b"ok"], "\ufffd".encode()]
    topics, data = (event.topic0,), encode(["bytes", "bytes[]", "bytes"], raw)
    values = Decoder(event)(topics, data)
    assert values == ("a\ufffd\ufffdz", ("\ufffd", "ok"), "\ufffd")
    assert EventMarker(event)(values, topics, data) == {
        "what": "Said.what is not UTF-8, its bytes are 0x61fffe7a",
        "more": "Said.more is not UTF-8, its bytes are [0xe282, 0x6f6b]",
    }


@given(
    st.binary(max_size=256), st.sampled_from(["string what", "uint256[][] what, bool b", "(bytes,int8)[2] w"])
)
def test_whatever_the_data_the_answer_is_values_or_a_refusal(data: bytes, inner: str) -> None:
    event = parse(f"E({inner})")
    try:
        assert len(Decoder(event)((event.topic0,), data)) == len(event.parameters)
    except DecodingError as error:
        assert str(error).startswith("E")


def test_dynamic_data_that_points_outside_itself_is_refused() -> None:
    event = parse("Said(string what)")
    with pytest.raises(DecodingError, match=r"Said\.what: the offset at byte 0 .*, beyond the data"):
        Decoder(event)((event.topic0,), (2**200).to_bytes(32, "big"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot be parsed"),
        ("Sent", "cannot be parsed"),
        ("Sent(addres to)", "to has no known type: addres"),
        ("Sent(uint7 n)", "n has no known type: uint7"),
        ("Sent((address,uint256 to)", "parentheses"),
        ("Sent(address to, )", "empty parameter at place 2"),
        ("Sent(address a b c)", "too many words"),
        ("Sent(uint8 indexed a,uint8 indexed b,uint8 indexed c,uint8 indexed d)", "more than 3 indexed"),
    ],
)
def test_a_signature_that_cannot_be_parsed_is_refused_by_name(text: str, said: str) -> None:
    with pytest.raises(SignatureError, match=said):
        parse(text)


def test_values_are_presented_by_their_declared_type() -> None:
    """Never by their value: a field must not change its kind when it grows."""
    assert presented(7, "uint256") == "7"
    assert presented(7, "uint8") == 7
    assert presented(True, "bool") is True
    assert presented((1, b"\x01"), "(uint256,bytes1)") == ["1", "0x01"]
    assert presented((b"\x01", b"\x02"), "bytes1[]") == ["0x01", "0x02"]


FIXED = [
    ("ufixed8x1", 15, "1.5"),
    ("fixed128x18", -1, "-0.000000000000000001"),
    ("fixed128x18", 0, "0.000000000000000000"),
    ("fixed256x80", 2**255 - 1, None),
    ("fixed168x10", -(2**167), None),
]


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize(("kind", "whole", "shown"), FIXED)
def test_a_fixed_point_number_is_a_number_with_its_decimals(
    kind: str, whole: int, shown: str | None, indexed: bool
) -> None:
    event = Event("E", (Parameter("what", kind, indexed), Parameter("many", f"{kind}[]")))
    one = word(whole)
    topics = (event.topic0, one) if indexed else (event.topic0,)
    rest = word(1) + one
    data = word(32) + rest if indexed else one + word(64) + rest
    places = int(kind.rpartition("x")[2])
    value = Decimal(whole).scaleb(-places, Context(prec=100))
    assert Decoder(event)(topics, data) == (value, (value,))
    text = presented(value, kind)
    assert len(text.partition(".")[2]) == places and Decimal(text) == value
    assert shown in (None, text)
    wrong = Decoder(Event("E", (Parameter("what", "ufixed8x1", indexed),)))
    with pytest.raises(DecodingError, match="is not ufixed8x1"):
        wrong((event.topic0, word(256)) if indexed else (event.topic0,), word(256))
