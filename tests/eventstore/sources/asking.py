"""A client that asks a node over HTTP and believes every answer."""

from __future__ import annotations

from typing import Any

import requests

from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.node import SimulatedNode
from tests.blocks import ALICE, BOB, TOPIC

HEAD = 10


def scripted() -> SimulatedChain:
    """Ten blocks, each with three logs: of Alice, of Bob, of Alice again. The first six are final."""
    chain = SimulatedChain()
    for _ in range(HEAD):
        for address in (ALICE, BOB, ALICE):
            chain.emit(address, [TOPIC])
        chain.mine()
    chain.finalize(6)
    return chain


def post(node: SimulatedNode, body: object, *, timeout: float = 20) -> requests.Response:
    return requests.post(node.url, json=body, timeout=timeout)


def call(method: str, *params: object, number: int = 1) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def reply(node: SimulatedNode, method: str, *params: object) -> dict[str, Any]:
    found: dict[str, Any] = post(node, call(method, *params)).json()
    return found


def ask(node: SimulatedNode, method: str, *params: object) -> Any:
    return reply(node, method, *params)["result"]


def span(first: int, last: int) -> dict[str, object]:
    return {"fromBlock": hex(first), "toBlock": hex(last), "address": "0x" + ALICE.hex()}


def by_hash(chain: SimulatedChain, number: int) -> dict[str, object]:
    return {"blockHash": hash_of(chain, number), "address": "0x" + ALICE.hex()}


def hash_of(chain: SimulatedChain, number: int) -> str:
    header = chain.header(number)
    assert header is not None
    return "0x" + header.hash.hex()


def places(logs: list[dict[str, Any]]) -> list[tuple[int, int]]:
    return [(int(log["blockNumber"], 16), int(log["logIndex"], 16)) for log in logs]


def block(node: SimulatedNode, number: int | str) -> Any:
    return ask(node, "eth_getBlockByNumber", number if isinstance(number, str) else hex(number), False)
