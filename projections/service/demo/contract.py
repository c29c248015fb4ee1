"""A contract that emits what its caller asks for, and the means to deploy and call it on a development node.

`Referrals.vy` is the source, `Referrals.json` its ABI and bytecode; a test recompiles the one and compares
it with the other.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import requests
from eth_abi.abi import encode
from eth_hash.auto import keccak

from eventstore.errors import SourceUnavailable

ARTIFACT: dict[str, Any] = json.loads((Path(__file__).parent / "Referrals.json").read_text())

Transaction = dict[str, str]

GAS = 8_000_000
"""What each transaction asks for: enough for 200 registrations. No transaction may ask for more than 2^24
since Osaka (EIP-7825)."""


class DevelopmentNode:
    """JSON-RPC to a node that signs for its own accounts, as anvil does."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._session = requests.Session()
        self._ids = itertools.count(1)

    def rpc(self, method: str, *params: object) -> Any:
        """The result of one call; `SourceUnavailable` with the node's words where it refuses."""
        body = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}
        headers = {"Content-Type": "application/json"}
        try:
            answer = self._session.post(
                self.url, data=msgspec.json.encode(body), headers=headers, timeout=60
            ).json()
        except requests.RequestException as error:
            raise SourceUnavailable(f"{method}: the node at {self.url} does not answer.") from error
        if "error" in answer:
            raise SourceUnavailable(f"{method}: {answer['error'].get('message')}.")
        return answer["result"]

    def send(self, transaction: Transaction) -> str:
        """The hash of a transaction that the node signed and took."""
        return str(self.rpc("eth_sendTransaction", transaction))

    def mine(self, blocks: int = 1) -> None:
        self.rpc("anvil_mine", hex(blocks))

    def close(self) -> None:
        self._session.close()


class ReferralContract:
    """The contract at one address; every method also has a form that only makes the transaction."""

    def __init__(self, node: DevelopmentNode, address: str, sender: str) -> None:
        self.node = node
        self.address = address
        self._sender = sender

    @classmethod
    def deploy(cls, node: DevelopmentNode) -> ReferralContract:
        """Deploys it from the node's first account and waits until it is mined."""
        sender = node.rpc("eth_accounts")[0]
        done = node.send({"from": sender, "data": ARTIFACT["bytecode"], "gas": hex(GAS)})
        receipt = node.rpc("eth_getTransactionReceipt", done)
        if receipt is None:
            node.mine()
            receipt = node.rpc("eth_getTransactionReceipt", done)
        return cls(node, receipt["contractAddress"], sender)

    def register(self, user: str, referrer: str) -> str:
        return self.node.send(self.call_register(user, referrer))

    def register_many(self, pairs: Sequence[tuple[str, str]]) -> str:
        """At most 200 pairs of (user, referrer) in one transaction."""
        return self.node.send(self.call_register_many(pairs))

    def join(self, inviter: str, referee: str) -> str:
        return self.node.send(self._call("join(address,address)", inviter, referee))

    def leave(self, user: str) -> str:
        return self.node.send(self._call("leave(address)", user))

    def noise(self, what: bytes) -> str:
        return self.node.send(self._call("noise(bytes)", what))

    def call_register(self, user: str, referrer: str) -> Transaction:
        return self._call("register(address,address)", user, referrer)

    def call_register_many(self, pairs: Sequence[tuple[str, str]]) -> Transaction:
        users, referrers = [user for user, _ in pairs], [referrer for _, referrer in pairs]
        return self._call("registerMany(address[],address[])", users, referrers)

    def _call(self, signature: str, *values: object) -> Transaction:
        types = signature[signature.index("(") + 1 : -1].split(",")
        data = keccak(signature.encode())[:4] + encode(types, values)
        return {
            "from": self._sender,
            "to": self.address,
            "data": "0x" + data.hex(),
            "gas": hex(GAS),
        }
