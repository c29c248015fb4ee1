"""What `verify` can look at: checks by name, from the chain down to the sinks. One entry of `CHECKS` is one.

A check gets the plan and what was asked for, looks at everything that its name says, and returns one `Check`
for each chain, projection or sink. It writes nothing, unless it is asked to repair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import text

from eventstore.errors import ChainfoldError
from eventstore.integrity import check_journal
from eventstore.proof.ledger import Disproof, Ledger
from eventstore.proof.standing import proven
from eventstore.records import BlockRange, clipped
from eventstore.request import Requests
from eventstore.verdict import Check, Findings
from projections.errors import ConfigurationError
from projections.service import loops
from projections.service.stages import ProveStage
from projections.service.wiring import Plan


class Shown(Struct, frozen=True):
    """How long work is shown. `counted` shows that of this name: what it yields is called with how much is
    done, and of how much. `following` shows how far what was asked of a lease's holder has come."""

    counted: Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
    following: Callable[[Requests, str, str], AbstractContextManager[None]]


class Wanted(Struct, frozen=True):
    """What was asked for beside the names of checks. None means all: projections, contracts, blocks."""

    projection: str | None = None
    contract: str | None = None
    blocks: BlockRange | None = None
    repair: bool = False


def events(plan: Plan, wanted: Wanted, shown: Shown) -> list[Check]:
    """The chain's own commitments against the journal, for all blocks that are final and not proven yet."""
    found = []
    within = wanted.blocks or BlockRange(0, 2**62)
    addresses = None if wanted.contract is None else plan.contract(wanted.contract).addresses
    for stage in plan.prove(contract=wanted.contract):
        chain_id = plan.config.chains[stage.chain].chain_id

        def prove(stage: ProveStage = stage) -> str:
            requests = Requests(plan.store)
            with shown.following(requests, stage.lease.name, f"events {stage.chain}"):
                return loops.ask(
                    stage,
                    requests,
                    "prove",
                    first=within.first,
                    last=within.last,
                    addresses=None if addresses is None else [address.hex() for address in addresses],
                )

        try:
            reason = prove()
            wrong = _disproofs(plan, chain_id, within)
            repaired = 0
            blocks = [(item.number, item.hash.hex()) for item in wrong if item.kind == "wrong"]
            if wanted.repair and blocks:
                _repair(plan, stage.chain, blocks)
                reason = prove()
                still = {item.number for item in _disproofs(plan, chain_id, within)}
                repaired = sum(number not in still for number, _ in blocks)
            found.append(_events_check(plan, stage.chain, within, wrong, repaired=repaired, reason=reason))
        finally:
            stage.close()
    return found


def _repair(plan: Plan, chain: str, blocks: list[tuple[int, str]]) -> None:
    """Has these blocks put right by whoever ingests the chain, else does so itself."""
    for stage in plan.ingest():
        try:
            if stage.chain == chain:
                loops.ask(stage, Requests(plan.store), "repair", blocks=blocks)
        finally:
            stage.close()


def _disproofs(plan: Plan, chain_id: int, within: BlockRange) -> list[Disproof]:
    with plan.store.read() as tx:
        every = Ledger(tx, chain_id).disproofs()
    return [item for item in every if within.first <= item.number <= within.last]


def _events_check(
    plan: Plan, chain: str, within: BlockRange, wrong: list[Disproof], *, repaired: int, reason: str
) -> Check:
    findings = Findings(f"events {chain}")
    unproven = [item for item in wrong if item.kind == "unproven"]
    for item in wrong:
        if item.kind == "wrong":
            findings.add(f"block {item.number}", item.reason)
    with plan.store.read() as tx:
        standing = proven(tx, plan.config.chains[chain].chain_id, plan.watches(chain))
    for part in standing:
        clip = clipped(part, first=within.first, last=within.last)
        findings.checked += len(clip) if clip else 0
    said = [] if not reason else [f"Not all is proven: {reason}"]
    if unproven:
        first = unproven[0]
        said.append(f"{len(unproven):,} blocks are unproven, the first is {first.number}: {first.reason}")
    if not standing and not said:
        said.append("No block that is covered is final yet: nothing was to be proved.")
    if findings.found > repaired:
        said.append(
            "`chainfold verify events --repair` puts blocks right from receipts that prove themselves."
        )
    return replace(findings.check(note=" ".join(said)), repaired=repaired)


def journal(plan: Plan, wanted: Wanted, shown: Shown) -> list[Check]:
    """The digest chain and the shape of each chain's journal."""
    found = []
    for name, chain in plan.config.chains.items():
        with shown.counted(f"journal {name}") as progress, plan.store.read() as tx:
            seen = tx.execute(
                text("SELECT coalesce(max(entry), 0) FROM generations WHERE chain_id = :chain"),
                {"chain": chain.chain_id},
            ).scalar_one()
            found.append(
                check_journal(tx, chain.chain_id, name=f"journal {name}", seen=int(seen), progress=progress)
            )
    return found


CHECKS: dict[str, Callable[[Plan, Wanted, Shown], list[Check]]] = {"events": events, "journal": journal}
"""By name, in the order of the river."""


def verify(plan: Plan, names: Iterable[str], wanted: Wanted, shown: Shown) -> list[Check]:
    """Runs the checks of these names, all where none is named; one that fails holds up no other.

    Raises `ConfigurationError` for a name that is none.
    """
    chosen = list(names)
    for name in chosen:
        if name not in CHECKS:
            raise ConfigurationError(f"{name} is no check.", hint=f"Known are {', '.join(CHECKS)}.")
    if wanted.projection is not None:
        plan.named(wanted.projection)
    found: list[Check] = []
    for name, run in CHECKS.items():
        if not chosen or name in chosen:
            try:
                found += run(plan, wanted, shown)
            except ConfigurationError:
                raise
            except ChainfoldError as error:
                found.append(Check(name, 0, 0, [], error=str(error)))
    return found
