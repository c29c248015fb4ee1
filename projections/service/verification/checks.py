"""What `verify` can look at: checks by name, from the chain down to the sinks. One entry of `CHECKS` is one.

A check gets the plan and what was asked for, looks at everything that its name says, and returns one `Check`
for each chain, projection or sink. It writes nothing, unless it is asked to repair.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from eventstore.errors import ChainfoldError, LeaseHeld
from eventstore.journal.integrity import check_journal
from eventstore.journal.proofs import Disproof, Ledger
from eventstore.records import NO_END, BlockRange
from eventstore.report import Check
from eventstore.storage.sql import text
from projections.errors import ConfigurationError
from projections.fold.fold import Projection
from projections.service.records.requests import Prove, Repair, Republish, Requests
from projections.service.records.results import sentence
from projections.service.runtime import loops
from projections.service.runtime.asking import ask
from projections.service.runtime.leases import held
from projections.service.runtime.progress import Advance
from projections.service.runtime.prove_stage import ProveStage
from projections.service.runtime.stages import PublishStage, silent
from projections.service.runtime.wiring import Plan
from projections.service.status.sinks import sink_status
from projections.service.verification import proofs
from projections.sinks import ReadableSink
from projections.sinks.capabilities import Expiring
from projections.verify.documents import check_documents
from projections.verify.sinks import Sample, SinkCheck, SinkComparison

MENDED_AT_ONCE = 10_000
"""Keys in one request."""

SETTLED = 600.0
"""Seconds that a service is given to send what was mended."""

UNREADABLE = "Its documents cannot be read back: nothing was compared."


class Callbacks(Struct, frozen=True):
    """What the checks need of their caller. `counted` and `following` show work, as in `Progress`; `rebuilt`
    builds a projection again and returns when the build is served."""

    counted: Callable[[str], AbstractContextManager[Advance]]
    following: Callable[[Requests, str, str], AbstractContextManager[None]]
    rebuilt: Callable[[Plan, str], None]


class VerificationScope(Struct, frozen=True):
    """What was asked for beside the names of checks. None means all: projections, contracts, blocks."""

    projection: str | None = None
    contract: str | None = None
    blocks: BlockRange | None = None
    repair: bool = False
    sample: Sample | None = None


def events(plan: Plan, wanted: VerificationScope, callbacks: Callbacks) -> list[Check]:
    """The chain's own commitments against the journal, for all blocks that are final and not proven yet."""
    return [
        _made(f"events {stage.chain}", partial(_events, plan, stage, wanted, callbacks))
        for stage in plan.prove(contract=wanted.contract)
    ]


def _events(plan: Plan, stage: ProveStage, wanted: VerificationScope, callbacks: Callbacks) -> Check:
    within = wanted.blocks or BlockRange(0, NO_END)
    addresses = None if wanted.contract is None else plan.contract(wanted.contract).addresses
    chain_id = plan.config.chains[stage.chain].chain_id
    requests = Requests(plan.store)

    def prove() -> str:
        with callbacks.following(requests, stage.lease.name, f"events {stage.chain}"):
            wanted_ = None if addresses is None else [address.hex() for address in addresses]
            return sentence(ask(stage, requests, Prove(within.first, within.last, wanted_)))

    try:
        reason, repaired = prove(), 0
        failed = _disproofs(plan, chain_id, within)
        blocks = [(item.number, item.hash.hex()) for item in failed if item.kind == "wrong"]
        if wanted.repair and blocks:
            _repair(plan, stage.chain, blocks)
            reason = prove()
            now = _disproofs(plan, chain_id, within)
            still = {item.number for item in now}
            repaired = sum(number not in still for number, _ in blocks)
            failed = [item for item in failed if item.kind == "wrong"] + [
                item for item in now if item.kind != "wrong"
            ]
        watches = [w for w in plan.watches(stage.chain) if addresses is None or w.filter.address in addresses]
        return proofs.check(
            plan.store,
            chain_id,
            watches,
            name=f"events {stage.chain}",
            within=within,
            failed=failed,
            repaired=repaired,
            reason=reason,
            accepted=plan.config.chains[stage.chain].accept_unproven,
            chain=stage.chain,
        )
    finally:
        stage.close()


def _repair(plan: Plan, chain: str, blocks: list[tuple[int, str]]) -> None:
    """Asks the ingesting process to repair these blocks, or repairs them itself if no such process runs."""
    for stage in plan.ingest():
        try:
            if stage.chain == chain:
                ask(stage, Requests(plan.store), Repair(blocks))
        finally:
            stage.close()


def _disproofs(plan: Plan, chain_id: int, within: BlockRange) -> list[Disproof]:
    with plan.store.read() as tx:
        every = Ledger(tx, chain_id).disproofs()
    return [item for item in every if within.first <= item.number <= within.last]


def journal(plan: Plan, wanted: VerificationScope, callbacks: Callbacks) -> list[Check]:
    """The digest chain and the shape of each chain's journal."""
    found = []
    for name, chain in plan.config.chains.items():
        with callbacks.counted(f"journal {name}") as progress, plan.store.read() as tx:
            seen = tx.execute(
                text("SELECT coalesce(max(entry), 0) FROM generations WHERE chain_id = :chain"),
                {"chain": chain.chain_id},
            ).scalar_one()
            found.append(
                check_journal(tx, chain.chain_id, name=f"journal {name}", seen=int(seen), progress=progress)
            )
    return found


