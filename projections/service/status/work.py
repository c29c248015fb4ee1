"""The status of what the service does beside the stages: open incidents and scheduled jobs."""

from __future__ import annotations

from datetime import UTC, datetime

from eventstore.storage.store import Store
from projections.service.alerts.catalogue import kind_of
from projections.service.config.cron import Cron
from projections.service.records.incidents import Incidents
from projections.service.records.runs import Runs
from projections.service.runtime.scheduler import last_begun
from projections.service.status.records import IncidentStatus, JobStatus, UndeliveredStatus


def incident_status(store: Store) -> tuple[list[IncidentStatus], list[UndeliveredStatus]]:
    """The incidents that are not over, and the addresses that take no alerts."""
    with store.read() as tx:
        incidents = Incidents(tx)
        found, failing = incidents.opened(), incidents.failing()
    return [
        IncidentStatus(
            item.id,
            item.kind,
            item.subject,
            kind_of(item.kind).title.format(subject=item.subject),
            item.opened_at / 1e6,
            item.told_at is not None,
            item.detail,
            kind_of(item.kind).todo.format(subject=item.subject),
        )
        for item in found
    ], [
        UndeliveredStatus(post.target, post.failing_since / 1e6, post.attempts, post.reason)
        for post in failing
    ]


def job_status(store: Store, job: str, cron: Cron) -> JobStatus:
    """When a job of the schedule ran last, how that ended, and when it runs next."""
    with store.read() as tx:
        run = next(iter(Runs(tx).listed(limit=1, command=job, origin="schedule")), None)
    begun = last_begun(run)
    coming = cron.after(begun or datetime.now(UTC)).timestamp()
    if run is None:
        return JobStatus(coming)
    return JobStatus(coming, run.started_at / 1e6, run.state, run.seconds, run.detail)
