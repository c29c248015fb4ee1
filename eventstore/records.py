"""The facts that move through the write side: blocks, logs, and the entries that made them known.

Integers and bytes only; hexadecimal and decimal strings belong to the edges.
"""

from __future__ import annotations

from typing import Literal, NewType

from msgspec import Struct

Completeness = Literal["linked", "bloom", "receipts"]


class Header(Struct, frozen=True, gc=False):
    """A block header, as much of it as the journal needs.

    `hash` and `parent_hash` are 32 bytes, `timestamp` is in seconds, `bloom` is the 256 bytes of
    `logsBloom` or None where the node gives none.
    """

    number: int
    hash: bytes
    parent_hash: bytes
    timestamp: int
    bloom: bytes | None = None


class Log(Struct, frozen=True, gc=False):
    """One event as the chain emitted it: 20 bytes of address, up to four topics of 32 bytes, data."""

    block_number: int
    log_index: int
    address: bytes
    topics: tuple[bytes, ...]
    data: bytes
    tx_hash: bytes
    tx_index: int
    block_hash: bytes


CheckedLogs = NewType("CheckedLogs", list[Log])
"""Logs that may enter the journal, ascending by (block, index).

`sources.checks` makes them of the answers that it has checked, and `proof.repair` of receipts that hash to
the root in their header. No other module of the service makes any: a test holds this.
"""


class Filter(Struct, frozen=True, gc=False):
    """What coverage is counted by: one address, and one topic0 or (None) all its topics."""

    address: bytes
    topic0: bytes | None = None

    def matches(self, log: Log) -> bool:
        return log.address == self.address and (
            self.topic0 is None or (bool(log.topics) and log.topics[0] == self.topic0)
        )


class Watch(Struct, frozen=True, gc=False):
    """A filter and the blocks for which it is wanted; `last_block` None means for ever."""

    filter: Filter
    first_block: int = 0
    last_block: int | None = None


class Query(Struct, frozen=True, gc=False):
    """What a source is asked for: logs of any of `addresses` whose topic0 is one of `topics0`.

    No topics0 means all logs of these addresses.
    """

    addresses: tuple[bytes, ...]
    topics0: tuple[bytes, ...] = ()

    def matches(self, log: Log) -> bool:
        return log.address in self.addresses and (
            not self.topics0 or (bool(log.topics) and log.topics[0] in self.topics0)
        )


class BlockRange(Struct, frozen=True, gc=False):
    """Blocks `first` to `last`, both included."""

    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first + 1


NO_END = 2**63 - 1
"""The end of a range of numbers that has none: the highest that SQL's 64 bits hold."""


def clipped(part: BlockRange, *, first: int, last: int | None) -> BlockRange | None:
    """The blocks of `part` from `first` to `last` (None: to its end); None where there are none."""
    low, high = max(part.first, first), part.last if last is None else min(part.last, last)
    return BlockRange(low, high) if low <= high else None


class Answer(Struct, frozen=True, gc=False):
    """A source's answer for a range or a block: the logs, and the header of the last block asked for.

    That header comes from the same answer of the same node: a node that does not know the last
    block cannot know that the range is empty.

    `completeness` is how well it is known that no log is missing: `linked`, the node says so; `bloom`, the
    header's bloom rules any out; `receipts`, they were read from all receipts of the block.
    """

    logs: list[Log]
    last: Header
    completeness: Completeness = "linked"


class Identity(Struct, frozen=True, gc=False):
    """Which chain this is. A chain id alone is not enough: every development chain is 31337."""

    chain_id: int
    genesis: bytes


class Appended(Struct, frozen=True, tag="appended", gc=False):
    """Entry of the journal: these logs were learned."""

    entry: int
    first_block: int
    last_block: int
    log_count: int


class Orphaned(Struct, frozen=True, tag="orphaned", gc=False):
    """Entry of the journal: these blocks are not, or no longer, on the canonical chain."""

    entry: int
    first_block: int
    last_block: int
    log_count: int


Entry = Appended | Orphaned
