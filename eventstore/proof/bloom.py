"""The 2,048-bit filter in every header that says which addresses and topics a block cannot hold.

Law: a sound bloom never says no to what the block holds. Whether a chain's blooms are sound is
known to its profile, not to this file.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from eth_hash.auto import keccak

from eventstore.records import Log, Query

_BYTES = 256


@lru_cache(maxsize=65_536)
def _bits(item: bytes) -> int:
    """The up to three bits of `item` (an address or a topic), as a number of 2,048 bits.

    Yellow Paper, section 4.4.1: the low 11 bits of the first three pairs of bytes of the hash.
    """
    digest = keccak(item)
    first = 1 << (int.from_bytes(digest[0:2], "big") & 2047)
    second = 1 << (int.from_bytes(digest[2:4], "big") & 2047)
    third = 1 << (int.from_bytes(digest[4:6], "big") & 2047)
    return first | second | third


def may_contain(bloom: bytes, query: Query) -> bool:
    """Could a block with this bloom (256 bytes) hold a log that `query` matches?

    False is certain where the chain's blooms are sound; True means "look".
    """
    if len(bloom) != _BYTES:
        raise ValueError(f"a bloom has {_BYTES} bytes, this one {len(bloom)}")
    filled = int.from_bytes(bloom, "big")
    if not any(_holds(filled, address) for address in query.addresses):
        return False
    return not query.topics0 or any(_holds(filled, topic) for topic in query.topics0)


def make(logs: Iterable[Log]) -> bytes:
    """The bloom (256 bytes) of a block that holds exactly `logs`."""
    filled = 0
    for log in logs:
        filled |= _bits(log.address)
        for topic in log.topics:
            filled |= _bits(topic)
    return filled.to_bytes(_BYTES, "big")


def _holds(filled: int, item: bytes) -> bool:
    bits = _bits(item)
    return filled & bits == bits
