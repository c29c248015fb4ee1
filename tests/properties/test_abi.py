"""What is read of a log's data against eth_abi, for all types and all bytes."""

from __future__ import annotations

from typing import Any

import pytest
from eth_abi.abi import encode
from eth_abi.codec import ABIDecoder
from eth_abi.decoding import StringDecoder
from eth_abi.encoding import TextStringEncoder
from eth_abi.exceptions import DecodingError as TheirError
from eth_abi.exceptions import InsufficientDataBytes, NonEmptyPaddingBytes
from eth_abi.registry import BaseEquals
from eth_abi.registry import registry as plain_registry
from hypothesis import given, settings
from hypothesis import strategies as st

from projections.decoding.abi import FREE, TIMES
from projections.decoding.decoder import Decoder, UnreadableParameter, presented
from projections.decoding.event import NESTING, Event, Parameter, from_abi, nesting, parse
from projections.errors import DecodingError, SignatureError


def theirs_of(text: str) -> ABIDecoder:
    """eth_abi, which decodes invalid text by this rule."""
    registry = plain_registry.copy()
    registry.unregister("string")
    registry.register(
        BaseEquals("string", with_sub=False),
        TextStringEncoder,
        StringDecoder(handle_string_errors=text),
        label="string",
    )
    return ABIDecoder(registry)


THEIRS = theirs_of("replace")

words = st.sampled_from(
    ["address", "bool", "uint8", "uint256", "int8", "int256", "bytes1", "bytes32", "fixed128x18", "ufixed8x1"]
)
simple = words | st.sampled_from(["string", "bytes"])
types = st.recursive(
    simple,
    lambda inner: st.one_of(
        inner.map(lambda kind: f"{kind}[]"),
        st.tuples(inner, st.integers(1, 3)).map(lambda pair: f"{pair[0]}[{pair[1]}]"),
        st.lists(inner, min_size=1, max_size=3).map(lambda kinds: f"({','.join(kinds)})"),
    ),
    max_leaves=4,
)


def values_of(kind: str) -> st.SearchStrategy[Any]:
    if kind.endswith("]"):
        inner, _, size = kind[:-1].rpartition("[")
        bounds = {"min_size": int(size), "max_size": int(size)} if size else {"max_size": 3}
        return st.lists(values_of(inner), **bounds).map(tuple)
    if kind.startswith("("):
        return st.tuples(*map(values_of, parts(kind)))
    return {
        "address": st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex()),
        "bool": st.booleans(),
        "uint8": st.integers(0, 255),
        "uint256": st.integers(0, 2**256 - 1),
        "int8": st.integers(-128, 127),
        "int256": st.integers(-(2**255), 2**255 - 1),
        "bytes1": st.binary(min_size=1, max_size=1),
        "bytes32": st.binary(min_size=32, max_size=32),
        "fixed128x18": st.decimals(-(10**18), 10**18, places=18),
        "ufixed8x1": st.decimals(0, 25, places=1),
        "string": st.text(max_size=40),
        "bytes": st.binary(max_size=40),
    }[kind]


def parts(kind: str) -> list[str]:
    found, depth, start = [], 0, 1
    for place, letter in enumerate(kind[:-1]):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 1:
            found.append(kind[start:place])
            start = place + 1
    return [*found, kind[start:-1]]


def event_of(kinds: list[str]) -> Event:
    return Event("E", tuple(Parameter(f"p{place}", kind) for place, kind in enumerate(kinds)))


def ours(kinds: list[str], data: bytes) -> Any:
    event = event_of(kinds)
    try:
        return Decoder(event)((event.topic0,), data)
    except DecodingError as error:
        return error


@settings(max_examples=200)
@given(st.data())
def test_what_was_encoded_is_read_back(data: Any) -> None:
    kinds = data.draw(st.lists(types, max_size=3))
    values = tuple(data.draw(values_of(kind)) for kind in kinds)
    assert ours(kinds, encode(kinds, values)) == values == THEIRS.decode(kinds, encode(kinds, values))


