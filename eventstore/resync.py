"""A forced resync: blocks that are covered are fetched again and compared with the journal.

Law: it deletes nothing. What was missing is appended; a block that holds what is not on the chain is orphaned
whole and appended anew; and what the block's own bloom says may well be there is not given up for an answer.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from eventstore import bloom
from eventstore.records import Header, Log, Query

NAMED = 20
"""How many blocks of each kind a report names."""


class Resynced(Struct, frozen=True):
    """What a resync found, so far: counts of blocks and logs, and the first blocks of each kind."""

    blocks: int = 0
    logs: int = 0
    missing: int = 0
    orphaned: int = 0
    rewound: int = 0
    missing_in: tuple[int, ...] = ()
    orphaned_in: tuple[int, ...] = ()
    doubted_in: tuple[int, ...] = ()
    """Blocks whose logs the node does not give, though the block's bloom says that they may be there."""

    def __add__(self, other: Resynced) -> Resynced:
        return Resynced(
            self.blocks + other.blocks,
            self.logs + other.logs,
            self.missing + other.missing,
            self.orphaned + other.orphaned,
            self.rewound + other.rewound,
            (*self.missing_in, *other.missing_in)[:NAMED],
            (*self.orphaned_in, *other.orphaned_in)[:NAMED],
            (*self.doubted_in, *other.doubted_in)[:NAMED],
        )

    def __str__(self) -> str:
        said = f"{self.blocks:,} blocks with {self.logs:,} logs fetched again"
        if self.missing:
            said += f"; {self.missing:,} logs were missing and are appended, in {_named(self.missing_in)}"
        if self.orphaned:
            said += f"; {self.orphaned:,} logs are not on the chain and are orphaned, in "
            said += _named(self.orphaned_in)
        if self.rewound:
            said += f"; {self.rewound:,} times the chain had another branch, which is followed"
        if self.doubted_in:
            said += "; left as they were, for the node withholds logs that the bloom speaks of: "
            said += _named(self.doubted_in)
        if not (self.missing or self.orphaned or self.rewound or self.doubted_in):
            said += "; the journal holds the same"
        return said


class Compared(Struct, frozen=True):
    """One part: the logs that the journal lacks, and the blocks that hold what the chain does not."""

    missing: list[Log]
    wrong: list[int]


def compare(living: Sequence[Log], fetched: Sequence[Log]) -> Compared:
    """What the journal holds against what the source says, both of the same blocks and filters."""
    ours = {(log.block_number, log.log_index): log for log in living}
    theirs = {(log.block_number, log.log_index): log for log in fetched}
    wrong = sorted({block for (block, index), log in ours.items() if theirs.get((block, index)) != log})
    bad = set(wrong)
    missing = [log for key, log in theirs.items() if key not in ours and key[0] not in bad]
    return Compared(missing, wrong)


def credible(header: Header, living: Sequence[Log], told: Sequence[Log]) -> bool:
    """Is a second reading of a block, by its hash, to be believed against the journal?

    Not where it lacks a log that the block's own bloom says may be there: a bloom forgets nothing, so it
    is the node that may have forgotten.
    """
    if header.bloom is None:
        return True
    gone = set(living) - set(told)
    return not any(
        all(bloom.may_contain(header.bloom, item) for item in _questions(log))
        for log in gone
        if all(log.log_index != other.log_index for other in told)
    )


def _questions(log: Log) -> list[Query]:
    """The address and every topic of a log, each as what a bloom can be asked."""
    return [Query((log.address,), (topic,)) for topic in log.topics] or [Query((log.address,))]


def _named(blocks: Sequence[int]) -> str:
    shown = ", ".join(f"{block:,}" for block in blocks)
    return f"block{'s' if len(blocks) > 1 else ''} {shown}" + (" ..." if len(blocks) == NAMED else "")
