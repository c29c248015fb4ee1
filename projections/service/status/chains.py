"""The status of one chain, read in one snapshot of the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from eventstore.ingest.failed_ranges import FailedRanges
from eventstore.journal import behind
from eventstore.journal.coverage import Coverage
from eventstore.journal.journal import Journal
from eventstore.journal.progress import SyncProgress
from eventstore.journal.proofs import Disproof, Ledger
from eventstore.journal.tail import Tail
from eventstore.journal.totals import Tally
from eventstore.proof.proven import proven
from eventstore.records import Filter, Watch
from eventstore.storage.store import Store
from projections.decoding.meaning import Meaning
from projections.service.records.calls import calls_of
from projections.service.status.records import BehindStatus, ChainStatus, FailedStatus, UnhandledStatus


def chain_status(
    store: Store,
    chain_id: int,
    watches: Iterable[Watch],
    *,
    emitters: Mapping[bytes, str] = MappingProxyType({}),
    meaning: Meaning = Meaning(()),  # noqa: B008 - it says nothing, and never will
    tally: Tally | None = None,
) -> ChainStatus:
    """The state of one chain's journal, in one snapshot; `emitters` are by address the name of a contract,
    `meaning` is what they declare. A caller that looks repeatedly passes a `tally`."""
    with store.read() as tx:
        progress = SyncProgress(tx, chain_id).read()
        head = None if progress is None else progress.head
        last_sync = None if progress is None else progress.synced_at
        error = None if progress is None else progress.error
        tail = Tail(tx, chain_id)
        known, finalized = tail.headers(), tail.finalized()
        coverage = Coverage(tx, chain_id)
        wanted = list(watches)
        standing = proven(tx, chain_id, wanted)
        disproofs = Ledger(tx, chain_id).disproofs()
        reached = [(watch, coverage.through(watch)) for watch in wanted]
        begun = all(last >= watch.first_block for watch, last in reached)
        through = [last for watch, last in reached if watch.last_block is None or last < watch.last_block]
        through = through or [last for _, last in reached]  # every contract has ended
        totals = (tally or Tally()).totals(tx, chain_id)
        late = behind.read(tx, chain_id)
        return ChainStatus(
            head=max([*(header.number for header in known[-1:]), head or 0]) or head,
            finalized=None if finalized < 0 else finalized,
            covered_to=min(through) if through and begun else None,
            proven_to=standing[-1].last if standing else None,
            proven_from=standing[-1].first if standing else None,
            entries=totals.entry,
            logs=totals.logs,
            reorgs=totals.reorgs,
            last_reorg=None if totals.last_reorg is None else totals.last_reorg // 1_000_000,
            last_sync_at=None if last_sync is None else last_sync / 1e6,
            error=error or (str(late) if late is not None and late.is_wrong else _disproved(disproofs)),
            gaps=[
                FailedStatus(
                    item.range.first,
                    item.range.last,
                    item.attempts,
                    item.since / 1e6,
                    item.retry_at / 1e6,
                    item.reason,
                )
                for item in FailedRanges(tx, chain_id).all()
            ],
            calls=calls_of(tx, chain_id),
            unhandled=[
                UnhandledStatus(
                    emitters[kind.address],
                    "0x" + kind.address.hex(),
                    "0x" + kind.topic0.hex() if kind.topic0 else None,
                )
                for kind in Journal(tx, chain_id).kinds(Filter(address) for address in emitters).values()
                if not meaning.may_know(kind.address, kind.topic0)
            ],
            covered_from=min((watch.first_block for watch in wanted), default=None) if begun else None,
            behind=None if late is None else BehindStatus(late.shown, late.known, late.since / 1e6),
        )


def _disproved(found: list[Disproof]) -> str | None:
    """What the newest proof says against the journal, if anything."""
    wrong = [item for item in found if item.kind == "wrong"]
    if not wrong:
        return None
    return (
        f"{len(wrong):,} blocks are not what the chain committed to, the first is {wrong[0].number}: "
        f"{wrong[0].reason} Run `chainfold verify events --repair`."
    )
