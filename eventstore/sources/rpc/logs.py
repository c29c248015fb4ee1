"""The logs of one node: asked for by range or by block, and compared with what else the node says.

Law: an empty answer is believed only from a node that showed, in the same breath, that it knows the
last block asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Raw

from eventstore.errors import AnswerRefused, BlockUnknown, RangeTooLarge, Unreadable
from eventstore.proof import bloom
from eventstore.records import Answer, BlockRange, Header, Log, Query
from eventstore.sources.checks import ROUND
from eventstore.sources.rpc import codec
from eventstore.sources.rpc.call import Call, CallRefused, block_by_number, result
from eventstore.sources.rpc.canary import Canary
from eventstore.sources.rpc.client import RpcClient
from eventstore.sources.rpc.receipts import Receipts


class LogReader:
    """Reads the logs of one node, by the methods that it has. Errors as those of `Source.logs`."""

    def __init__(self, node: RpcClient, receipts: Receipts, canary: Canary | None) -> None:
        self.name = node.name
        self._node = node
        self._receipts = receipts
        self._canary = canary
        self._cut_at: int | None = None

    def of_range(self, query: Query, where: BlockRange) -> Answer:
        answer = self._settled(query, where, self._range(query, where))
        if self._canary is not None and not answer.logs and answer.completeness == "linked":
            self._hear(self._canary, query, where)
        return answer

    def _hear(self, canary: Canary, query: Query, where: BlockRange) -> None:
        """Has the node give a log that we know, before it is believed that `where` holds none."""
        era = self._node.outages
        log = canary.wanted(query, where, era=era)
        if log is None:
            return
        again = self._range(query, BlockRange(log.block_number, log.block_number))
        if again.last.hash != log.block_hash:
            return  # it left the chain: that is for the comparison of headers to find
        given = log.log_index in [item.log_index for item in again.logs]
        if given and log.block_number < where.first:
            canary.shown(log, era=era)
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
            answer = self.of_block(query, block)
        except BlockUnknown:
            return False
        indexes = [item.log_index for item in answer.logs]
        return answer.completeness != "linked" and log.log_index not in indexes

    def _range(self, query: Query, where: BlockRange) -> Answer:
        """What the node says to a range, as it says it."""
        # The header goes first: where a node serves a batch in order, or the calls go one by
        # one, it knew the last block before it looked for logs.
        span = {"fromBlock": hex(where.first), "toBlock": hex(where.last)}
        last, found = self._node.ask([block_by_number(where.last), _get_logs(query, span)])
        if isinstance(found, CallRefused):
            if len(where) == 1 and _another_way(found):
                return self.of_block(query, self._known(last, f"block {where.last}"))
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
            return self.of_block(query, answer.last)
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

    def of_block(self, query: Query, where: Header) -> Answer:
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
        transactions = codec.transactions(result(raw))
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
        header = codec.header(result(item))
        if header is None:
            raise BlockUnknown(
                f"{self.name} does not have {block}.",
                hint="It lags, has pruned it, or the block was orphaned.",
            )
        return header


def _get_logs(query: Query, where: dict[str, str]) -> Call:
    asked: dict[str, object] = {**where, "address": ["0x" + a.hex() for a in query.addresses]}
    if query.topics0:
        asked["topics"] = [["0x" + topic.hex() for topic in query.topics0]]
    return Call("eth_getLogs", (asked,))


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
