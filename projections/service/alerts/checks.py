"""Incidents that show in the store: gaps, halts, dead letters, runs. Every process sees the same."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from eventstore.ingest.failed_ranges import FailedRanges
from eventstore.journal.proofs import Disproof, Ledger
from eventstore.journal.reorgs import newest_reorg
from projections.fold.generation import Generations
from projections.fold.state import GenerationState
from projections.publish.set_aside import Aside, sinks_with
from projections.service.alerts.detection import Bad, Good, HealthCondition
from projections.service.config.alerts import Limits
from projections.service.records.incidents import Key
from projections.service.records.runs import Outcome, Runs

if TYPE_CHECKING:
    from projections.fold.fold import Projection


def evidence(
    tx: Connection,
    *,
    chains: Mapping[str, int],
    projections: Iterable[Projection],
    jobs: Iterable[str],
    limits: Limits,
    open_now: Iterable[Key],
    now: int,
    sinks: Mapping[str, Collection[str]] | None = None,
    unprovable: Mapping[str, str | None] = MappingProxyType({}),
) -> dict[Key, HealthCondition]:
    """The condition of everything that shows in the store, in one snapshot. `chains` are ids by name, `now`
    is in microseconds since 1970, `sinks` are those of each projection (None: all). `unprovable` are
    the chains that cannot be proved, by name, with the reason; None where the configuration accepts that."""
    known = list(projections)
    found: dict[Key, HealthCondition] = {}
    for name, chain_id in chains.items():
        found[Key("gap-old", name)] = _gaps(tx, chain_id, limits, now=now)
        disproofs = Ledger(tx, chain_id).disproofs()
        found[Key("history-disproved", name)] = _wrong(disproofs)
        found[Key("history-unproven", name)] = _unproven(disproofs, name, unprovable)
        reorg = Key("reorg-below-finality", name)
        if reorg in open_now and _followed(
            tx, chain_id, [item for item in known if item.chain_id == chain_id]
        ):
            found[reorg] = Good()
    for own in known:
        served = Generations(tx, own.name).served()
        if served is None:
            continue
        if served.error is not None:
            found[Key("projection-halted", own.name)] = Bad(served.error)
        found[Key("projection-quarantining", own.name)] = _letters(tx, served.id)
        found |= _set_aside(tx, own.name, open_now, None if sinks is None else sinks[own.name])
    return found | _runs(tx, jobs)


def _gaps(tx: Connection, chain_id: int, limits: Limits, *, now: int) -> HealthCondition:
    if limits.gap_older_than is None:
        return Good()
    old = [
        item for item in FailedRanges(tx, chain_id).all() if now - item.since >= limits.gap_older_than * 1e6
    ]
    if not old:
        return Good()
    named = ", ".join(f"{item.range.first:,} to {item.range.last:,}" for item in old[:3])
    more = f" and {len(old) - 3:,} more" if len(old) > 3 else ""
    return Bad(f"Blocks {named}{more} are missing: {old[0].reason}")


def _letters(tx: Connection, generation: int) -> HealthCondition:
    waiting = GenerationState(tx, generation)
    first = waiting.first_dead_letter()
    if first is None:
        return Good()
    return Bad(f"{waiting.count_dead_letters():,} so far, the first of block {first.block:,}: {first.reason}")


def _set_aside(
    tx: Connection, projection: str, open_now: Iterable[Key], sinks: Collection[str] | None
) -> dict[Key, HealthCondition]:
    """Of each sink that does not take some documents, and of those that took them all since."""
    kind = "documents-set-aside"
    found: dict[Key, HealthCondition] = {
        key: Good() for key in open_now if key.kind == kind and key.subject.rpartition(".")[0] == projection
    }
    for sink in sinks_with(tx, projection):
        if sinks is None or sink in sinks:
            aside = Aside(tx, projection, sink)
            [first] = aside.listed(limit=1)
            said = f"{aside.count():,} documents, the first {first.key}: {first.reason}"
            found[Key(kind, f"{projection}.{sink}")] = Bad(said)
    return found


def _wrong(disproofs: Sequence[Disproof]) -> HealthCondition:
    wrong = [item for item in disproofs if item.kind == "wrong"]
    if not wrong:
        return Good()
    others = f" (and {len(wrong) - 1:,} others)" if wrong[1:] else ""
    return Bad(f"Block {wrong[0].number:,}{others} is wrong: {wrong[0].reason}")


def _unproven(
    disproofs: Sequence[Disproof], chain: str, unprovable: Mapping[str, str | None]
) -> HealthCondition:
    """One incident where a header does not come out, for all the blocks at and below it. A block alone that
    cannot be proved is not one: `verify events` reports it."""
    if chain in unprovable:
        reason = unprovable[chain]
        return Good() if reason is None else Bad(f"Nothing can be proved on this chain: {reason}.")
    broken = [item for item in disproofs if item.kind == "unlinked"]
    if not broken:
        return Good()
    return Bad(f"All at and below block {broken[-1].number:,} is unproven: {broken[-1].reason}")


def _followed(tx: Connection, chain_id: int, projections: list[Projection]) -> bool:
    """Does what is served of each projection stand on the newest entry that took blocks away?"""
    entry = newest_reorg(tx, chain_id)
    for own in projections:
        served = Generations(tx, own.name).served()
        if served is None or served.state != "live" or served.entry < entry:
            return False
    return True


def _runs(tx: Connection, jobs: Iterable[str]) -> dict[Key, HealthCondition]:
    """How the newest scheduled run of each job ended, and what the newest whole verification found."""
    found: dict[Key, HealthCondition] = {}
    runs = Runs(tx)
    for job in jobs:
        run = runs.newest(job, origin="schedule")
        if run is not None:
            failed = run.outcome in (Outcome.FAILED, Outcome.MISUSED)
            found[Key("run-failed", f"scheduled {job}")] = Bad(run.detail) if failed else Good()
    verified = runs.newest("verify")
    if verified is not None and verified.outcome in (Outcome.DONE, Outcome.DIFFERS):
        differs = verified.outcome is Outcome.DIFFERS
        found[Key("verify-difference", "verify")] = Bad(verified.detail) if differs else Good()
    return found
