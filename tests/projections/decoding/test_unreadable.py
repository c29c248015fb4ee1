"""Events with a part that cannot be read, from the log to the document."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from eth_abi.abi import encode
from msgspec import Struct

from projections.decoding.event import parse
from projections.projectors import Documents, Projector, handles
from projections.testing.kit import Kit
from projections.testing.river import CONTRACT


class Said(Struct, frozen=True):
    who: str
    text: str = ""
    flag: bool = False
    at: int = 0


class Texts(Projector):
    """Keeps what was said last, and looks at the flag only when asked to."""

    document = Said
    key = "who"
    touched = "at"

    def keys(self, event: Any) -> Iterable[str]:
        return [event.who, str(event.flag)]  # the flag may be unreadable

    @handles("Spoke(address indexed who, string text, bool flag)")
    def spoke(self, event: Any, said: Documents[Said]) -> None:
        flag = event.flag if event.text == "look" else False
        said.put(event.who, Said(event.who, event.text, flag))


class Bytes(Projector):
    """Asks for the bytes of the text."""

    document = Said
    key = "who"

    @handles("Spoke(address indexed who, bytes text, bool flag)")
    def spoke(self, event: Any, said: Documents[Said]) -> None:
        assert isinstance(event.text, bytes)
        said.put(event.who, Said(event.who, event.text.hex()))


EVENT = "Spoke(address indexed who, string text, bool flag)"
ANN = "0x" + "0" * 39 + "1"


def dirty(text: str) -> tuple[list[bytes], bytes]:
    """Topics and data of a log whose flag is 2."""
    data = bytearray(encode(["string", "bool"], [text, True]))
    data[63] = 2
    return [parse(EVENT).topic0, bytes(31) + b"\x01"], bytes(data)


@pytest.mark.long
def test_text_that_is_none_is_folded_with_replacements_and_given_as_bytes_where_they_are_asked_for() -> None:
    with Kit(Texts, events=[EVENT]) as kit:
        kit.emit("Spoke", who=ANN, text=b"a\xffz\0", flag=True)
        block = kit.mine()
        assert kit.documents() == {ANN: Said(ANN, "a\ufffdz\0", at=block.timestamp)}
        kit.check()
    with Kit(Bytes, events=[EVENT]) as kit:
        kit.emit("Spoke", who=ANN, text=b"a\xffz", flag=True)
        assert kit.documents() == {ANN: Said(ANN, "61ff7a")}
        kit.check()


@pytest.mark.parametrize("poison", ["halt", "quarantine"])
def test_an_unreadable_parameter_is_the_events_fault_where_the_handler_looks_at_it(poison: Any) -> None:
    with Kit(Texts, events=[EVENT], poison=poison) as kit:
        kit._chain.emit(CONTRACT, *dirty("no"))
        block = kit.mine()
        assert kit.documents() == {ANN: Said(ANN, "no", at=block.timestamp)}
        assert kit.problems() == []
        kit._chain.emit(CONTRACT, *dirty("look"))
        kit.mine()
        (said,) = kit.problems()
        assert "DecodingError: Spoke.flag: 0x" in said and "is not a bool" in said
