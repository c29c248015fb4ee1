"""A forced resync: blocks that are covered are fetched again and compared with the journal.

Law: it deletes nothing. What was missing is appended; a block that holds what is not on the chain is orphaned
whole and appended again; a log that may exist by the block's own bloom is not given up for an answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Executor

from msgspec import Struct

from eventstore.errors import HistoryConflict, RangeTooLarge
from eventstore.ingest.blocks import read_blocks
from eventstore.ingest.branch import Branch, Ingested, View
from eventstore.ingest.failed_ranges import FailedRanges
from eventstore.ingest.plan import BlockRequest, apart, filters_at, only, wants
from eventstore.ingest.ranges import query_of, read
from eventstore.ingest.window import Window
from eventstore.journal.coverage import Covered
from eventstore.journal.history import Question, ask
from eventstore.journal.journal import Journal
from eventstore.journal.tail import Tail
from eventstore.proof import bloom
from eventstore.records import BlockRange, CheckedLogs, Header, Log, Query, Watch, clipped
from eventstore.sources import Source
from eventstore.sources.checks import merged, those
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store

BLOCKS_PER_PART = 32
"""How many unfinalised blocks one part asks for."""

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

    missing: CheckedLogs
    wrong: list[int]


def compare(living: Sequence[Log], fetched: CheckedLogs) -> Compared:
    """What the journal holds against what the source says, both of the same blocks and filters. A log that
    lives twice is as wrong as one that the chain does not have."""
    ours = {(log.block_number, log.log_index): log for log in living}
    places = Counter((log.block_number, log.log_index) for log in living)
    theirs = {(log.block_number, log.log_index): log for log in fetched}
    wrong = sorted(
        {
            block
            for (block, index), log in ours.items()
            if theirs.get((block, index)) != log or places[(block, index)] > 1
        }
    )
    bad = set(wrong)
    lacking = {key for key in theirs if key not in ours and key[0] not in bad}

    def missing(log: Log) -> bool:
        """Each once, also where two questions brought it."""
        found = (log.block_number, log.log_index) in lacking
        lacking.discard((log.block_number, log.log_index))
        return found

    return Compared(those(fetched, missing), wrong)


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


class Resync:
    """Fetches blocks again part by part, and repairs the journal where it differs from the chain."""

    def __init__(
        self,
        store: Store,
        source: Source,
        lease: Lease,
        branch: Branch,
        workers: Executor,
        *,
        chain_id: int,
        watches: Sequence[Watch],
        window: Window,
    ) -> None:
        self._store = store
        self._source = source
        self._lease = lease
        self._branch = branch
        self._workers = workers
        self._chain = chain_id
        self._watches = watches
        self._window = window

    def part(self, asked: BlockRange, chosen: Sequence[Watch]) -> tuple[Resynced, int]:
        """Does the first part of `asked` for the chosen watches: what was found, and its last block."""
        view = self._branch.look()
        if isinstance(view, Ingested):
            return Resynced(rewound=1), asked.first - 1
        with self._store.read() as tx:
            known = Tail(tx, self._chain).headers()
            entry = Journal(tx, self._chain).head()
        final, filters = self._branch.reach(view, known), [watch.filter for watch in chosen]
        if asked.first <= final:
            part = self._window.take(asked.first, min(asked.last, final))
            parts: list[CheckedLogs] = []
            blocks: dict[int, Header] = {}
            try:
                for group in apart(filters):
                    fetched = read(self._source, query_of(group), part, known)
                    parts.append(only(group, fetched.logs))
                    blocks |= fetched.blocks
            except RangeTooLarge as error:
                self._window = self._window.refused(part, error)
                return Resynced(), asked.first - 1
            logs = merged(parts)
            self._window = self._window.answered(part, logs=len(logs))
        else:
            seen = [item for item in known if asked.first <= item.number <= asked.last]
            if not seen:
                return Resynced(), asked.last  # nothing is known there yet: steps will fetch it
            wanted = [BlockRequest(header, filters) for header in seen[:BLOCKS_PER_PART]]
            done, logs = read_blocks(self._source, self._workers, wanted)
            part = BlockRange(asked.first, done[-1].header.number)
            blocks = {item.header.number: item.header for item in done}
        logs = those(logs, lambda log: wants(chosen, log))
        return self._repair(view, part, chosen, logs, blocks, entry=entry), part.last

    def _repair(
        self,
        view: View,
        part: BlockRange,
        chosen: Sequence[Watch],
        logs: CheckedLogs,
        blocks: dict[int, Header],
        *,
        entry: int,
    ) -> Resynced:
        with self._store.read() as tx:
            recorded = ask(tx, self._chain, Question(first=part.first, last=part.last))
            living = [item.log for item in recorded]
        found = compare([log for log in living if wants(chosen, log)], logs)
        lacking, wrong, doubted = [found.missing], [], []
        for number in found.wrong:
            of_block = [log for log in living if log.block_number == number]
            header = self._branch.tracker.header(number)
            if header.hash != of_block[0].block_hash:
                moved = HistoryConflict(f"Block {number} has another hash on the node's chain.")
                self._branch.resolve(view, moved, part, entry=entry)
                return Resynced(rewound=1)
            again = [BlockRequest(header, filters_at(self._watches, number))]
            _, told = read_blocks(self._source, self._workers, again)
            if not credible(header, of_block, told):
                doubted.append(number)
                continue
            wrong.append(number)
            lacking.append(told)
            blocks[number] = header
        fresh = merged(lacking)
        try:
            with self._lease.commit() as tx:
                self._branch.unmoved(tx, entry)
                journal = Journal(tx, self._chain)
                for number in wrong:
                    journal.orphan(number, number)
                journal.append(fresh, blocks, [] if doubted else _covered(chosen, part))
                if not doubted:
                    FailedRanges(tx, self._chain).forget(part)
        except HistoryConflict as conflict:
            self._branch.resolve(view, conflict, part, entry=entry)
            return Resynced(rewound=1)
        before, after = set(living), set(fresh)
        return Resynced(
            blocks=len(part),
            logs=len(logs),
            missing=len(after - before),
            orphaned=sum(log.block_number in wrong and log not in after for log in living),
            missing_in=tuple(sorted({log.block_number for log in after - before})),
            orphaned_in=tuple(wrong),
            doubted_in=tuple(doubted),
        )


def _covered(chosen: Sequence[Watch], part: BlockRange) -> list[Covered]:
    return [
        Covered(watch.filter, item)
        for watch in chosen
        if (item := clipped(part, first=watch.first_block, last=watch.last_block)) is not None
    ]
