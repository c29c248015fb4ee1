"""A JSON-RPC node as a source of logs.

Law: an empty answer is believed only from a node that showed, in the same breath, that it knows the
last block asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from msgspec import Raw

from eventstore import bloom, jsonrpc
from eventstore.endpoint import Call, Endpoint, Refused
from eventstore.errors import BlockUnknown, RangeTooLarge, Throttled
from eventstore.records import Answer, BlockRange, Header, Identity, Log, Query

_NO_SUCH_METHOD = (-32601, -32004)

Finality = Literal["finalized", "safe"] | int


class RpcSource:
    """The `Source` behind the URL of a node. `requests` counts the calls made, by method.

    `finality` is the tag that the chain's finality is read from, or a depth in blocks below the
    head; `timeout` is in seconds and for one HTTP request, which carries at most `max_batch` calls.
    """

    def __init__(
        self,
        url: str,
        *,
        finality: Finality = "finalized",
        timeout: float = 30.0,
        max_batch: int = 100,
    ) -> None:
        self._node = Endpoint(url, timeout=timeout, max_batch=max_batch)
        self._finality = finality
        self._receipts = True
        self.name = self._node.name
        self.requests: Counter[str] = self._node.requests

    def __repr__(self) -> str:
        return f"RpcSource({self.name!r})"

    def close(self) -> None:
        """Ends all connections. The source cannot be used afterwards."""
        self._node.close()

    # --- the port ---

    def identity(self) -> Identity:
        chain_id, genesis = self._node.ask([Call("eth_chainId", ()), _by_number(0)])
        block = jsonrpc.header(_result(genesis))
        if block is None:
            raise BlockUnknown(
                f"{self.name} does not have block 0, so it cannot be told from other chains.",
                hint="Use a node that keeps the first header.",
            )
        return Identity(jsonrpc.quantity(_result(chain_id)), block.hash)

    def head(self) -> Header:
        header = jsonrpc.header(_result(self._one(_by_number("latest"))))
        if header is None:
            raise BlockUnknown(f"{self.name} has no head yet.", hint="It is asked again.")
        return header

    def finalized(self) -> Header | None:
        if isinstance(self._finality, int):
            number = self.head().number - self._finality
            return self.headers([number])[0] if number >= 0 else None
        match self._one(_by_number(self._finality)):
            case Refused(error=(Throttled() as error)):
                raise error
            case Refused():
                return None  # not after the merge yet, or a chain without the tag
            case raw:
                return jsonrpc.header(raw)

    def headers(self, numbers: Sequence[int]) -> list[Header | None]:
        found: list[Header | None] = []
        for item in self._node.ask([_by_number(number) for number in numbers]):
            if isinstance(item, Refused) and isinstance(item.error, BlockUnknown):
                found.append(None)
            else:
                found.append(jsonrpc.header(_result(item)))
        return found

    def logs(self, query: Query, where: BlockRange | Header) -> Answer:
        match where:
            case BlockRange():
                return self._logs_of_range(query, where)
            case Header():
                return self._logs_of_block(query, where)

    # --- logs ---

    def _logs_of_range(self, query: Query, where: BlockRange) -> Answer:
        # The header goes first: where a node serves a batch in order, or the calls go one by
        # one, it knew the last block before it looked for logs.
        span = {"fromBlock": hex(where.first), "toBlock": hex(where.last)}
        last, found = self._node.ask([_by_number(where.last), _get_logs(query, span)])
        if isinstance(found, Refused):
            raise found.error
        header = self._known(last, f"block {where.last}")
        return Answer(_in_order(jsonrpc.logs(found)), header)

    def _logs_of_block(self, query: Query, where: Header) -> Answer:
        block = "0x" + where.hash.hex()
        last, found = self._node.ask(
            [Call("eth_getBlockByHash", (block, False)), _get_logs(query, {"blockHash": block})]
        )
        header = self._known(last, f"block {where.number} {block}")
        if isinstance(found, Refused) and isinstance(found.error, RangeTooLarge):
            logs = self._logs_of_receipts(query, block)
            if logs is None:
                raise found.error
            return Answer(_in_order(logs), header)
        logs = jsonrpc.logs(_result(found))
        if not logs and header.bloom is not None and bloom.may_contain(header.bloom, query):
            logs = self._logs_of_receipts(query, block) or []
        return Answer(_in_order(logs), header)

    def _logs_of_receipts(self, query: Query, block: str) -> list[Log] | None:
        """What the block's receipts hold for `query`, or None where the node has no such method."""
        if not self._receipts:
            return None
        item = self._one(Call("eth_getBlockReceipts", (block,)))
        if isinstance(item, Refused) and item.code in _NO_SUCH_METHOD:
            self._receipts = False
            return None
        logs = jsonrpc.receipt_logs(_result(item))
        if logs is None:
            raise BlockUnknown(
                f"{self.name} has the header, but not the receipts of block {block}.",
                hint="It lags, has pruned them, or the block was orphaned.",
            )
        return [log for log in logs if query.matches(log)]

    def _known(self, item: Raw | Refused, block: str) -> Header:
        header = jsonrpc.header(_result(item))
        if header is None:
            raise BlockUnknown(
                f"{self.name} does not have {block}.",
                hint="It lags, has pruned it, or the block was orphaned.",
            )
        return header

    def _one(self, call: Call) -> Raw | Refused:
        return self._node.ask([call])[0]


def _by_number(block: int | str) -> Call:
    return Call("eth_getBlockByNumber", (hex(block) if isinstance(block, int) else block, False))


def _get_logs(query: Query, where: dict[str, str]) -> Call:
    asked: dict[str, object] = {**where, "address": ["0x" + a.hex() for a in query.addresses]}
    if query.topics0:
        asked["topics"] = [["0x" + topic.hex() for topic in query.topics0]]
    return Call("eth_getLogs", (asked,))


def _result(item: Raw | Refused) -> Raw:
    if isinstance(item, Refused):
        raise item.error
    return item


def _in_order(logs: list[Log]) -> list[Log]:
    logs.sort(key=lambda log: (log.block_number, log.log_index))
    return logs
