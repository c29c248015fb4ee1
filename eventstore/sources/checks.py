"""Is a source's answer to be believed? Pure checks of what it says against what was asked.

Law: nothing reaches the journal that did not pass here. What no answer can show about itself (logs
left out) is for blooms, receipts and a second reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter

from eventstore.errors import AnswerRefused, BlockUnknown
from eventstore.records import Answer, BlockRange, Header, Log, Query

ROUND = frozenset(digit * 10**zeros for digit in (1, 2, 5) for zeros in range(2, 6)) | {
    25,
    250,
    256,
    1_024,
    2_048,
    4_096,
    8_192,
    16_384,
    65_536,
}
"""Counts at which nodes were seen to cut an answer short without a word, and their likes."""

_place = attrgetter("block_number", "log_index")


def in_chain_order(logs: list[Log]) -> list[Log]:
    """`logs` ascending by (block, index), as nearly every node gives them: to see that takes a third of the
    time of sorting them."""
    number = index = -1
    for log in logs:
        before, number = number, log.block_number
        above, index = index, log.log_index
        if number < before or (number == before and index < above):
            return sorted(logs, key=_place)
    return logs


def check(query: Query, where: BlockRange | Header, answer: Answer) -> list[Log]:
    """The logs of `answer`, ascending by (block, index), if all of them can be true at once.

    Every log lies in the block or range asked for and matches `query`; a block number has one
    hash, that of `answer.last` in the last block; no (block, index) comes twice. Raises
    `AnswerRefused`, which names the first log that breaks this, and how.
    """
    _check_last(where, answer.last)
    logs = in_chain_order(answer.logs)
    first, last = _bounds(where)
    addresses, topics0 = frozenset(query.addresses), frozenset(query.topics0)
    hashes = {answer.last.number: answer.last.hash}
    previous: Log | None = None
    for log in logs:
        number, index = log.block_number, log.log_index
        if not first <= number <= last:
            raise _refused(log, f"lies outside of the blocks {first} to {last} asked for")
        if log.address not in addresses:
            raise _refused(log, f"comes from 0x{log.address.hex()}, which was not asked for")
        if topics0 and (not log.topics or log.topics[0] not in topics0):
            raise _refused(log, "has another topic0 than those asked for")
        known = hashes.setdefault(number, log.block_hash)
        if known != log.block_hash:
            raise _refused(log, f"carries the block hash 0x{log.block_hash.hex()}, others 0x{known.hex()}")
        if previous is not None and previous.log_index == index and previous.block_number == number:
            how = "twice" if previous == log else "twice, with two different payloads"
            raise _refused(log, f"was given {how}")
        previous = log
    return logs


def check_headers(numbers: Sequence[int], headers: Sequence[Header | None], logs: Iterable[Log]) -> None:
    """Do `headers`, asked for by `numbers`, carry the hashes of all blocks that hold `logs`?

    Raises `AnswerRefused` where a header answers another number than was asked, or has another
    hash than the logs of its block; `BlockUnknown` where the header of such a block is missing.
    """
    if len(numbers) != len(headers):
        raise AnswerRefused(f"{len(numbers)} headers were asked for, {len(headers)} came.")
    hashes: dict[int, bytes] = {}
    for number, header in zip(numbers, headers, strict=True):
        if header is None:
            continue
        if header.number != number:
            raise AnswerRefused(f"The header of block {number} was asked for, that of {header.number} came.")
        hashes[number] = header.hash
    for log in logs:
        known = hashes.get(log.block_number)
        if known is None:
            raise BlockUnknown(
                f"Block {log.block_number} holds logs, but the source gave no header for it.",
                hint="The node may lag; ask again.",
            )
        if known != log.block_hash:
            raise _refused(
                log,
                f"carries the block hash 0x{log.block_hash.hex()}, its header 0x{known.hex()}",
            )


def _check_last(where: BlockRange | Header, last: Header) -> None:
    match where:
        case BlockRange():
            if last.number != where.last:
                raise AnswerRefused(
                    f"The header of block {where.last} was asked for with blocks {where.first} to"
                    f" {where.last}, that of block {last.number} came."
                )
        case Header():
            if (last.number, last.hash) != (where.number, where.hash):
                raise AnswerRefused(
                    f"Block {where.number} 0x{where.hash.hex()} was asked for, block"
                    f" {last.number} 0x{last.hash.hex()} came."
                )


def _bounds(where: BlockRange | Header) -> tuple[int, int]:
    match where:
        case BlockRange():
            return where.first, where.last
        case Header():
            return where.number, where.number


def _refused(log: Log, why: str) -> AnswerRefused:
    return AnswerRefused(
        f"Log {log.log_index} of block {log.block_number} {why}.",
        hint="Nothing of this answer was kept; it is asked for again.",
    )
