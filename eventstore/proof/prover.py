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
from sqlalchemy import Connection

from eventstore.errors import AnswerRefused, BlockUnknown, SourceError
from eventstore.journal.history import Learned, Question, ask
from eventstore.journal.journal import Journal
from eventstore.journal.proofs import Anchor, Disproof, Ledger
from eventstore.proof import Evidence
from eventstore.proof.evidence import (
    HeaderMissing,
    Proven,
    Unlinked,
    Unproven,
    Verdict,
    Wrong,
    judged,
    wants_receipts,
)
from eventstore.proof.header import Sealed
from eventstore.proof.pending import next_task
from eventstore.proof.profile import Profile, profile_of
from eventstore.proof.task import LinkedHeaders, ProofTask, disproof_of, parts_of, query_of
from eventstore.records import BlockRange, Watch, clipped
from eventstore.storage.lease import Lease
from eventstore.storage.sql import text
from eventstore.storage.store import Store

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
            task = next_task(tx, self._chain, self._watches, within=self._within, span=SPAN)
        if task is None:
            return Proved(self._name)
        down_to = max(task.blocks.first, task.anchor.number - SPAN + 1)
        way = self._way(down_to, task.anchor)
        reason = None if way.broken is None else way.broken.reason
        if reason is not None:
            self._waits = time.monotonic() + PATIENCE, reason
        blocks = clipped(task.blocks, first=way.below.number + 1, last=None) if way.headers else None
        if blocks is None:  # far above what is to be proved: only the way down to it
            with self._lease.commit() as tx:
                if self._unmoved(tx, task, BlockRange(0, -1)):
                    self._link(tx, way)
            return Proved(
                self._name,
                blocks=way.blocks,
                failed=() if way.broken is None else (way.broken,),
                left=task.left,
                reason=reason,
            )
        chosen = [block for block in way.headers if block.number <= blocks.last]
        return self._commit(task, blocks, chosen, self._outcomes(chosen, task), way)

    def _way(self, first: int, anchor: Anchor) -> LinkedHeaders:
        """The headers from `first` up to the anchor, or those above the highest that does not come out, and
        that one: what can be proved does not hang on which blocks one step takes together. Raises
        `HeaderMissing` where that of the anchor itself is not there."""
        try:
            headers = self._source.linked(BlockRange(first, anchor.number), anchor.hash)
            return LinkedHeaders(tuple(headers), Anchor(first - 1, headers[0].parent_hash))
        except (Unlinked, HeaderMissing) as error:
            stop = error
        if stop.block == anchor.number and isinstance(stop, HeaderMissing):
            raise stop
        headers, below = [], anchor
        if stop.block < anchor.number:
            headers = self._source.linked(BlockRange(stop.block + 1, anchor.number), anchor.hash)
            below = Anchor(stop.block, headers[0].parent_hash)
        if isinstance(stop, HeaderMissing):
            return LinkedHeaders(tuple(headers), below)
        return LinkedHeaders(
            tuple(headers), below, Disproof(stop.block, below.hash, "unlinked", str(stop), self._source.name)
        )

    def _link(self, tx: Connection, way: LinkedHeaders) -> None:
        """Writes down how far the headers came out."""
        ledger = Ledger(tx, self._chain)
        if way.blocks is not None:
            ledger.linked(way.blocks)
        if way.below.number >= 0:
            ledger.anchor(way.below)
        if way.broken is not None:
            ledger.refute(way.broken)

    # --- proving ---

    def _outcomes(self, blocks: Sequence[Sealed], task: ProofTask) -> list[Verdict]:
        """What each block proves, in order."""
        living = self._living(blocks, task)
        query = query_of(task.filters)
        wanted = [
            block
            for block in blocks
            if wants_receipts(block, query, self._profile, held=block.number in living)
        ]
        receipts = dict(
            zip((b.number for b in wanted), self._workers.map(self._receipts, wanted), strict=True)
        )
        found: list[Verdict] = []
        for block in blocks:
            told = receipts.get(block.number)
            if isinstance(told, Unproven | Wrong):
                found.append(told)
            else:
                held = living.get(block.number, ())
                times = {item.timestamp for item in held}
                found.append(judged(block, told, [item.log for item in held], task.filters, times=times))
        return found

    def _receipts(self, block: Sealed) -> Sequence[dict[str, object]] | Unproven | Wrong:
        """The receipts of a block, or what it means that no endpoint gives any that are its own."""
        try:
            return list(map(dict, self._source.rooted(block)))
        except AnswerRefused as error:
            return Wrong((error.message,)) if self._profile.bloom else Unproven(error.message)
        except BlockUnknown as error:  # pruned: nothing was altered
            return Unproven(error.message)
        except SourceError as error:
            if error.retry:
                raise
            return Unproven(error.message)

    def _living(self, blocks: Sequence[Sealed], task: ProofTask) -> dict[int, list[Learned]]:
        """The canonical logs that the journal holds for the task's filters, by block."""
        found: dict[int, list[Learned]] = {}
        question = Question(first=blocks[0].number, last=blocks[-1].number, filters=tuple(task.filters))
        with self._store.read() as tx:
            for item in ask(tx, self._chain, question):
                found.setdefault(item.log.block_number, []).append(item)
        return found

    def _commit(
        self,
        task: ProofTask,
        blocks: BlockRange,
        chosen: Sequence[Sealed],
        outcomes: Sequence[Verdict],
        way: LinkedHeaders,
    ) -> Proved:
        by = self._source.name
        failed = tuple(
            disproof_of(block, outcome, by)
            for block, outcome in zip(chosen, outcomes, strict=True)
            if not isinstance(outcome, Proven)
        )
        with self._lease.commit() as tx:
            if not self._unmoved(tx, task, blocks):
                return Proved(
                    self._name, blocks=blocks, left=task.left
                )  # proved against what is no longer so
            ledger = Ledger(tx, self._chain)
            for part, by_receipts in parts_of(chosen, outcomes):
                for wanted in task.filters:
                    ledger.add(wanted, part, by_receipts=by_receipts, provider=by)
            for item in failed:
                ledger.refute(item)
            self._link(tx, way)
        proven = [outcome for outcome in outcomes if isinstance(outcome, Proven)]
        return Proved(
            self._name,
            blocks=blocks,
            proven=len(proven),
            by_receipts=sum(outcome.by == "receipts" for outcome in proven),
            failed=failed if way.broken is None else (*failed, way.broken),
            left=max(0, task.left - len(blocks)),
            reason=None if way.broken is None else way.broken.reason,
        )

    def _unmoved(self, tx: Connection, task: ProofTask, blocks: BlockRange) -> bool:
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
