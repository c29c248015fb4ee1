"""The hash of a header from its fields: who gives a header that hashes right cannot have altered it.

EIP-1559 (baseFeePerGas), EIP-4895 (withdrawalsRoot), EIP-4844 (blobGasUsed, excessBlobGas), EIP-4788
(parentBeaconBlockRoot), EIP-7685 (requestsHash) and EIP-7928 (blockAccessListHash) each added to the end.
Chains that hash otherwise simply do not come out right: of them nothing can be proved this way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eth_hash.auto import keccak
from msgspec import Struct

from eventstore.proof import rlp

_FIELDS = (
    ("parentHash", 32),
    ("sha3Uncles", 32),
    ("miner", 20),
    ("stateRoot", 32),
    ("transactionsRoot", 32),
    ("receiptsRoot", 32),
    ("logsBloom", 256),
    ("difficulty", 0),
    ("number", 0),
    ("gasLimit", 0),
    ("gasUsed", 0),
    ("timestamp", 0),
    ("extraData", -1),
    ("mixHash", 32),
    ("nonce", 8),
)
"""In the order of the hash; bytes of this width, 0 for a number, -1 for bytes of any width."""

_LATER = (
    ("baseFeePerGas", 0),
    ("withdrawalsRoot", 32),
    ("blobGasUsed", 0),
    ("excessBlobGas", 0),
    ("parentBeaconBlockRoot", 32),
    ("requestsHash", 32),
    ("blockAccessListHash", 32),
)
"""What forks added; a header has the first so many of them."""


class Sealed(Struct, frozen=True, gc=False):
    """A header whose fields came with it, and what they hash to.

    `recomputed` is the hash of the fields, or None where they are not those of a header that we know; it
    equals `hash` where nobody altered them. Hashes and roots are 32 bytes, the bloom is 256. The hashes of
    the `transactions` are the node's word: the header commits to their bodies.
    """

    number: int
    hash: bytes
    parent_hash: bytes
    timestamp: int
    bloom: bytes
    receipts_root: bytes
    recomputed: bytes | None
    transactions: tuple[bytes, ...] = ()

    @property
    def holds(self) -> bool:
        return self.recomputed == self.hash


def sealed(block: Mapping[str, Any]) -> Sealed | None:
    """The header of a block as a node's JSON gives it; None where what every header has is missing."""
    try:
        return Sealed(
            number=int(block["number"], 16),
            hash=_bytes(block["hash"], 32),
            parent_hash=_bytes(block["parentHash"], 32),
            timestamp=int(block["timestamp"], 16),
            bloom=_bytes(block["logsBloom"], 256),
            receipts_root=_bytes(block["receiptsRoot"], 32),
            recomputed=hash_of(block),
            transactions=tuple(
                _bytes(item if isinstance(item, str) else item["hash"], 32)
                for item in block.get("transactions") or ()
            ),
        )
    except (KeyError, TypeError, ValueError):
        return None


def hash_of(block: Mapping[str, Any]) -> bytes | None:
    """keccak256 of the RLP of the header in `block`; None where a field is missing or of another shape."""
    later = [(name, width) for name, width in _LATER if block.get(name) is not None]
    if later != list(_LATER[: len(later)]):
        return None
    try:
        return keccak(rlp.encode([_field(block[name], width) for name, width in (*_FIELDS, *later)]))
    except (KeyError, TypeError, ValueError):
        return None


def _field(text: str, width: int) -> bytes:
    if width:
        return _bytes(text, width)
    return rlp.number(int(text, 16))


def _bytes(text: str, width: int) -> bytes:
    value = bytes.fromhex(text[2:])
    if width >= 0 and len(value) != width:
        raise ValueError(f"{len(value)} bytes where a header has {width}")
    return value