@settings(max_examples=400)
@given(st.data())
def test_whatever_the_bytes_both_decoders_say_the_same(data: Any) -> None:
    """The compiled decoder is as strict as eth_abi, but for the padding after texts, and stricter for offsets
    into a head, which eth_abi does not always see."""
    kinds = data.draw(st.lists(types, min_size=1, max_size=3))
    raw = bytearray(encode(kinds, [data.draw(values_of(kind)) for kind in kinds]))
    for _ in range(data.draw(st.integers(1, 3))):
        if raw:
            place = data.draw(st.integers(0, len(raw) - 1))
            raw[place] = data.draw(st.sampled_from([0, 1, 2, 31, 32, 64, 127, 255]))
    cut = data.draw(st.sampled_from([0, 0, 0, 1, 31, 32]))
    damaged = bytes(raw[: len(raw) - cut] if cut else raw)
    found = ours(kinds, damaged)
    try:
        theirs = THEIRS.decode(kinds, damaged)
    except (NonEmptyPaddingBytes, InsufficientDataBytes):  # after a text, perhaps, or within a word
        if not isinstance(found, DecodingError):
            assert THEIRS.decode(kinds, encode(kinds, found)) == found
    except (TheirError, OverflowError, ValueError):
        assert isinstance(found, DecodingError)
    else:
        known = ("into the head", "would be made of")
        assert found == theirs or any(sign in str(found) for sign in known)


@settings(max_examples=200)
@given(st.lists(types, min_size=1, max_size=3), st.binary(max_size=400))
def test_of_any_bytes_each_parameter_is_read_or_named(kinds: list[str], data: bytes) -> None:
    event = event_of(kinds)
    try:
        found = Decoder(event).read((event.topic0,), data)
    except DecodingError as error:
        assert str(error).startswith("E")
        return
    for item, value in zip(event.parameters, found, strict=True):
        if isinstance(value, UnreadableParameter):
            assert value.reason.startswith(f"E.{item.name}: ")
            assert presented(value, item.type) is None
        else:
            presented(value, item.type)


def word(number: int) -> bytes:
    return (number % 2**256).to_bytes(32, "big")


