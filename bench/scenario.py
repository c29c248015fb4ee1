"""The chain of the benchmark: registrations of one contract, drawn from a seed, as a node words them.

Users join one after another and register again at random. Referrers are log-uniform in their age (Zipf's
law with exponent 1), so a few early users bring thousands, chains run deep, and cycles happen.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from random import Random

from msgspec import Struct

CHAIN = 31_337
CONTRACT = "0x" + "c0" * 20
EVENT = "ReferralRegistered(address indexed user, address indexed referrer, uint256 timestamp)"
TOPIC0 = "0x90eab5d1df713df401d810f26aa9718d2b9e6894af1eb4890a332d3b185dc0e5"
NOBODY = "0x" + "00" * 20

UNFINALISED = 8
"""How many blocks at the head are not final."""

_START = 1_700_000_000
_BLOCK_TIME = 12


class Scenario(Struct, frozen=True):
    """What is drawn. `per_block` is the mean number of events in a block; every block holds some."""

    events: int = 100_000
    users: int = 50_000
    per_block: int = 20
    seed: int = 1


class Block(Struct, frozen=True):
    """A block as the node will answer it: the JSON of its header and of its logs, joined by commas."""

    number: int
    hash: str
    header: bytes
    logs: bytes


def registrations(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """(user, referrer) in chain order; one in twenty comes without a referrer."""
    random = Random(scenario.seed)
    known: list[str] = []
    for left in range(scenario.events, 0, -1):
        if not known or random.random() < (scenario.users - len(known)) / left:
            user = "0x" + sha256(b"%d %d" % (scenario.seed, len(known))).hexdigest()[:40]
            known.append(user)
        else:
            user = random.choice(known)
        alone = random.random() < 0.05
        yield user, NOBODY if alone else known[int(len(known) ** random.random()) - 1]


def blocks(scenario: Scenario) -> Iterator[Block]:
    """The chain from block 0, which is empty."""
    random = Random(scenario.seed + 1)
    drawn = registrations(scenario)
    left, number, parent = scenario.events, 0, "0x" + "00" * 32
    while number == 0 or left:
        size = 0 if number == 0 else min(left, random.randint(1, 2 * scenario.per_block - 1))
        timestamp = _START + _BLOCK_TIME * number
        own = _hash(f"block {number} {parent}")
        pairs = [next(drawn) for _ in range(size)]
        transactions = [_hash(f"transaction {number} {place}") for place in range(size)]
        logs = [
            _log(pair, transactions[place], place, block=own, number=number, timestamp=timestamp)
            for place, pair in enumerate(pairs)
        ]
        header = _header(own, parent, number, timestamp, transactions)
        yield Block(number, own, header.encode(), ",".join(logs).encode())
        left, number, parent = left - size, number + 1, own


def _hash(text: str) -> str:
    return "0x" + sha256(text.encode()).hexdigest()


def _log(pair: tuple[str, str], tx: str, place: int, *, block: str, number: int, timestamp: int) -> str:
    user, referrer = pair
    pad = "0x" + "00" * 12
    return (
        f'{{"address":"{CONTRACT}","topics":["{TOPIC0}","{pad}{user[2:]}","{pad}{referrer[2:]}"],'
        f'"data":"0x{timestamp:064x}","blockNumber":"{number:#x}","transactionHash":"{tx}",'
        f'"transactionIndex":"{place:#x}","blockHash":"{block}","blockTimestamp":"{timestamp:#x}",'
        f'"logIndex":"{place:#x}","removed":false}}'
    )


def _header(block: str, parent: str, number: int, timestamp: int, transactions: list[str]) -> str:
    """All fields that a node gives since the merge; the bloom is full, so that it excludes nothing."""
    word = "0x" + "5a" * 32
    listed = ",".join(f'"{tx}"' for tx in transactions)
    return (
        f'{{"baseFeePerGas":"0x7","blobGasUsed":"0x0","difficulty":"0x0","excessBlobGas":"0x0",'
        f'"extraData":"0x","gasLimit":"0x1c9c380","gasUsed":"0xf4240","hash":"{block}",'
        f'"logsBloom":"0x{("ff" if transactions else "00") * 256}","miner":"{CONTRACT}","mixHash":"{word}",'
        f'"nonce":"0x0000000000000000","number":"{number:#x}","parentBeaconBlockRoot":"{word}",'
        f'"parentHash":"{parent}","receiptsRoot":"{word}","sha3Uncles":"{word}","size":"0x5208",'
        f'"stateRoot":"{word}","timestamp":"{timestamp:#x}","transactions":[{listed}],'
        f'"transactionsRoot":"{word}","uncles":[],"withdrawals":[],"withdrawalsRoot":"{word}"}}'
    )
