"""How large the numbers of a chain may be: one range for all of them, as wide as the columns that keep them.

A block number, a log's index in its block, a transaction's index, a timestamp in seconds and a chain id are
each 0 to 2^63 - 1. Nodes do send log indexes above 2^32, and chains stamp blocks in milliseconds; nothing
real comes near the end of 64 bits; SQL keeps one of them for the sign.
"""

from __future__ import annotations

from eventstore.records import NO_END

MOST = NO_END
"""The highest legal number."""


def legal(number: int) -> bool:
    """May a chain give this number?"""
    return 0 <= number <= MOST


def shown(number: int) -> str:
    """A number for a message, however long it is."""
    return str(number) if abs(number) < 10**30 else f"{number.bit_length()} bits long"
