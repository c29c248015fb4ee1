"""The hash of a header from its fields: who gives a header that hashes right cannot have altered it.

EIP-1559 (baseFeePerGas), EIP-4895 (withdrawalsRoot), EIP-4844 (blobGasUsed, excessBlobGas), EIP-4788
(parentBeaconBlockRoot), EIP-7685 (requestsHash), EIP-7928 (blockAccessListHash) and EIP-7843 (slotNumber)
each added to the end. Where validators take turns (Authority Round: Gnosis before its merge) the step and the
signature stand where others have mixHash and nonce.

Law: no node is called a liar for a field that we do not know. A header that does not come out and has one is
of a form that is not known; one of known fields only that does not come out was altered, or is of a chain
that hashes otherwise. Of neither can anything be proved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from eth_hash.auto import keccak
from msgspec import Struct

from eventstore.proof import rlp

_Fields = Sequence[tuple[str, int]]

_FIELDS: _Fields = (
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
)
"""In the order of the hash; bytes of this width, 0 for a number, -1 for bytes of any width."""

_SEALS: Sequence[_Fields] = (
    (("auraStep", 0), ("auraSeal", 65)),
    (("step", 0), ("signature", 65)),
    (("mixHash", 32), ("nonce", 8)),
)
"""What follows, if both fields are there. Clients name those of Authority Round in two ways, and one gives
them as they are hashed (`sealFields`)."""

_LATER: _Fields = (
    ("baseFeePerGas", 0),
    ("withdrawalsRoot", 32),
    ("blobGasUsed", 0),
    ("excessBlobGas", 0),
    ("parentBeaconBlockRoot", 32),
    ("requestsHash", 32),
    ("blockAccessListHash", 32),
    ("slotNumber", 0),
)
"""What forks added; a header has the first so many of them."""

_BESIDE = frozenset(
    {
        *("hash", "size", "totalDifficulty", "transactions", "uncles", "withdrawals", "author", "sealFields"),
        *("l1BlockNumber", "sendCount", "sendRoot"),  # Arbitrum: they stand in mixHash and extraData
        "milliTimestamp",  # BNB Smart Chain: it stands in mixHash
    }
)
"""What nodes give beside the header and no hash is over."""

KNOWN = _BESIDE | {name for fields in (_FIELDS, *_SEALS, _LATER) for name, _ in fields}
"""Every field that a block is known to have."""


class Sealed(Struct, frozen=True, gc=False):
    """A header whose fields came with it, and what they hash to.

    `recomputed` is the hash of the fields; it equals `hash` if they were not altered. It is None where they
    are not those of a header that we know, or do not come out and one of them is strange to us. Hashes and
    roots are 32 bytes, the bloom is 256. The hashes of the `transactions` are the node's word: the header
    commits to their bodies.
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
            number=_quantity(block["number"]),
            hash=_bytes(block["hash"], 32),
            parent_hash=_bytes(block["parentHash"], 32),
            timestamp=_quantity(block["timestamp"]),
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
    """keccak256 of the RLP of the header in `block`; None where it is of no form that is known."""
    later = [(name, width) for name, width in _LATER if block.get(name) is not None]
    if later != list(_LATER[: len(later)]):
        return None
    found: bytes | None = None
    try:
        before = [_field(block[name], width) for name, width in _FIELDS]
        after = [_field(block[name], width) for name, width in later]
        for seal in _seals(block):
            found = keccak(rlp.encode([*before, *seal, *after]))
            if "0x" + found.hex() == str(block.get("hash")).lower():
                return found
    except (KeyError, TypeError, ValueError):
        return None
    strange = any(value is not None for name, value in block.items() if name not in KNOWN)
    return None if strange else found


def _seals(block: Mapping[str, Any]) -> Iterator[list[bytes]]:
    """What may stand between both, by the fields that are there; the most telling first."""
    for seal in _SEALS:
        if all(block.get(name) is not None for name, _ in seal):
            yield [_field(block[name], width) for name, width in seal]
    encoded = block.get("sealFields")
    if encoded is not None:
        yield [_payload(bytes.fromhex(item[2:])) for item in encoded]


def _payload(item: bytes) -> bytes:
    """What is in the encoding of a few bytes."""
    if len(item) == 1 and item[0] < 0x80:
        return item
    return item[2:] if item[:1] >= b"\xb8" else item[1:]


def _field(given: Any, width: int) -> bytes:
    return _bytes(given, width) if width else rlp.number(_quantity(given))


def _quantity(given: Any) -> int:
    """A number as nodes write it; `step` was seen in decimals, and as a number of JSON."""
    if isinstance(given, int) and not isinstance(given, bool):
        value = given
    else:
        value = int(given, 16 if given[:2] in ("0x", "0X") else 10)
    if value < 0:
        raise ValueError(f"{value} is below zero")
    return value


def _bytes(text: str, width: int) -> bytes:
    value = bytes.fromhex(text[2:] if text[:2] == "0x" else text)  # OpenEthereum signs without it
    if width >= 0 and len(value) != width:
        raise ValueError(f"{len(value)} bytes where a header has {width}")
    return value
