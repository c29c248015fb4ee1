"""The contract ABI's encoding, read back: one function for each type, made once.

Law: what is read is what was meant, or nothing. Refused are words that their type cannot hold (a bool of 2,
dirt above an address or a small integer), offsets that point beyond the data or into the head they stand in,
and lengths beyond the data. Ignored is what changes no value: the padding after text and bytes, clean, dirty
or missing, and data beyond what is declared. Text that is not UTF-8 is read with U+FFFD for each part that is
not, as Unicode recommends (section 3.9, "maximal subparts"): the same on every machine.

The specification: https://docs.soliditylang.org/en/latest/abi-spec.html
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from functools import cache
from typing import Any

from eth_abi.grammar import parse as parse_type

AbiWord = Callable[[bytes], Any]
"""The value of one word of 32 bytes; raises `ValueError` where its type cannot hold it."""

FREE, TIMES = 16 * 2**10, 4
"""What is made of a log may be so many times as large as its data, and so many bytes are free: an offset
takes 32 bytes, and many may point to one place."""


class Purse:
    """How many bytes may still be made of a log: 32 for each value, the length of texts and bytes beside."""

    def __init__(self, data: bytes) -> None:
        self.full = self.left = FREE + TIMES * len(data)

    def pay(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise TooMuch(
                f"more than {self.full:,} bytes would be made of the log's data ({TIMES} times what it has, "
                f"and {FREE:,})"
            )


class TooMuch(ValueError):
    """The whole log would come to more than may be made of one."""


Read = Callable[[bytes, int, int, Purse], Any]
"""The value whose head stands at the first place; offsets count from the second. Raises `ValueError`."""


class Kind:
    """How a type is read: its head takes `head` bytes; of a `dynamic` one that is an offset."""

    __slots__ = ("dynamic", "head", "read")

    def __init__(self, head: int, read: Read, *, dynamic: bool) -> None:
        self.head = head
        self.read = read
        self.dynamic = dynamic


def reader(types: Sequence[str]) -> tuple[list[tuple[int, Read]], int]:
    """For each value of a log's data the place of its head, and how it is read; and how long all heads are.
    Offsets count from 0."""
    return _members([_kind(kind) for kind in types])


@cache
def _kind(text: str) -> Kind:
    parsed = parse_type(text)
    if parsed.arrlist:
        inner = _kind(parsed.item_type.to_type_str())
        size = parsed.arrlist[-1]
        return _sized(inner, size[0]) if size else _listed(inner)
    if hasattr(parsed, "components"):
        return _tuple([_kind(item.to_type_str()) for item in parsed.components])
    if text == "string":
        return Kind(32, _text, dynamic=True)
    if text == "bytes":
        return Kind(32, _bytes, dynamic=True)
    one = word(text)
    assert one is not None

    def read(data: bytes, place: int, base: int, purse: Purse) -> Any:
        purse.pay(32)
        return one(_word(data, place))

    return Kind(32, read, dynamic=False)


def _word(data: bytes, place: int) -> bytes:
    found = data[place : place + 32]
    if len(found) < 32:
        raise ValueError(f"the data ends at byte {len(data)}, within the word at {place}")
    return found


def _length(data: bytes, place: int) -> int:
    return int.from_bytes(_word(data, place), "big")


def _pointed(kind: Kind, head: int) -> Read:
    """A dynamic value, by the offset in its head; the heads beside it take `head` bytes in all."""
    content = kind.read

    def read(data: bytes, place: int, base: int, purse: Purse) -> Any:
        offset = int.from_bytes(_word(data, place), "big")
        if offset < head:
            raise ValueError(f"the offset at byte {place} points to {offset}, into the head it stands in")
        if base + offset > len(data):
            raise ValueError(f"the offset at byte {place} points to {base + offset}, beyond the data")
        return content(data, base + offset, base + offset, purse)

    return read


def _raw(data: bytes, place: int, purse: Purse) -> bytes:
    size = _length(data, place)
    if size > len(data) - place - 32:
        raise ValueError(f"{size} bytes do not fit into the data after byte {place + 32}")
    purse.pay(32 + size)
    return data[place + 32 : place + 32 + size]


def _bytes(data: bytes, place: int, base: int, purse: Purse) -> bytes:
    return _raw(data, place, purse)


def _text(data: bytes, place: int, base: int, purse: Purse) -> str:
    return _raw(data, place, purse).decode("utf-8", "replace")


def _members(kinds: list[Kind]) -> tuple[list[tuple[int, Read]], int]:
    whole = sum(item.head for item in kinds)
    found, place = [], 0
    for item in kinds:
        found.append((place, _pointed(item, whole) if item.dynamic else item.read))
        place += item.head
    return found, whole


def _tuple(kinds: list[Kind]) -> Kind:
    parts, whole = _members(kinds)

    def read(data: bytes, place: int, base: int, purse: Purse) -> tuple[Any, ...]:
        purse.pay(32)
        return tuple([part(data, place + at, place, purse) for at, part in parts])

    dynamic = any(item.dynamic for item in kinds)
    return Kind(32 if dynamic else whole, read, dynamic=dynamic)


def _sized(inner: Kind, size: int) -> Kind:
    """An array of declared length."""
    whole = inner.head * size
    item = _pointed(inner, whole) if inner.dynamic else inner.read

    def read(data: bytes, place: int, base: int, purse: Purse) -> tuple[Any, ...]:
        if whole > len(data) - place:
            raise ValueError(f"{size} elements do not fit into the data after byte {place}")
        purse.pay(32)
        return tuple([item(data, at, place, purse) for at in range(place, place + whole, inner.head)])

    return Kind(32 if inner.dynamic else whole, read, dynamic=inner.dynamic)


def _listed(inner: Kind) -> Kind:
    """An array that says its length itself."""
    head, item = inner.head, inner.read

    def read(data: bytes, place: int, base: int, purse: Purse) -> tuple[Any, ...]:
        size, start = _length(data, place), place + 32
        if size * head > len(data) - start:
            raise ValueError(f"{size} elements do not fit into the data after byte {start}")
        purse.pay(32)
        one = _pointed(inner, size * head) if inner.dynamic else item
        return tuple([one(data, at, start, purse) for at in range(start, start + size * head, head)])

    return Kind(32, read, dynamic=True)


# --- single words ---


def word(kind: str) -> AbiWord | None:
    """The decoder of one word of this type, or None where it does not fit one word."""
    parsed = parse_type(kind)
    if parsed.arrlist or hasattr(parsed, "components"):
        return None
    match parsed.base:
        case "address":
            return _address
        case "bool":
            return _bool
        case "uint":
            return _unsigned(parsed.sub)
        case "int":
            return _signed(parsed.sub)
        case "fixed" | "ufixed":
            bits, places = parsed.sub
            return _fixed(_signed(bits, kind) if parsed.base == "fixed" else _unsigned(bits, kind), places)
        case "bytes" if parsed.sub:
            return _fixed_bytes(parsed.sub)
        case "function":
            return _fixed_bytes(24)
    return None


_TWELVE = bytes(12)
_EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)


def _address(word: bytes) -> str:
    if word[:12] != _TWELVE:
        raise ValueError(f"0x{word.hex()} is not an address")
    return "0x" + word[12:].hex()


def _bool(word: bytes) -> bool:
    value = int.from_bytes(word, "big")
    if value > 1:
        raise ValueError(f"0x{word.hex()} is not a bool")
    return value == 1


def _unsigned(bits: int, kind: str = "") -> AbiWord:
    def decode(word: bytes) -> int:
        value = int.from_bytes(word, "big")
        if value >> bits:
            raise ValueError(f"0x{word.hex()} is not {kind or f'uint{bits}'}")
        return value

    return decode


def _signed(bits: int, kind: str = "") -> AbiWord:
    bound = 1 << (bits - 1)

    def decode(word: bytes) -> int:
        value = int.from_bytes(word, "big", signed=True)
        if not -bound <= value < bound:
            raise ValueError(f"0x{word.hex()} is not {kind or f'int{bits}'}")
        return value

    return decode


def _fixed(whole: AbiWord, places: int) -> AbiWord:
    """A number with so many decimals, all of them shown: 1.50 of a ufixed8x2."""

    def decode(word: bytes) -> Decimal:
        return Decimal(whole(word)).scaleb(-places, _EXACT)

    return decode


def _fixed_bytes(width: int) -> AbiWord:
    padding = bytes(32 - width)

    def decode(word: bytes) -> bytes:
        if word[width:] != padding:
            raise ValueError(f"0x{word.hex()} is not bytes{width}")
        return word[:width]

    return decode