def documents(plan: Plan, wanted: VerificationScope, callbacks: Callbacks) -> list[Check]:
    """The committed documents against the fold of the journal; a repair rebuilds them."""
    found = []
    for name, projection in _projections(plan, wanted).items():

        def look(name: str = name, projection: Projection = projection) -> Check:
            with callbacks.counted(f"documents {name}") as progress:
                return check_documents(
                    plan.store, projection, replay=wanted.sample is None, progress=progress
                )

        def mended(name: str = name, look: Callable[[], Check] = look) -> Check:
            first = look()
            if not wanted.repair or not first.found:
                return first
            callbacks.rebuilt(plan, name)
            return _repaired(first, look())

        found.append(_made(f"documents {name}", mended))
    return found


def sinks(plan: Plan, wanted: VerificationScope, callbacks: Callbacks) -> list[Check]:
    """Each sink against the documents; a repair has what differs sent again, under a new revision."""
    found = []
    for name, projection in _projections(plan, wanted).items():
        for stage in plan.publish():
            if stage.projection == name:
                try:
                    check = partial(one_sink, plan, projection, stage, wanted, callbacks)
                    found.append(_made(f"sinks {name}.{stage.sink.name}", check))
                finally:
                    stage.close()
    return found


def _made(name: str, check: Callable[[], Check]) -> Check:
    """What a check found, or why it could not be made: a sink that is away holds up no other."""
    try:
        return check()
    except ConfigurationError:
        raise
    except ChainfoldError as error:
        return Check(name, 0, 0, [], error=str(error))


def one_sink(
    plan: Plan, projection: Projection, stage: PublishStage, wanted: VerificationScope, callbacks: Callbacks
) -> Check:
    """One sink against the documents of its projection, as `sinks` does."""
    sink = stage.sink
    if not isinstance(sink, ReadableSink):
        return Check(f"sinks {projection.name}.{sink.name}", 0, 0, [], note=UNREADABLE)

    def look() -> SinkComparison:
        with callbacks.counted(f"sinks {projection.name}.{stage.sink.name}") as progress:
            check = SinkCheck(
                plan.store,
                sink,
                projection=projection.name,
                chain_id=projection.chain_id,
                expires=isinstance(sink, Expiring),
                sample=wanted.sample,
                progress=progress,
            )
            return check.run(fields=plan.counted(projection.name), invariants=projection.projector.invariants)

    first = look()
    if not wanted.repair or not first.check.found:
        return first.check
    fold, requests = plan.fold_of(projection.name), Requests(plan.store)
    for start in range(0, len(first.keys), MENDED_AT_ONCE):
        some = first.keys[start : start + MENDED_AT_ONCE]
        ask(fold, requests, Republish(some, first.top))
    settle(plan, stage)
    return _repaired(first.check, look().check)


def settle(plan: Plan, stage: PublishStage) -> None:
    """Waits until the sink is current: publishes to the end, unless another process already does."""
    deadline = time.monotonic() + SETTLED
    while True:
        try:
            with held([stage.lease]):
                loops.persist(stage, stage.open, silent)
                loops.to_end(stage, silent)
        except LeaseHeld:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        status = sink_status(plan.store, stage.projection, stage.chain_id, stage.sink)
        if status.state == "current":
            return


def _repaired(first: Check, second: Check) -> Check:
    """What was found, and how much of it is no more at the second look."""
    left = {item.what for item in second.differences}
    gone = first.found if not second.found else max(0, first.found - second.found)
    still = [item for item in first.differences if item.what in left]
    return replace(
        first,
        checked=second.checked,
        repaired=gone,
        differences=[*still, *(item for item in first.differences if item.what not in left)],
        note=second.note,
    )


def _projections(plan: Plan, wanted: VerificationScope) -> dict[str, Projection]:
    if wanted.projection is None:
        return plan.projections
    return {wanted.projection: plan.named(wanted.projection)}


CHECKS: dict[str, Callable[[Plan, VerificationScope, Callbacks], list[Check]]] = {
    "events": events,
    "journal": journal,
    "documents": documents,
    "sinks": sinks,
}
"""By name, in the order of the river."""


def verify(plan: Plan, names: Iterable[str], wanted: VerificationScope, callbacks: Callbacks) -> list[Check]:
    """Runs the checks of these names, or all by default; one that fails does not stop the others.

    Raises `ConfigurationError` for an unknown name.
    """
    chosen = list(names)
    for name in chosen:
        if name not in CHECKS:
            raise ConfigurationError(f"{name} is not a check.", hint=f"Known are {', '.join(CHECKS)}.")
    if wanted.projection is not None:
        plan.named(wanted.projection)
    found: list[Check] = []
    for name, run in CHECKS.items():
        if not chosen or name in chosen:
            try:
                made = run(plan, wanted, callbacks)
            except ConfigurationError:
                raise
            except ChainfoldError as error:
                made = [Check(name, 0, 0, [], error=str(error))]
            if not made and chosen:
                made = [
                    Check(name, 0, 0, [], error=f"The configuration has no {name}: nothing was looked at.")
                ]
            found += made
    return found
