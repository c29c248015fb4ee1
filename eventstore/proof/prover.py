"""Proves that the journal holds what the chain committed to: the newest final blocks first, a span a step.

Law: one final hash is believed, and nothing else that a node says. Headers are recomputed and linked
downward from it; a block's logs are those of receipts that hash to its header, or none where its bloom
admits none. What was proved is written down in a transaction that holds off the ingester, and only if the
journal still holds of these blocks what was compared.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

from msgspec import Struct
from sqlalchemy import Connection, text

from eventstore.coverage import Coverage, joined
from eventstore.errors import AnswerRefused
from eventstore.journal import Journal, Recorded
from eventstore.lease import Lease
from eventstore.proof import Evidence
from eventstore.proof.evidence import Outcome, Proven, Unproven, Wrong, judged, wants_receipts
from eventstore.proof.header import Sealed
from eventstore.proof.ledger import Anchor, Disproof, Ledger
from eventstore.proof.profile import Profile, profile_of
from eventstore.records import BlockRange, Filter, Query, Watch, clipped
from eventstore.store import Store

SPAN = 500
"""Blocks in one step: five requests where a node takes batches of a hundred."""

PATIENCE = 600.0
"""Seconds before what could not be linked is tried again: it takes another node, or another profile."""

WORKERS = 4
"""How many blocks' receipts are asked for at once."""


class Proved(Struct, frozen=True):
    """What one step did: of `blocks` so many are `proven`, some of them `by_receipts`; `failed` are not.

    `left` are the final blocks that are covered and not proven yet; `reason`: why nothing can be proved now.
    """

    chain: str
    blocks: BlockRange | None = None
    proven: int = 0
    by_receipts: int = 0
    failed: tuple[Disproof, ...] = ()
    left: int = 0
    reason: str | None = None

    @property
    def idle(self) -> bool:
        return self.blocks is None


class Task(Struct, frozen=True):
    """Blocks that are to be proved for some filters, and the trusted block at or above their end.

    `entry` and `mark` say of which state of the journal and of its branch that is true.
    """

    blocks: BlockRange
    filters: tuple[Filter, ...]
    anchor: Anchor
    entry: int
    mark: bytes
    left: int


