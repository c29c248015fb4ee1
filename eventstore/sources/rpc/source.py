"""A JSON-RPC node as a source of logs.

Law: an empty answer is believed only from a node that showed, in the same breath, that it knows the
last block asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

import msgspec
from msgspec import Raw

from eventstore.errors import AnswerRefused, BlockUnknown, RangeTooLarge, SourceError, Throttled, Unreadable
from eventstore.proof import bloom, evidence
from eventstore.proof.header import Sealed, sealed
from eventstore.records import Answer, BlockRange, Header, Identity, Log, Query
from eventstore.sources.checks import ROUND, CheckedAnswer, check
from eventstore.sources.rpc import codec
from eventstore.sources.rpc.canary import Witness
from eventstore.sources.rpc.client import Call, CallRefused, Endpoint
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
    With a `witness`, the node must give a known log before it is believed that a range holds none.
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
        witness: Witness | None = None,
        max_answer: int = MOST,
    ) -> None:
        pace = None if max_requests_per_second is None else RateLimiter(max_requests_per_second)
        self._node = Endpoint(url, timeout=timeout, max_batch=max_batch, pace=pace, max_answer=max_answer)
        self._finality = finality
        self._untagged_depth = untagged_depth
        self._witness = witness
        self._receipts = Receipts(self._node)
        self._cut_at: int | None = None
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
        chain_id, genesis = self._node.ask([Call("eth_chainId", ()), _by_number(0)])
        block = codec.header(_result(genesis))
        if block is None:
            raise BlockUnknown(
                f"{self.name} does not have block 0, so it cannot be told from other chains.",
                hint="Use a node that keeps the first header.",
            )
        return Identity(codec.quantity(_result(chain_id), name="chain id"), block.hash)

    @_by_name
    def head(self) -> Header:
        header = codec.header(_result(self._one(_by_number("latest"))))
        if header is None:
            raise BlockUnknown(f"{self.name} has no head yet.", hint="It is asked again.")
        return header

    @_by_name
    def finalized(self) -> Header | None:
        if isinstance(self._finality, int):
            return self._below_head(self._finality)
        match self._one(_by_number(self._finality)):
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
        for item in self._node.ask([_by_number(number) for number in numbers]):
            if isinstance(item, CallRefused) and isinstance(item.error, BlockUnknown):
                found.append(None)
            else:
                found.append(codec.header(_result(item)))
        return found

    @_by_name
    def logs(self, query: Query, where: BlockRange | Header) -> CheckedAnswer:
        match where:
            case BlockRange():
                return check(query, where, self._logs_of_range(query, where))
            case Header():
                return check(query, where, self._logs_of_block(query, where))

    # --- outside the port ---

    def has_code(self, address: bytes, block: int) -> bool:
        """Was there a contract at `address` after `block`? Errors as the port's."""
        item = self._one(Call("eth_getCode", ("0x" + address.hex(), hex(block))))
        return len(msgspec.json.decode(_result(item), type=str)) > len("0x")

    def syncing(self) -> bool:
        """Does the node say that it is catching up? One that does not know the method says nothing."""
        item = self._one(Call("eth_syncing"))
        if isinstance(item, CallRefused):
            return False
        return msgspec.json.decode(item) is not False

    def linked(self, blocks: BlockRange, top: bytes) -> list[Sealed]:
        """See `proof.Evidence`."""
        asked = [_by_number(number) for number in range(blocks.first, blocks.last + 1)]
        found: list[Sealed | None] = []
        for item in self._node.ask(asked):
            if isinstance(item, CallRefused) and isinstance(item.error, BlockUnknown):
                found.append(None)
            else:
                block = codec.fields(_result(item))
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

    # --- logs ---

    def _logs_of_range(self, query: Query, where: BlockRange) -> Answer:
        answer = self._settled(query, where, self._range(query, where))
        if self._witness is not None and not answer.logs and answer.completeness == "linked":
            self._hear(self._witness, query, where)
        return answer

    def _hear(self, witness: Witness, query: Query, where: BlockRange) -> None:
        """Has the node give a log that we know, before it is believed that `where` holds none."""
        era = self._node.outages
        log = witness.wanted(query, where, era=era)
        if log is None:
            return
        again = self._range(query, BlockRange(log.block_number, log.block_number))
        if again.last.hash != log.block_hash:
            return  # it left the chain: that is for the comparison of headers to find
        given = log.log_index in [item.log_index for item in again.logs]
        if given and log.block_number < where.first:
            witness.shown(log, era=era)
            return
        if not given and self._disproves(query, again.last, log):
            return
        raise AnswerRefused(
            f"{self.name} has pruned or lost block {log.block_number}, which holds a log that we know, or"
            f" gives it only sometimes: that blocks {where.first} to {where.last} are empty is not believed.",
            hint="Use an endpoint that keeps the logs of these blocks.",
        )

    def _disproves(self, query: Query, block: Header, log: Log) -> bool:
        """Do the block's own bloom or receipts say that `log`, which we know, is not in it?"""
        try:
            answer = self._logs_of_block(query, block)
        except BlockUnknown:
            return False
        indexes = [item.log_index for item in answer.logs]
        return answer.completeness != "linked" and log.log_index not in indexes

    def _range(self, query: Query, where: BlockRange) -> Answer:
        """What the node says to a range, as it says it."""
        # The header goes first: where a node serves a batch in order, or the calls go one by
        # one, it knew the last block before it looked for logs.
        span = {"fromBlock": hex(where.first), "toBlock": hex(where.last)}
        last, found = self._node.ask([_by_number(where.last), _get_logs(query, span)])
        if isinstance(found, CallRefused):
            if len(where) == 1 and _another_way(found):
                return self._logs_of_block(query, self._known(last, f"block {where.last}"))
            if found.no_such_method:
                raise RangeTooLarge(
                    f"{self.name} has no eth_getLogs: its blocks are read one by one, from their receipts."
                )
            raise found.error
        header = self._known(last, f"block {where.last}")
        return Answer(codec.logs(found), header)

    def _settled(self, query: Query, where: BlockRange, answer: Answer) -> Answer:
        """`answer`, if it can be all there is: a count that nodes cut answers at is compared with those of
        the two halves. Raises `RangeTooLarge` where this node is known to cut at it."""
        count = len(answer.logs)
        if answer.completeness == "receipts" or not self._may_be_cut(count):
            return answer
        if len(where) == 1:
            return self._logs_of_block(query, answer.last)
        if count == self._cut_at:
            raise RangeTooLarge(
                f"{self.name} answers with {count} logs at most, and does not say so.",
                hint="Fewer blocks are asked for.",
            )
        middle = (where.first + where.last) // 2
        halves = [BlockRange(where.first, middle), BlockRange(middle + 1, where.last)]
        parts = [self._range(query, half) for half in halves]
        total = sum(len(part.logs) for part in parts)
        if total == count:
            return answer
        if total < count:
            raise AnswerRefused(
                f"{self.name} gave {count} logs for blocks {where.first} to {where.last}, and {total} for"
                " the two halves of them.",
                hint="It lags or is several nodes; it is asked again.",
            )
        self._cut_at = count
        low, high = [self._settled(query, half, part) for half, part in zip(halves, parts, strict=True)]
        return Answer(low.logs + high.logs, high.last)

    def _may_be_cut(self, count: int) -> bool:
        return count in ROUND or (count > 0 and count == self._cut_at)

    def _logs_of_block(self, query: Query, where: Header) -> Answer:
        block = "0x" + where.hash.hex()
        raw, found = self._node.ask(
            [Call("eth_getBlockByHash", (block, False)), _get_logs(query, {"blockHash": block})]
        )
        header = self._known(raw, f"block {where.number} {block}")
        if header.hash != where.hash:  # as ganache answers with the block that took its place
            raise BlockUnknown(
                f"{self.name} gives another block for {block}: 0x{header.hash.hex()}.",
                hint="The block was orphaned, or the node is several; it is asked again.",
            )
        transactions = codec.transactions(_result(raw))
        if isinstance(found, CallRefused):
            if not _another_way(found):
                raise found.error
            told = self._told_by_receipts(query, header, transactions)
            if told is None:
                raise Unreadable(
                    f"{self.name} has no method left to read block {where.number} by. {found.error.message}",
                    hint="It gives no receipts either: use another endpoint, or narrow the topics.",
                ) from found.error
            return Answer(told, header, "receipts")
        logs = codec.logs(found)
        if self._may_be_cut(len(logs)):
            return self._compared(query, header, transactions, logs)
        if logs:
            return Answer(logs, header)
        match _bloom_of(header, query, transactions):
            case "rules out":
                return Answer([], header, "bloom")
            case "says nothing":
                return Answer([], header)
            case "admits":
                told = self._told_by_receipts(query, header, transactions)
                return Answer([], header) if told is None else Answer(told, header, "receipts")

    def _compared(
        self, query: Query, header: Header, transactions: Sequence[bytes], logs: list[Log]
    ) -> Answer:
        """The logs of a block that holds as many as nodes cut answers at, compared with its receipts."""
        told, count = self._told_by_receipts(query, header, transactions), len(logs)
        if told is None and count == self._cut_at:
            raise Unreadable(
                f"{self.name} has no method left to read block {header.number} by: it answers with {count}"
                " logs at most, and gives no receipts.",
                hint="Use another endpoint, or narrow the topics.",
            )
        if told is None:
            return Answer(logs, header)
        if len(told) < count:
            raise AnswerRefused(
                f"{self.name} gave {count} logs for block {header.number}, its receipts hold {len(told)}."
            )
        if len(told) > count:
            self._cut_at = count
        return Answer(told, header, "receipts")

    def _told_by_receipts(
        self, query: Query, block: Header, transactions: Sequence[bytes]
    ) -> list[Log] | None:
        logs = self._receipts.logs(block, transactions)
        return None if logs is None else [log for log in logs if query.matches(log)]

    def _known(self, item: Raw | CallRefused, block: str) -> Header:
        header = codec.header(_result(item))
        if header is None:
            raise BlockUnknown(
                f"{self.name} does not have {block}.",
                hint="It lags, has pruned it, or the block was orphaned.",
            )
        return header

    def _one(self, call: Call) -> Raw | CallRefused:
        return self._node.ask([call])[0]


def _by_number(block: int | str) -> Call:
    return Call("eth_getBlockByNumber", (hex(block) if isinstance(block, int) else block, False))


def _get_logs(query: Query, where: dict[str, str]) -> Call:
    asked: dict[str, object] = {**where, "address": ["0x" + a.hex() for a in query.addresses]}
    if query.topics0:
        asked["topics"] = [["0x" + topic.hex() for topic in query.topics0]]
    return Call("eth_getLogs", (asked,))


def _result(item: Raw | CallRefused) -> Raw:
    if isinstance(item, CallRefused):
        raise item.error
    return item


def _another_way(refused: CallRefused) -> bool:
    """May a single block that was refused like this be read by another method?"""
    return isinstance(refused.error, RangeTooLarge) or refused.no_such_method


def _bloom_of(
    header: Header, query: Query, transactions: Sequence[bytes]
) -> Literal["rules out", "admits", "says nothing"]:
    """What the header says about logs of `query`. Where blooms are not kept they are all zero, and a block
    with transactions and such a bloom may be of such a chain."""
    if header.bloom is None or (transactions and not any(header.bloom)):
        return "says nothing"
    return "admits" if bloom.may_contain(header.bloom, query) else "rules out"
