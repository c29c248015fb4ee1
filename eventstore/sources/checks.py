"""The checks of a source's answers: pure comparisons of what it says with what was asked.

Law: nothing reaches the journal that did not pass here, once: the types `CheckedAnswer` and `CheckedLogs` say
that it did. No answer can show that logs are missing from it: blooms, receipts and a second reading do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter

from eventstore.errors import AnswerRefused, BlockUnknown
from eventstore.records import Answer, BlockRange, CheckedLogs, Header, Log, Query

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


class CheckedAnswer(Answer, frozen=True, gc=False, kw_only=True, eq=False):
    """An answer that passed `check` as the answer to this question. Only this module makes one.

    It is equal to every answer with the same content, checked or not.
    """

    logs: CheckedLogs
    query: Query
    where: BlockRange | Header

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Answer):
            return NotImplemented
        ours, theirs = (self.logs, self.last), (other.logs, other.last)
        return ours == theirs and self.completeness == other.completeness

    def __ne__(self, other: object) -> bool:  # msgspec has one of its own
        return not self == other

    __hash__ = None  # type: ignore[assignment]  # its logs are a list


def check(query: Query, where: BlockRange | Header, answer: Answer) -> CheckedAnswer:
    """`answer` with its logs ascending by (block, index), if all of them can be true at once.

    Every log lies in the block or range asked for and matches `query`; a block number has one
    hash, that of `answer.last` in the last block; no (block, index) comes twice. Raises
    `AnswerRefused`, which names the first log that breaks this, and how.

    What was checked for this question before, by a source of several endpoints, is not checked again.
    """
    if isinstance(answer, CheckedAnswer) and answer.query == query and answer.where == where:
        return answer
    _check_last(where, answer.last)
    logs = answer.logs
    if not _agree(logs, query, where, answer.last):
        logs = sorted(logs, key=_place)
        _agree(logs, query, where, answer.last)
    return CheckedAnswer(
        logs=CheckedLogs(logs),
        last=answer.last,
        completeness=answer.completeness,
        query=query,
        where=where,
    )


def _agree(logs: Sequence[Log], query: Query, where: BlockRange | Header, last_header: Header) -> bool:
    """Looks at every log once. False where they do not ascend: nearly every node gives them in order, and to
    see that on the way costs next to nothing. Raises `AnswerRefused` for what cannot be true."""
    first, last = _bounds(where)
    addresses, topics0 = frozenset(query.addresses), frozenset(query.topics0)
    hashes = {last_header.number: last_header.hash}
    at = above = -1
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
        if number <= at and (number < at or index <= above):
            if number < at or index < above:
                return False
            how = "twice" if previous == log else "twice, with two different payloads"
            raise _refused(log, f"was given {how}")
        previous, at, above = log, number, index
    return True


def joined(query: Query, where: BlockRange, parts: Sequence[CheckedAnswer]) -> CheckedAnswer:
    """The answer for `where` from those for its parts, each checked for the same query.

    Parts that follow on each other share no block, so that together they keep what each of them kept. Raises
    `ValueError` where they are not the parts of this range, in order.
    """
    at = where.first
    for part in parts:
        if part.query != query or not isinstance(part.where, BlockRange) or part.where.first != at:
            raise ValueError(f"these are not the answers for the parts of {where}")
        at = part.where.last + 1
    if at != where.last + 1:
        raise ValueError(f"these parts of {where} end below block {at}")
    if len(parts) == 1:
        return parts[0]
    logs = CheckedLogs([log for part in parts for log in part.logs])
    return CheckedAnswer(logs=logs, last=parts[-1].last, query=query, where=where)


def those(logs: CheckedLogs, wanted: Callable[[Log], object]) -> CheckedLogs:
    """Those of `logs` that are wanted."""
    return CheckedLogs(list(filter(wanted, logs)))


def merged(parts: Iterable[CheckedLogs]) -> CheckedLogs:
    """The logs of several answers as one list, ascending by (block, index)."""
    return CheckedLogs(sorted((log for part in parts for log in part), key=_place))


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