class Prover:
    """Proves one chain's history for `watches`, one bounded `step()` at a time.

    `within` narrows it to some blocks.
    """

    def __init__(
        self,
        store: Store,
        source: Evidence,
        lease: Lease,
        *,
        chain: str,
        chain_id: int,
        watches: Sequence[Watch],
        within: BlockRange | None = None,
        workers: Executor | None = None,
        profile: Profile | None = None,
    ) -> None:
        self._store = store
        self._source = source
        self._lease = lease
        self._name = chain
        self._chain = chain_id
        self._watches = tuple(watches)
        self._within = within
        self._workers = workers or ThreadPoolExecutor(WORKERS, thread_name_prefix="proofs")
        self._profile = profile or profile_of(chain_id)
        self._waits: tuple[float, str] | None = None

    def close(self) -> None:
        self._workers.shutdown(wait=False, cancel_futures=True)

    def step(self) -> Proved:
        """Proves the newest blocks that are final, covered and not proven yet; says what came of it.

        Raises `SourceError` where the node failed, `Fenced` where the lease is lost: nothing was written.
        """
        if self._profile.reason is not None:
            return Proved(self._name, reason=f"nothing can be proved on this chain: {self._profile.reason}")
        if self._waits is not None and time.monotonic() < self._waits[0]:
            return Proved(self._name, reason=self._waits[1])
        self._waits = None
        with self._store.read() as tx:
            task = self._task(tx)
        if task is None:
            return Proved(self._name)
        down_to = max(task.blocks.first, task.anchor.number - SPAN + 1)
        try:
            headers = self._source.linked(BlockRange(down_to, task.anchor.number), task.anchor.hash)
        except AnswerRefused as error:
            self._waits = time.monotonic() + PATIENCE, str(error)
            return Proved(self._name, left=task.left, reason=str(error))
        below = Anchor(down_to - 1, headers[0].parent_hash)
        blocks = clipped(task.blocks, first=down_to, last=None)
        if blocks is None:  # far above what is to be proved: only the way down to it
            with self._lease.commit() as tx:
                if self._unmoved(tx, task, BlockRange(0, -1)):
                    Ledger(tx, self._chain).anchor(below)
            return Proved(self._name, blocks=BlockRange(down_to, task.anchor.number), left=task.left)
        chosen = [block for block in headers if block.number <= blocks.last]
        outcomes = self._outcomes(chosen, task)
        return self._commit(task, blocks, chosen, outcomes, below)

    # --- what is to be proved ---

    def _task(self, tx: Connection) -> Task | None:
        final = tx.execute(
            text("SELECT number, hash FROM finality WHERE chain_id = :chain"), {"chain": self._chain}
        ).first()
        if final is None:
            return None
        ledger = Ledger(tx, self._chain)
        failed = {item.number for item in ledger.disproofs()}
        gaps: dict[Filter, list[BlockRange]] = {}
        for watch in self._watches:
            gaps.setdefault(watch.filter, []).extend(self._gaps(tx, ledger, watch, final.number, failed))
        last = max((gap.last for found in gaps.values() for gap in found), default=None)
        if last is None:
            return None
        due = {
            wanted: gap.first
            for wanted, found in gaps.items()
            for gap in found
            if gap.first <= last <= gap.last
        }
        first = max([last - SPAN + 1, *due.values()])
        first = max([first, *(gap.last + 1 for found in gaps.values() for gap in found if gap.last < last)])
        anchor = ledger.anchor_above(last)
        if anchor is None or anchor.number > final.number >= last:
            anchor = Anchor(final.number, bytes(final.hash))
        every = joined(sorted((g for found in gaps.values() for g in found), key=lambda gap: gap.first))
        return Task(
            BlockRange(first, last),
            tuple(due),
            anchor,
            Journal(tx, self._chain).head(),
            ledger.mark(),
            sum(map(len, every)),
        )

    def _gaps(
        self, tx: Connection, ledger: Ledger, watch: Watch, final: int, failed: set[int]
    ) -> list[BlockRange]:
        """What of `watch` is final, covered, not proven, and did not fail already; ascending."""
        last = final if watch.last_block is None else min(final, watch.last_block)
        proven = [item.range for item in ledger.proven(watch.filter)]
        done = sorted([*proven, *(BlockRange(n, n) for n in failed)], key=lambda item: item.first)
        found = []
        for covered in Coverage(tx, self._chain).ranges(watch.filter):
            part = clipped(covered, first=watch.first_block, last=last)
            if part is not None and self._within is not None:
                part = clipped(part, first=self._within.first, last=self._within.last)
            if part is not None:
                found += _without(part, done)
        return found

    # --- proving ---

    def _outcomes(self, blocks: Sequence[Sealed], task: Task) -> list[Outcome]:
        """What each block proves, in order."""
        living = self._living(blocks, task)
        query = _query(task.filters)
        wanted = [
            block
            for block in blocks
            if wants_receipts(block, query, self._profile, held=block.number in living)
        ]
        receipts = dict(
            zip((b.number for b in wanted), self._workers.map(self._receipts, wanted), strict=True)
        )
        found: list[Outcome] = []
        for block in blocks:
            told = receipts.get(block.number)
            if isinstance(told, str):
                found.append(Wrong((told,)) if self._profile.bloom else Unproven(told))
            else:
                held = living.get(block.number, ())
                times = {item.timestamp for item in held}
                found.append(judged(block, told, [item.log for item in held], task.filters, times=times))
        return found

    def _receipts(self, block: Sealed) -> Sequence[dict[str, object]] | str:
        """The receipts of a block, or why no endpoint gives any that are its own."""
        try:
            return list(map(dict, self._source.rooted(block)))
        except AnswerRefused as error:
            return error.message

    def _living(self, blocks: Sequence[Sealed], task: Task) -> dict[int, list[Recorded]]:
        """The canonical logs that the journal holds for the task's filters, by block."""
        found: dict[int, list[Recorded]] = {}
        with self._store.read() as tx:
            journal = Journal(tx, self._chain)
            for address in {item.address for item in task.filters}:
                for item in journal.history(
                    first=blocks[0].number, last=blocks[-1].number, address=address, limit=2**31 - 1
                ):
                    if any(wanted.matches(item.log) for wanted in task.filters):
                        found.setdefault(item.log.block_number, []).append(item)
        return found

    def _commit(
        self,
        task: Task,
        blocks: BlockRange,
        chosen: Sequence[Sealed],
        outcomes: Sequence[Outcome],
        below: Anchor,
    ) -> Proved:
        by = self._source.name
        failed = tuple(
            _disproof(block, outcome, by)
            for block, outcome in zip(chosen, outcomes, strict=True)
            if not isinstance(outcome, Proven)
        )
        with self._lease.commit() as tx:
            if not self._unmoved(tx, task, blocks):
                return Proved(
                    self._name, blocks=blocks, left=task.left
                )  # proved against what is no longer so
            ledger = Ledger(tx, self._chain)
            for part, by_receipts in _parts(chosen, outcomes):
                for wanted in task.filters:
                    ledger.add(wanted, part, by_receipts=by_receipts, provider=by)
            for item in failed:
                ledger.refute(item)
            if below.number >= 0:
                ledger.anchor(below)
        proven = [outcome for outcome in outcomes if isinstance(outcome, Proven)]
        return Proved(
            self._name,
            blocks=blocks,
            proven=len(proven),
            by_receipts=sum(outcome.by == "receipts" for outcome in proven),
            failed=failed,
            left=max(0, task.left - len(blocks)),
        )

    def _unmoved(self, tx: Connection, task: Task, blocks: BlockRange) -> bool:
        """Does the journal still hold of `blocks` what was compared, and follow the branch that was linked?
        The ingester waits for this commit."""
        if tx.dialect.name == "postgresql":
            tx.execute(
                text("SELECT 1 FROM leases WHERE name = :name FOR UPDATE"), {"name": f"ingest:{self._chain}"}
            )
        journal = Journal(tx, self._chain)
        if Ledger(tx, self._chain).mark() != task.mark:
            return False
        low = journal.lowest_change(task.entry, journal.kinds(task.filters))
        return low is None or low > blocks.last


