"""Headers and receipts of simulated blocks that prove themselves, as those of a real chain do.

A sealed block's hash is that of its header's fields, which commit to its parent, its bloom and its receipts:
the whole JSON is made here, as if it had been recorded from a node.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from eventstore.proof import bloom, header, receipt
from eventstore.proof.trie import EMPTY
from eventstore.records import Log
from eventstore.sources.simulated.block import JsonObject

_NO_UNCLES = "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347"
"""keccak256 of the RLP of an empty list."""


class Seal(Struct, frozen=True):
    """What a block gets by being sealed: its hash, and its logs, header and receipts as they name it."""

    hash: bytes
    logs: list[Log]
    bloom: bytes
    fields: JsonObject
    receipts: dict[bytes, JsonObject]


def seal(number: int, parent_hash: bytes, timestamp: int, logs: Sequence[Log], *, salt: bytes) -> Seal:
    """Seals the block of these logs, each of a transaction of its own; `salt` tells it from its like."""
    made = bloom.make(logs)
    receipts = [_receipt(number, place, log) for place, log in enumerate(logs)]
    root = receipt.root(receipts)
    assert root is not None
    fields: JsonObject = {
        "number": hex(number),
        "parentHash": _hex(parent_hash),
        "sha3Uncles": _NO_UNCLES,
        "miner": "0x" + "00" * 20,
        "stateRoot": _hex(bytes(32)),
        "transactionsRoot": _hex(EMPTY),
        "receiptsRoot": _hex(root),
        "logsBloom": _hex(made),
        "difficulty": "0x0",
        "gasLimit": hex(30_000_000),
        "gasUsed": hex(21_000 * len(logs)),
        "timestamp": hex(timestamp),
        "extraData": _hex(salt[:32]),
        "mixHash": _hex(bytes(32)),
        "nonce": _hex(bytes(8)),
        "baseFeePerGas": hex(7),
    }
    found = header.hash_of(fields)
    assert found is not None
    return Seal(
        found,
        [replace(log, block_hash=found) for log in logs],
        made,
        {**fields, "hash": _hex(found)},
        {log.tx_hash: {**told, "blockHash": _hex(found)} for log, told in zip(logs, receipts, strict=True)},
    )


def _receipt(number: int, place: int, log: Log) -> JsonObject:
    told = {
        "address": _hex(log.address),
        "topics": [_hex(topic) for topic in log.topics],
        "data": _hex(log.data),
    }
    return {
        "status": "0x1",
        "type": "0x2",
        "cumulativeGasUsed": hex(21_000 * (place + 1)),
        "transactionHash": _hex(log.tx_hash),
        "transactionIndex": hex(place),
        "blockNumber": hex(number),
        "logsBloom": _hex(bloom.make([log])),
        "logs": [told],
    }


def _hex(value: bytes) -> str:
    return "0x" + value.hex()
