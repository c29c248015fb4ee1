"""What to prove next: the newest blocks that are final, covered and not proven yet."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from eventstore.journal.coverage import Coverage, joined
from eventstore.journal.journal import Journal
from eventstore.journal.proofs import Anchor, Ledger
from eventstore.proof.proven import without
from eventstore.proof.task import ProofTask
from eventstore.records import BlockRange, Filter, Watch, clipped
from eventstore.storage.sql import text


def next_task(
    tx: Connection, chain_id: int, watches: Sequence[Watch], *, within: BlockRange | None, span: int
) -> ProofTask | None:
    """The newest blocks, at most `span`, that are final, covered and not proven; None if there are none.

    `within` narrows it to some blocks.
    """
    final = tx.execute(
        text("SELECT number, hash FROM finality WHERE chain_id = :chain"), {"chain": chain_id}
    ).first()
    if final is None:
        return None
    ledger = Ledger(tx, chain_id)
    failed = {item.number for item in ledger.disproofs() if item.kind != "unlinked"}
    gaps: dict[Filter, list[BlockRange]] = {}
    for watch in watches:
        gaps.setdefault(watch.filter, []).extend(
            _gaps(ledger, watch, _in_reach(tx, chain_id, watch, final.number, within), failed)
        )
    last = max((gap.last for found in gaps.values() for gap in found), default=None)
    if last is None:
        return None
    due = {
        wanted: gap.first for wanted, found in gaps.items() for gap in found if gap.first <= last <= gap.last
    }
    first = max([last - span + 1, *due.values()])
    first = max([first, *(gap.last + 1 for found in gaps.values() for gap in found if gap.last < last)])
    anchor = ledger.anchor_above(last)
    if anchor is None or anchor.number > final.number >= last:
        anchor = Anchor(final.number, bytes(final.hash))
    every = joined(sorted((g for found in gaps.values() for g in found), key=lambda gap: gap.first))
    return ProofTask(
        BlockRange(first, last),
        tuple(due),
        anchor,
        Journal(tx, chain_id).head(),
        ledger.mark(),
        sum(map(len, every)),
    )


def _in_reach(
    tx: Connection, chain_id: int, watch: Watch, final: int, within: BlockRange | None
) -> list[BlockRange]:
    """What of `watch` is final, covered and within `within`; ascending."""
    last = final if watch.last_block is None else min(final, watch.last_block)
    found = []
    for covered in Coverage(tx, chain_id).ranges(watch.filter):
        part = clipped(covered, first=watch.first_block, last=last)
        if part is not None and within is not None:
            part = clipped(part, first=within.first, last=within.last)
        if part is not None:
            found.append(part)
    return found


def _gaps(ledger: Ledger, watch: Watch, reach: list[BlockRange], failed: set[int]) -> list[BlockRange]:
    """What of `reach` is not proven, and did not fail already; ascending."""
    proven = [item.range for item in ledger.proven(watch.filter)]
    done = sorted([*proven, *(BlockRange(n, n) for n in failed)], key=lambda item: item.first)
    return [gap for part in reach for gap in without(part, done)]
