"""The receipts of a block as its header commits to them: the bytes that go into the trie of `receiptsRoot`.

EIP-2718 puts the type in front, EIP-658 replaced the state root by a status; a deposit of an OP stack chain
has a nonce more, from its Canyon fork on. The logs are taken from the very bytes that were hashed: a node
cannot prove one list of logs and tell another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eventstore.proof import bloom, rlp
from eventstore.proof.trie import root_of
from eventstore.records import Log

_OP_DEPOSIT = 0x7E


def root(receipts: Sequence[Mapping[str, Any]]) -> bytes | None:
    """The root that commits to these receipts, in this order; None where one is of no shape that we know."""
    try:
        return root_of([encoded(receipt) for receipt in receipts])
    except (KeyError, TypeError, ValueError):
        return None


def encoded(receipt: Mapping[str, Any]) -> bytes:
    """A receipt, as a node's JSON gives it, in its consensus form; raises where it is of another shape."""
    outcome = receipt.get("root")
    logs: list[rlp.Item] = [
        [_bytes(log["address"]), [_bytes(topic) for topic in log["topics"]], _bytes(log["data"])]
        for log in receipt["logs"]
    ]
    fields: list[rlp.Item] = [
        _number(receipt["status"]) if outcome is None else _bytes(outcome),
        _number(receipt["cumulativeGasUsed"]),
        _bytes(receipt["logsBloom"]),
        logs,
    ]
    kind = int(receipt.get("type") or "0x0", 16)
    if kind == _OP_DEPOSIT and receipt.get("depositReceiptVersion") is not None:
        fields += [_number(receipt["depositNonce"]), _number(receipt["depositReceiptVersion"])]
    payload = rlp.encode(fields)
    return bytes([kind]) + payload if kind else payload


def logs_of(receipts: Sequence[Mapping[str, Any]], *, number: int, block_hash: bytes) -> list[Log]:
    """The logs of all receipts, numbered through the block, as the hashed bytes have them.

    Only the transactions' hashes are not in those bytes; they are the node's word.
    """
    found: list[Log] = []
    for place, receipt in enumerate(receipts):
        for log in receipt["logs"]:
            found.append(
                Log(
                    number,
                    len(found),
                    _bytes(log["address"]),
                    tuple(_bytes(topic) for topic in log["topics"]),
                    _bytes(log["data"]),
                    _bytes(receipt["transactionHash"]),
                    place,
                    block_hash,
                )
            )
    return found


def bloom_of(receipts: Sequence[Mapping[str, Any]]) -> bytes:
    """The bloom (256 bytes) that a header over these receipts must have."""
    return bloom.make(logs_of(receipts, number=0, block_hash=b""))


def _number(text: str) -> bytes:
    value = int(text, 16)
    if value < 0:
        raise ValueError(f"{value} is below zero")
    return rlp.number(value)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text[2:])
