"""Which process works on which stage, read from the leases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from eventstore.storage.lease import Lease
from eventstore.storage.sql import text
from eventstore.storage.store import Store
from projections.fold.generation import lease_of

if TYPE_CHECKING:
    from projections.service.runtime.wiring import Plan


class Holder(Struct, frozen=True):
    """The process that holds a stage's lease, and the epoch: how often the stage was taken in all."""

    host: str
    pid: int
    epoch: int

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def holders(store: Store) -> dict[str, Holder]:
    """By lease, ascending, the live process that holds it; stand-bys hold none and do not appear."""
    with store.read() as tx:
        rows = tx.execute(text("SELECT name, owner, epoch FROM leases WHERE owner <> '' ORDER BY name")).all()
    found: dict[str, Holder] = {}
    for name, owner, epoch in rows:
        host, _, pid, _ = owner.split("|")
        if pid and Lease(store, name).is_held():
            found[name] = Holder(host, int(pid), int(epoch))
    return found


def of_other_code(store: Store, projection: str, fingerprint: str) -> list[Holder]:
    """The processes at work at a projection with other code than that of this fingerprint."""
    name = lease_of(projection, fingerprint)
    every = holders(store)
    return [every[lease] for lease in every if lease.startswith(lease_of(projection, "")) and lease != name]


def works(plan: Plan) -> list[str]:
    """The leases that some process should hold for as long as the services of this configuration run; those
    of runs of a schedule come and go. Nothing is opened for it."""
    config = plan.config
    chains = {name: chain for name, chain in config.chains.items() if plan.watches(name)}
    found = [f"prove:{chain.chain_id}" for chain in chains.values() if chain.prove]
    if "sync" in config.schedule.jobs:
        return found
    found += [f"ingest:{chain.chain_id}" for chain in chains.values()]
    for name, chosen in config.projections.items():
        found.append(lease_of(name, plan.projections[name].fingerprint))
        found += [f"publish:{name}.{kind}" for kind in chosen.sinks]
        for hook in chosen.webhooks:
            found += [f"publish:{name}.webhook-{hook.rule.name}", f"deliver:{name}.{hook.rule.name}"]
    return found
