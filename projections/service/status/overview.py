"""The whole status: what `status` shows and `/status` answers, each part in its own snapshot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eventstore.journal.totals import Tally
from eventstore.storage.store import Store
from projections.service.runtime.wiring import Plan
from projections.service.status.chains import chain_status
from projections.service.status.lease_holders import holders
from projections.service.status.projections import projection_status
from projections.service.status.records import JobStatus, SinkStatus, Status
from projections.service.status.sinks import sink_status, webhook_status
from projections.service.status.work import incident_status, job_status
from projections.sinks import Sink


def whole_status(
    plan: Plan,
    *,
    store: Store | None = None,
    sinks: Mapping[str, Sequence[Sink]] | None = None,
    tally: Tally | None = None,
) -> Status:
    """Where everything stands, read from `store` (the plan's own by default).

    The `sinks` by projection are asked as they are; without them each is opened, asked and closed.
    A caller that asks repeatedly passes a `tally`: without one the whole journal is counted.
    """
    source = store or plan.store
    chains = {
        name: chain_status(
            source,
            chain.chain_id,
            plan.watches(name),
            emitters=plan.emitters(name),
            meaning=plan.config.meanings[name],
            tally=tally,
        )
        for name, chain in plan.config.chains.items()
    }
    projections = {
        name: projection_status(source, item, head=chains[plan.chain_of(name)].head)
        for name, item in plan.projections.items()
    }
    found: dict[str, SinkStatus] = {}
    for name, item in plan.projections.items():
        for sink in plan.sinks(name) if sinks is None else sinks.get(name, ()):
            try:
                found[f"{name}.{sink.name}"] = sink_status(source, name, item.chain_id, sink)
            finally:
                if sinks is None:
                    sink.close()
        for hook in plan.webhooks(name):
            found[f"{name}.{hook.name}"] = webhook_status(source, name, item.chain_id, hook)
    schedule: dict[str, JobStatus] = {
        job: job_status(source, job, cron) for job, cron in plan.config.schedule.jobs.items()
    }
    return Status(chains, projections, found, *incident_status(source), schedule, holders(source))
