"""A node of any make with a contract of one test on it, and what it says of that contract's logs."""

from __future__ import annotations

import random
from typing import Any

from eventstore.records import Log
from projections.service.demo.contract import DevelopmentNode, ReferralContract

USERS = [f"0x{number:040x}" for number in range(1, 21)]


class Network(DevelopmentNode):
    """A node with a contract of this test on it, whose users register at random."""

    def __init__(self, name: str, url: str) -> None:
        super().__init__(url)
        self.name = name
        self.contract = ReferralContract.deploy(self)
        self.address = bytes_of(self.contract.address)
        self.first = self.head()
        self._random = random.Random(7)

    def mine(self, blocks: int = 1) -> None:
        for _ in range(blocks):
            self.rpc("evm_mine")

    def live(self, blocks: int) -> None:
        """Mines blocks with up to three transactions of up to four registrations each."""
        choose = self._random.choice
        for _ in range(blocks):
            for _ in range(self._random.randint(0, 3)):
                count = self._random.randint(1, 4)
                self.contract.register_many([(choose(USERS), choose(USERS)) for _ in range(count)])
            self.mine()

    def register(self) -> int:
        """Mines a block with one registration, and says which."""
        self.contract.register(*self._random.sample(USERS, 2))
        self.mine()
        return self.head()

    def head(self) -> int:
        return int(self.rpc("eth_blockNumber"), 16)

    def block(self, which: int | str) -> dict[str, Any]:
        """What the node says of a block, by its number or tag."""
        return dict(self.rpc("eth_getBlockByNumber", hex(which) if isinstance(which, int) else which, False))

    def logs_of(self, number: int) -> list[Log]:
        """The contract's logs in a block, by the receipts of its transactions: the other road to them.

        They are counted here, as not every node counts them through the block.
        """
        transactions = self.block(number)["transactions"]
        receipts = [self.rpc("eth_getTransactionReceipt", tx_hash) for tx_hash in transactions]
        items = [item for receipt in receipts for item in receipt["logs"]]
        logs = [log_of(item | {"logIndex": hex(place)}) for place, item in enumerate(items)]
        return [log for log in logs if log.address == self.address]

    def logs(self, first: int = 0) -> dict[int, list[Log]]:
        """All that the contract logged from block `first` on, by block."""
        blocks = range(max(first, self.first), self.head() + 1)
        return {number: found for number in blocks if (found := self.logs_of(number))}


def bytes_of(text: str) -> bytes:
    return bytes.fromhex(text[2:])


def log_of(item: dict[str, Any]) -> Log:
    """A log as nodes write it, in our terms."""
    return Log(
        block_number=int(item["blockNumber"], 16),
        log_index=int(item["logIndex"], 16),
        address=bytes_of(item["address"]),
        topics=tuple(map(bytes_of, item["topics"])),
        data=bytes_of(item["data"]),
        tx_hash=bytes_of(item["transactionHash"]),
        tx_index=int(item["transactionIndex"], 16),
        block_hash=bytes_of(item["blockHash"]),
    )
