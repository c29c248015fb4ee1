"""The root of a list as Ethereum commits to one: a Merkle Patricia trie whose keys are the list's places.

Yellow Paper, appendix D, for the one shape that receipts and transactions have: all values known, none
removed, keys `rlp(0)`, `rlp(1)`, ... Each node is built once, where a trie that could also be changed builds
them again for each item that it takes; the tests hold this to the library `trie`, which does.
"""

from __future__ import annotations

from collections.abc import Sequence

from eth_hash.auto import keccak

from eventstore.proof import rlp

EMPTY = keccak(rlp.encode(b""))
"""The root of a list without items."""

_Item = tuple[bytes, bytes]  # nibbles of the key, value


def root_of(values: Sequence[bytes]) -> bytes:
    """The 32 bytes that commit to `values` (none of them empty), in this order."""
    if not values:
        return EMPTY
    items = sorted((_nibbles(rlp.encode(rlp.number(place))), value) for place, value in enumerate(values))
    return keccak(rlp.encode(_node(items, 0)))


def _nibbles(key: bytes) -> bytes:
    return bytes(half for byte in key for half in (byte >> 4, byte & 15))


def _node(items: Sequence[_Item], depth: int) -> list[rlp.Item]:
    """The node over `items`, ascending, whose keys agree below `depth`."""
    first = items[0][0]
    if len(items) == 1:
        return [_path(first[depth:], leaf=True), items[0][1]]
    last = items[-1][0]
    shared = depth
    while shared < len(first) and shared < len(last) and first[shared] == last[shared]:
        shared += 1
    if shared > depth:
        return [_path(first[depth:shared], leaf=False), _reference(_node(items, shared))]
    branch: list[rlp.Item] = [b""] * 17
    start = 0
    while start < len(items):  # no key is a prefix of another: none ends here
        nibble, end = items[start][0][depth], start + 1
        while end < len(items) and items[end][0][depth] == nibble:
            end += 1
        branch[nibble] = _reference(_node(items[start:end], depth + 1))
        start = end
    return branch


def _reference(node: list[rlp.Item]) -> rlp.Item:
    """How a node stands in the one above: itself where it is short, else by its hash."""
    encoded = rlp.encode(node)
    return node if len(encoded) < 32 else keccak(encoded)


def _path(nibbles: bytes, *, leaf: bool) -> bytes:
    """Hex-prefix encoding: a flag for leaves, and one for an odd number of nibbles."""
    flag = 2 * leaf + len(nibbles) % 2
    padded = (bytes([flag]) if len(nibbles) % 2 else bytes([flag, 0])) + nibbles
    return bytes(16 * padded[place] + padded[place + 1] for place in range(0, len(padded), 2))
