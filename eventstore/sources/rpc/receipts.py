"""The logs of a block as its receipts tell them: all at once, or one transaction's after another's.

Law: receipts are a second opinion on what eth_getLogs says, so a list that lacks a transaction of the
block, or whose logs do not rise, is refused and proves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Raw
from msgspec.structs import replace

from eventstore.errors import AnswerRefused, BlockUnknown, RangeTooLarge
from eventstore.records import Header, Log
from eventstore.sources.rpc import codec
from eventstore.sources.rpc.call import Call, CallRefused
from eventstore.sources.rpc.client import RpcClient
from eventstore.sources.rpc.codec import Receipt


class Receipts:
    """Reads receipts from a node, by the methods that it turns out to have. Safe for several threads."""

    def __init__(self, node: RpcClient) -> None:
        self._node = node
        self._by_block = True
        self._by_transaction = True

    def logs(self, block: Header, transactions: Sequence[bytes]) -> list[Log] | None:
        """All logs of the block that holds these transactions, or None where there is no way to them.

        Raises `BlockUnknown` where the node has the block, but not its receipts; `AnswerRefused` where
        they cannot be all there is.
        """
        told = self.told(block.number, block.hash, transactions)
        if told is None:
            return None
        return checked(block, transactions, [codec.receipt(item) for item in told])

    def told(self, number: int, block_hash: bytes, transactions: Sequence[bytes]) -> list[Raw] | None:
        """The receipts of a block as the node writes them, or None where there is no way to them."""
        found = self._of_block(number, block_hash)
        return self._of_transactions(number, block_hash, transactions) if found is None else found

    def _of_block(self, number: int, block_hash: bytes) -> list[Raw] | None:
        if not self._by_block:
            return None
        item = self._node.ask([Call("eth_getBlockReceipts", (_hex(block_hash),))])[0]
        if isinstance(item, CallRefused):
            if item.no_such_method:
                self._by_block = False
                return None
            if isinstance(item.error, RangeTooLarge):
                return None
            raise item.error
        receipts = codec.listed(item)
        if receipts is None:
            raise self._unknown(number, block_hash, "the receipts")
        return receipts

    def _of_transactions(
        self, number: int, block_hash: bytes, transactions: Sequence[bytes]
    ) -> list[Raw] | None:
        if not self._by_transaction:
            return None
        calls = [Call("eth_getTransactionReceipt", (_hex(tx_hash),)) for tx_hash in transactions]
        receipts = []
        for item, tx_hash in zip(self._node.ask(calls), transactions, strict=True):
            if isinstance(item, CallRefused):
                if item.no_such_method:
                    self._by_transaction = False
                    return None
                raise item.error
            if bytes(item) == b"null":
                raise self._unknown(number, block_hash, f"the receipt of transaction {_hex(tx_hash)}")
            receipts.append(item)
        return receipts

    def _unknown(self, number: int, block_hash: bytes, what: str) -> BlockUnknown:
        return BlockUnknown(
            f"{self._node.name} has the header, but not {what} of block {number} {_hex(block_hash)}.",
            hint="It lags, has pruned them, or the block was orphaned.",
        )


def checked(block: Header, transactions: Sequence[bytes], receipts: Sequence[Receipt]) -> list[Log]:
    """The logs of `receipts`, if they can be those of all `transactions` of `block`.

    There may be more receipts than transactions: some chains have receipts for other things too. Where a
    node (ganache) counts the logs of each transaction from 0, they are counted through the block.
    Raises `AnswerRefused`, which says what is missing or wrong.
    """
    missing = set(transactions) - {receipt.tx_hash for receipt in receipts}
    if missing:
        raise _refused(block, f"lack that of transaction {_hex(min(missing))}")
    logs: list[Log] = []
    counted_anew = [item.tx_hash for item in receipts] == list(transactions) and all(
        log.log_index == place for receipt in receipts for place, log in enumerate(receipt.logs)
    )
    for receipt in receipts:
        if receipt.block_hash not in (None, block.hash):
            raise _refused(block, f"hold one of block {_hex(receipt.block_hash or b'')}")
        for log in receipt.logs:
            if log.block_hash != block.hash or log.tx_hash != receipt.tx_hash:
                raise _refused(block, f"hold log {log.log_index} of another block or transaction")
            if counted_anew:
                log = replace(log, log_index=len(logs))  # noqa: PLW2901 - it is the same log, rightly numbered
            if logs and log.log_index <= logs[-1].log_index:
                raise _refused(block, f"hold log {log.log_index} after log {logs[-1].log_index}")
            logs.append(log)
    return logs


def _refused(block: Header, why: str) -> AnswerRefused:
    return AnswerRefused(
        f"The receipts of block {block.number} {why}.", hint="They are asked for again; nothing was kept."
    )


def _hex(value: bytes) -> str:
    return "0x" + value.hex()
