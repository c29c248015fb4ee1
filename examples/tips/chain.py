"""A chain on this machine for the tutorial: people tip each other, and you decide when. No node, no network.

It prints the address of its JSON-RPC and writes it to `chain.url`. Then it reads commands: `tip` mines a
block with one more tip, `reorg` replaces the last two blocks by others, `quit` ends it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from eth_abi.abi import encode
from eth_hash.auto import keccak

from eventstore.sources.simulated.chain import Emission, SimulatedChain
from eventstore.sources.simulated.node import SimulatedNode

CONTRACT = bytes.fromhex("71" * 20)
TIPPED = keccak(b"Tipped(address,address,uint256,string)")
FINAL_AFTER = 4
"""Blocks below the head that are final."""

ANN, BOB, CAT = (bytes([digit]) * 20 for digit in (0xA1, 0xB2, 0xC3))
FIRST = [
    (ANN, BOB, 5, "for the coffee"),
    (CAT, BOB, 3, "for the song"),
    (BOB, CAT, 1, "for the pen"),
    (ANN, CAT, 7, "for the map"),
    (CAT, ANN, 2, "for the lift"),
    (ANN, BOB, 4, "for the tea"),
]


def tip(sender: bytes, receiver: bytes, amount: int, note: str) -> Emission:
    """The log of a tip, as the contract would emit it."""
    topics = (TIPPED, bytes(12) + sender, bytes(12) + receiver)
    return Emission(CONTRACT, topics, encode(["uint256", "string"], [amount, note]))


def main() -> None:
    chain = SimulatedChain()
    for one in FIRST:
        chain.mine(logs=[tip(*one)])
    with SimulatedNode(chain) as node:
        Path("chain.url").write_text(node.url + "\n")
        print(
            f"a chain at {node.url}, the contract at 0x{CONTRACT.hex()}; type tip, reorg or quit", flush=True
        )
        for line in sys.stdin:
            match line.strip():
                case "tip":
                    chain.mine(logs=[tip(CAT, BOB, 6, "for the book")])
                    chain.finalize(max(0, chain.head().number - FINAL_AFTER))
                case "reorg":
                    chain.reorg(2, logs=[[tip(ANN, BOB, 9, "for the tea")], []])
                case "quit":
                    return
                case other:
                    print(f"no command {other!r}: type tip, reorg or quit", flush=True)
                    continue
            print(f"block {chain.head().number}", flush=True)


if __name__ == "__main__":
    main()