def _query(filters: Sequence[Filter]) -> Query:
    """What a bloom is asked: any of these addresses, and any of these topics if all filters name one."""
    topics = [item.topic0 for item in filters]
    named = tuple(sorted({topic for topic in topics if topic is not None}))
    return Query(tuple(sorted({item.address for item in filters})), named if None not in topics else ())


def _without(whole: BlockRange, parts: Sequence[BlockRange]) -> list[BlockRange]:
    """What of `whole` is in none of `parts`, which ascend by their first block."""
    found, at = [], whole.first
    for part in parts:
        if part.last < at:
            continue
        if part.first > whole.last:
            break
        if part.first > at:
            found.append(BlockRange(at, part.first - 1))
        at = max(at, part.last + 1)
    if at <= whole.last:
        found.append(BlockRange(at, whole.last))
    return found


def _parts(blocks: Sequence[Sealed], outcomes: Sequence[Outcome]) -> list[tuple[BlockRange, int]]:
    """The proven blocks as ranges without holes, and how many of each were proven by receipts."""
    found: list[tuple[BlockRange, int]] = []
    for block, outcome in zip(blocks, outcomes, strict=True):
        if not isinstance(outcome, Proven):
            continue
        told = int(outcome.by == "receipts")
        if found and found[-1][0].last + 1 == block.number:
            part, count = found[-1]
            found[-1] = BlockRange(part.first, block.number), count + told
        else:
            found.append((BlockRange(block.number, block.number), told))
    return found


def _disproof(block: Sealed, outcome: Unproven | Wrong | Proven, by: str) -> Disproof:
    match outcome:
        case Wrong(differences):
            return Disproof(block.number, block.hash, "wrong", "; ".join(differences), by)
        case Unproven(reason):
            return Disproof(block.number, block.hash, "unproven", reason, by)
        case Proven():
            raise AssertionError("a proven block is no disproof")