def text(raw: bytes) -> bytes:
    return word(len(raw)) + raw.ljust(-(-len(raw) // 32) * 32, b"\0")


@settings(max_examples=200)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_text(raw: bytes) -> None:
    event = parse("E(string what, uint256 n)")
    data = word(64) + word(7) + text(raw)
    assert Decoder(event)((event.topic0,), data) == (raw.decode("utf-8", "replace"), 7)
    assert Decoder(event, asked={0: "bytes"})((event.topic0,), data) == (raw, 7)


def test_an_unreadable_parameter_takes_none_beside_it() -> None:
    event = parse("E(bool flag, string what, address indexed who, uint8[] many, uint256 n)")
    data = word(2) + word(2**200) + word(192) + word(5) + bytes(64) + word(2) + word(1) + word(256)
    found = Decoder(event).read((event.topic0, word(9)), data)
    assert found[2] == "0x" + "0" * 39 + "9" and found[4] == 5
    assert [getattr(value, "reason", None) for value in found] == [
        f"E.flag: 0x{word(2).hex()} is not a bool.",
        f"E.what: the offset at byte 32 points to {2**200}, beyond the data.",
        None,
        f"E.many: 0x{word(256).hex()} is not uint8.",
        None,
    ]
    with pytest.raises(DecodingError, match=r"E\.flag"):
        Decoder(event)((event.topic0, word(9)), data)


@pytest.mark.parametrize("padding", [b"\xff" * 30, b"", b"\0" * 7])
def test_padding_after_a_text_is_not_looked_at(padding: bytes) -> None:
    event = parse("E(string what)")
    assert Decoder(event)((event.topic0,), word(32) + word(2) + b"hi" + padding) == ("hi",)


# --- bounds ---


def aliased(levels: int, width: int) -> tuple[str, bytes]:
    """Arrays of arrays whose offsets all point to one place: little data, many values."""
    data = b""
    for level in range(levels):
        inner = 32 * width
        data += word(width) + (word(inner) * width if level < levels - 1 else word(1) * width)
    return f"uint256{'[]' * levels}", word(32) + data


def test_what_is_made_of_a_log_has_a_bound() -> None:
    kind, data = aliased(1, 40)
    assert ours([kind], data) == ((1,) * 40,)
    kind, data = aliased(3, 8)
    assert ours([kind], data) == ((((1,) * 8,) * 8,) * 8,)
    kind, data = aliased(3, 9)
    assert FREE + TIMES * len(data) < 32 * 9**3
    with pytest.raises(DecodingError, match=rf"E\.p0: more than [\d,]+ bytes .* {FREE:,}"):
        raise ours([kind], data)


def test_texts_that_share_their_bytes_count_each() -> None:
    long = text(b"x" * 8_000)
    event = parse("E(string[] many)")
    few = word(32) + word(5) + word(160) * 5 + long
    assert Decoder(event)((event.topic0,), few) == (("x" * 8_000,) * 5,)
    many = word(32) + word(7) + word(224) * 7 + long
    with pytest.raises(DecodingError, match=r"E\.many: more than 49,\d+ bytes would be made"):
        Decoder(event)((event.topic0,), many)


@pytest.mark.parametrize("kind", ["()[]", "uint8[0]", "uint8[0][]", "(uint8[0],bool)[]"])
def test_a_type_that_takes_no_room_is_none(kind: str) -> None:
    """Of such elements a length of 32 bytes would make as many as it says."""
    with pytest.raises(SignatureError, match=r"no known type|empty parameter"):
        parse(f"E({kind} what)")


@pytest.mark.parametrize("kind", ["uint8[]", "string[]", "(uint8,string)[]", "uint8[3][]"])
def test_a_length_beyond_the_data_is_refused_before_anything_is_made(kind: str) -> None:
    for size in (3, 2**63, 2**256 - 1):
        assert f"{size} elements do not fit" in str(ours([kind], word(32) + word(size) + word(96)))
    assert "do not fit into the data" in str(ours(["string"], word(32) + word(2**255) + word(0)))


def test_a_declared_array_beyond_the_data_is_refused() -> None:
    assert "bytes of data" in str(ours(["uint8[1000000000]"], word(1)))
    assert "bytes of data" in str(ours([f"uint8[{10**60}]"], word(1)))


@pytest.mark.parametrize(
    ("kind", "deep"),
    [
        ("uint256", 0),
        ("uint256[]", 1),
        ("uint256[2][3]", 2),
        ("(uint8,uint8)", 1),
        ("(uint8[],uint8[],uint8[])", 2),
        ("((uint8[])[],bool)[]", 5),
    ],
)
def test_nesting_is_counted_as_it_lies(kind: str, deep: int) -> None:
    assert nesting(kind) == deep


@pytest.mark.parametrize("opened", ["", "tuple"])
def test_types_may_be_nested_so_deep_and_no_deeper(opened: str) -> None:
    for deep, fine in ((NESTING, True), (NESTING + 1, False), (3 * NESTING, False)):
        arrays = f"E(uint8{'[]' * deep} what)"
        tuples = f"E({(opened + '(') * deep}uint8{')' * deep} what)"
        abi: dict[str, Any] = {"type": "uint8", "name": "what"}
        for _ in range(deep):
            abi = {"type": "tuple", "name": "what", "components": [abi]}
        for declare in (
            lambda arrays=arrays: parse(arrays),
            lambda tuples=tuples: parse(tuples),
            lambda abi=abi: from_abi([{"type": "event", "name": "E", "inputs": [abi]}], "abi"),
        ):
            if fine:
                declare()
                continue
            with pytest.raises(SignatureError, match=f"more than {NESTING} levels deep"):
                declare()
