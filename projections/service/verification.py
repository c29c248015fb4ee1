"""What `verify` can look at: checks by name, from the chain down to the sinks. One entry of `CHECKS` is one.

A check gets the plan and what was asked for, looks at everything that its name says, and returns one `Check`
for each chain, projection or sink. It writes nothing, unless it is asked to repair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from msgspec import Struct
from sqlalchemy import text

from eventstore.integrity import check_journal
from eventstore.verdict import Check
from projections.errors import ConfigurationError
from projections.service.wiring import Plan

Counted = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""Shows how far the work of this name is; what it yields is called with how much is done, and of how much."""


class Wanted(Struct, frozen=True):
    """What was asked for beside the names of checks: `projection` None means all of them."""

    projection: str | None = None
    repair: bool = False


def journal(plan: Plan, wanted: Wanted, counted: Counted) -> list[Check]:
    """The digest chain and the shape of each chain's journal."""
    found = []
    for name, chain in plan.config.chains.items():
        with counted(f"journal {name}") as progress, plan.store.read() as tx:
            seen = tx.execute(
                text("SELECT coalesce(max(entry), 0) FROM generations WHERE chain_id = :chain"),
                {"chain": chain.chain_id},
            ).scalar_one()
            found.append(
                check_journal(tx, chain.chain_id, name=f"journal {name}", seen=int(seen), progress=progress)
            )
    return found


CHECKS: dict[str, Callable[[Plan, Wanted, Counted], list[Check]]] = {"journal": journal}
"""By name, in the order of the river."""


def verify(plan: Plan, names: Iterable[str], wanted: Wanted, counted: Counted) -> list[Check]:
    """Runs the checks of these names, all where none is named. Raises `ConfigurationError` for others."""
    chosen = list(names)
    for name in chosen:
        if name not in CHECKS:
            raise ConfigurationError(f"{name} is no check.", hint=f"Known are {', '.join(CHECKS)}.")
    if wanted.projection is not None:
        plan.named(wanted.projection)
    return [
        check
        for name, run in CHECKS.items()
        if not chosen or name in chosen
        for check in run(plan, wanted, counted)
    ]
