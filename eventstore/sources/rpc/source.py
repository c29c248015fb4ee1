"""A JSON-RPC node as a source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

import msgspec
from msgspec import Raw

from eventstore.errors import BlockUnknown, SourceError, Throttled, Unreadable
from eventstore.proof import evidence
from eventstore.proof.header import Sealed, sealed
from eventstore.records import BlockRange, Header, Identity, Query
from eventstore.sources.checks import CheckedAnswer, check
from eventstore.sources.rpc import codec
from eventstore.sources.rpc.call import Call, CallRefused, block_by_number, result
from eventstore.sources.rpc.canary import Canary
from eventstore.sources.rpc.client import RpcClient
from eventstore.sources.rpc.logs import LogReader
from eventstore.sources.rpc.rate_limit import RateLimiter
from eventstore.sources.rpc.receipts import Receipts
from eventstore.sources.rpc.transport import MOST

UNTAGGED_DEPTH = 64
"""Blocks: two epochs of Ethereum, whose tags this stands in for. Chains that reorganise deeper (Polygon was
seen to, by 157) want a depth of their own in the configuration."""

P = ParamSpec("P")
T = TypeVar("T")

Finality = Literal["finalized", "safe"] | int


def _by_name(ask: Callable[Concatenate[RpcSource, P], T]) -> Callable[Concatenate[RpcSource, P], T]:
    """Of a number that cannot be taken it is said which node gave it: the decoding does not know."""

    @wraps(ask)
    def asked(source: RpcSource, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return ask(source, *args, **kwargs)
        except Unreadable as error:
            if source.name not in error.message:
                error.message = f"{source.name}: {error.message}"
            raise

    return asked


class RpcSource:
    """The `Source` behind the URL of a node. `requests` counts the calls made, by method.

    `finality` is the tag that the chain's finality is read from, or a depth in blocks below the
    head; `untagged_depth` is the depth where the node does not know the tag at all. `timeout` is in
    seconds and for the whole of one HTTP request, which carries at most `max_batch` calls.
    `max_requests_per_second` counts calls, as providers do: a batch of ten is ten of them.
    An answer has at most `max_answer` bytes, decompressed.
    With a `canary`, the node must give a known log before it is believed that a range holds none.
    """

    def __init__(
        self,
        url: str,
        *,
        finality: Finality = "finalized",
        timeout: float = 30.0,
        max_batch: int = 100,
        max_requests_per_second: float | None = None,
        untagged_depth: int = UNTAGGED_DEPTH,
        canary: Canary | None = None,
        max_answer: int = MOST,
    ) -> None:
        pace = None if max_requests_per_second is None else RateLimiter(max_requests_per_second)
        self._node = RpcClient(url, timeout=timeout, max_batch=max_batch, pace=pace, max_answer=max_answer)
        self._finality = finality
        self._untagged_depth = untagged_depth
        self._receipts = Receipts(self._node)
        self._logs = LogReader(self._node, self._receipts, canary)
        self.name = self._node.name
        self.requests: Counter[str] = self._node.requests

    def __repr__(self) -> str:
        return f"RpcSource({self.name!r})"

    def close(self) -> None:
        """Ends all connections. The source cannot be used afterwards."""
        self._node.close()

    # --- the port ---

    @_by_name
    def identity(self) -> Identity:
        chain_id, genesis = self._node.ask([Call("eth_chainId", ()), block_by_number(0)])
        block = codec.header(result(genesis))
        if block is None:
            raise BlockUnknown(
                f"{self.name} does not have block 0, so its chain cannot be identified.",
                hint="Use a node that keeps the first header.",
            )
        return Identity(codec.quantity(result(chain_id), name="chain id"), block.hash)

    @_by_name
    def head(self) -> Header:
        header = codec.header(result(self._one(block_by_number("latest"))))
        if header is None:
            raise BlockUnknown(f"{self.name} has no head yet.", hint="It is asked again.")
        return header

    @_by_name
    def finalized(self) -> Header | None:
        if isinstance(self._finality, int):
            return self._below_head(self._finality)
        match self._one(block_by_number(self._finality)):
            case CallRefused(error=(Throttled() as error)):
                raise error
            case CallRefused() as refused:  # not yet, as before the merge, or never
                return self._below_head(self._untagged_depth) if refused.no_such_tag else None
            case raw:
                return codec.header(raw)

    def _below_head(self, depth: int) -> Header | None:
        number = self.head().number - depth
        return self.headers([number])[0] if number >= 0 else None

    @_by_name
    def headers(self, numbers: Sequence[int]) -> list[Header | None]:
        found: list[Header | None] = []
        for item in self._node.ask([block_by_number(number) for number in numbers]):
            if isinstance(item, CallRefused) and isinstance(item.error, BlockUnknown):
                found.append(None)
            else:
                found.append(codec.header(result(item)))
        return found

    @_by_name
    def logs(self, query: Query, where: BlockRange | Header) -> CheckedAnswer:
        match where:
            case BlockRange():
                return check(query, where, self._logs.of_range(query, where))
            case Header():
                return check(query, where, self._logs.of_block(query, where))

    # --- outside the port ---

    def has_code(self, address: bytes, block: int) -> bool:
        """Was there a contract at `address` after `block`? Errors as the port's."""
        item = self._one(Call("eth_getCode", ("0x" + address.hex(), hex(block))))
        return len(msgspec.json.decode(result(item), type=str)) > len("0x")

    def syncing(self) -> bool:
        """Does the node say that it is catching up? One that does not know the method says nothing."""
        item = self._one(Call("eth_syncing"))
        if isinstance(item, CallRefused):
            return False
        return msgspec.json.decode(item) is not False

    def linked(self, blocks: BlockRange, top: bytes) -> list[Sealed]:
        """See `proof.Evidence`."""
        asked = [block_by_number(number) for number in range(blocks.first, blocks.last + 1)]
        found: list[Sealed | None] = []
        for item in self._node.ask(asked):
            if isinstance(item, CallRefused) and isinstance(item.error, BlockUnknown):
                found.append(None)
            else:
                block = codec.fields(result(item))
                found.append(None if block is None else sealed(block))
        return evidence.linked(found, blocks, top, by=self.name)

    def rooted(self, block: Sealed) -> list[Mapping[str, Any]]:
        """See `proof.Evidence`."""
        told = self._receipts.told(block.number, block.hash, block.transactions)
        if told is None:
            raise SourceError(
                f"{self.name} gives no receipts, so block {block.number} cannot be proved by it.",
                hint="Use an endpoint with eth_getBlockReceipts or eth_getTransactionReceipt.",
            )
        return evidence.rooted(block, [codec.fields(item) or {} for item in told], by=self.name)

    def _one(self, call: Call) -> Raw | CallRefused:
        return self._node.ask([call])[0]
