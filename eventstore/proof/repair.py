"""Puts one block right from receipts that prove themselves, from any endpoint.

Law: the unit of repair is the block. What is only missing is appended; a block that holds what is not on
the chain is orphaned whole and appended again, in one transaction. Nothing is deleted.
"""

from __future__ import annotations

from collections.abc import Sequence

from eventstore.journal.coverage import Coverage, Covered
from eventstore.journal.history import Question, ask
from eventstore.journal.journal import Journal
from eventstore.proof import Evidence
from eventstore.proof.evidence import logs_of
from eventstore.records import BlockRange, CheckedLogs, Header, Watch
from eventstore.storage.lease import Lease


def repair(
    lease: Lease, source: Evidence, number: int, block_hash: bytes, *, chain_id: int, watches: Sequence[Watch]
) -> str:
    """Makes the journal hold what block `number` of this hash committed to; says what was done.

    The hash is one that was proved (`ledger.Anchor`, `ledger.Disproof`), and `lease` the ingester's. Raises
    `SourceError` where no endpoint gives receipts that hash to the block.
    """
    where = BlockRange(number, number)
    (block,) = source.linked(where, block_hash)
    filters = [
        watch.filter
        for watch in watches
        if watch.first_block <= number and (watch.last_block is None or number <= watch.last_block)
    ]
    right = logs_of(block, source.rooted(block), filters)
    header = Header(block.number, block.hash, block.parent_hash, block.timestamp, block.bloom)
    with lease.commit() as tx:
        coverage = Coverage(tx, chain_id)
        covered = [
            Covered(item, where, "receipts")
            for item in filters
            if any(part.first <= number <= part.last for part in coverage.ranges(item))
        ]
        journal = Journal(tx, chain_id)
        known = list(ask(tx, chain_id, Question(first=number, last=number)))
        held = [item.log for item in known]
        ours = [log for log in held if any(item.matches(log) for item in filters)]
        stray = any(item.timestamp != block.timestamp for item in known) or any(
            log.block_hash != block.hash or (log in ours and log not in right) for log in held
        )
        orphaned = journal.orphan(number, number) if stray else None
        kept = [log for log in held if log not in ours and log.block_hash == block.hash]
        # those of receipts that prove themselves, and those that the journal held before
        every = CheckedLogs(sorted([*right, *kept], key=lambda log: log.log_index))
        appended = journal.append(every, {number: header}, covered)
    return _said(number, orphaned.log_count if orphaned else 0, appended.log_count if appended else 0)


def _said(number: int, orphaned: int, appended: int) -> str:
    if not orphaned and not appended:
        return f"block {number} is as its receipts say"
    return f"block {number}: {orphaned} logs orphaned, {appended} appended as its receipts say"
