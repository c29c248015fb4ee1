"""Checks of single values in the configuration: numbers, addresses, names of other tables."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping

from eth_hash.auto import keccak

from projections.errors import ConfigurationError

ReadDuration = Callable[[str, str], float]
"""Reads a duration in seconds; it takes the text and the path of its key."""


def known_name(name: str, known: Mapping[str, object], where: str, what: str) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Known are: {', '.join(known) or 'none'}."
        raise ConfigurationError(f"{where}: there is no {what} {name}.", hint=hint)


def whole_number(number: int, where: str, *, least: int = 0) -> None:
    """Chain ids and block numbers must fit the store's 64-bit integers."""
    if not least <= number < 2**63:
        raise ConfigurationError(f"{where}: {number} is not between {least} and 2^63 - 1.")


def parse_address(text: str, where: str) -> bytes:
    """The 20 bytes of an address in any case; mixed case must be its checksum (EIP-55)."""
    if not re.fullmatch(r"0[xX][0-9a-fA-F]*", text):
        raise ConfigurationError(f"{where}: {text!r} is not an address: 0x and 40 hexadecimal digits.")
    if len(text) != 42:
        raise ConfigurationError(
            f"{where}: {text} has {len(text) - 2} hexadecimal digits, an address has 40."
        )
    digits = text[2:]
    if digits not in (digits.lower(), digits.upper()) and digits != _checksummed(digits):
        raise ConfigurationError(
            f"{where}: the checksum of {text} is wrong.",
            hint=f"If every digit is right, it is written 0x{_checksummed(digits)}.",
        )
    return bytes.fromhex(digits)


def _checksummed(digits: str) -> str:
    low = digits.lower()
    marks = keccak(low.encode()).hex()
    return "".join(c.upper() if int(mark, 16) >= 8 else c for c, mark in zip(low, marks, strict=False))
