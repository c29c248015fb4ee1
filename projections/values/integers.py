"""Integers of 256 bits in documents: their type, and the two texts that stand for them.

In a handler such a field is an `int`. Where a store or a reader has no integer of that width it is text: the
decimal digits where people and JSON read it, and the sortable form where a database orders by it.
"""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

WIDE = msgspec.Meta(extra={"chainfold": "integer256"})
"""What marks a hint as such an integer."""

Integer256 = Annotated[int, WIDE]
"""The type of a document's field that holds any uint256 or int256: an `int` in handlers."""

LOWEST, HIGHEST = -(2**255), 2**256 - 1

DECIMAL = r"^(0|-?[1-9][0-9]{0,77})$"
"""How the decimal text is written: no sign before what is positive, no zeros before the first digit."""

DIGITS = 78
"""Of the highest number."""

_DECIMAL = re.compile(DECIMAL.strip("^$"))
_SORTABLE = re.compile(r"[0-9-][0-9]{78}")
_WRAP = 10**DIGITS


def fits(number: int) -> bool:
    """Whether an integer has at most 256 bits: the range of int256 and uint256 together."""
    return LOWEST <= number <= HIGHEST


def from_decimal(text: str) -> int | None:
    """The number behind decimal text; None for other text and for more than 256 bits."""
    if _DECIMAL.fullmatch(text) is None:
        return None
    number = int(text)
    return number if fits(number) else None


def sortable(number: int) -> str:
    """79 characters that sort, byte by byte, as the numbers do.

    A number from 0 on is its digits after zeros, which `int`, BigInt and other parsers read. A negative one
    is a minus and the 78 digits of 10^78 plus the number: the minus sorts before the zero.
    """
    return f"{number:079d}" if number >= 0 else f"-{_WRAP + number:078d}"


def from_sortable(text: str) -> int | None:
    """The number behind the sortable form; None for other text."""
    if _SORTABLE.fullmatch(text) is None:
        return None
    number = int(text[1:]) - _WRAP if text[0] == "-" else int(text)
    return number if fits(number) else None
