"""Blocks that were recorded from a real node, as a chain that can be served, and scripted further.

    with gzip.open("chain.jsonl.gz") as lines:
        chain = recorded(lines, chain_id=1)
    chain.finalize(chain.head().number)

Hashes and headers are the real ones; blocks that are mined on top of them are simulated.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import Raw, Struct

from eventstore.sources.rpc import codec
from eventstore.sources.simulated.block import Block, JsonObject
from eventstore.sources.simulated.chain import SimulatedChain


class _Line(Struct):
    block: Raw
    receipts: list[JsonObject]
    logs: Raw


def recorded(lines: Iterable[bytes], *, chain_id: int) -> SimulatedChain:
    """The chain of these lines, one `{"block", "receipts", "logs"}` each, as eth_getBlockByNumber,
    eth_getBlockReceipts and eth_getLogs answer, from block 0 on.

    Headers, transactions and receipts keep all their fields. The logs in a receipt are those of
    eth_getLogs. Raises `ValueError` where a block does not stand on the one before.
    """
    blocks = (_block(line) for line in lines)
    genesis = next(blocks)
    if genesis.number != 0:
        raise ValueError(f"a chain begins with block 0, these with block {genesis.number}")
    chain = SimulatedChain(chain_id=chain_id, genesis=genesis)
    for block in blocks:
        chain.adopt(block)
    return chain


def _block(line: bytes) -> Block:
    read = msgspec.json.decode(line, type=_Line)
    header = codec.header(read.block)
    if header is None:
        raise ValueError("a line holds no block")
    return Block(
        header.number,
        header.hash,
        header.parent_hash,
        header.timestamp,
        codec.logs(read.logs),
        header.bloom,
        msgspec.json.decode(read.block, type=JsonObject),
        {bytes.fromhex(receipt["transactionHash"][2:]): receipt for receipt in read.receipts},
    )
