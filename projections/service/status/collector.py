"""The state of the store as metrics: what `status` shows, read when Prometheus scrapes.

Every process of every role tells it, of all stages wherever they run. An absent value has no sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from projections.service.alerts.catalogue import KINDS
from projections.service.status.records import Status

Families = dict[str, Any]

BADLY = ("failed", "misused", "differs")
"""Outcomes of a run that need attention; an interrupted run was stopped on purpose, or is run again."""

GAUGES: dict[str, tuple[str, list[str]]] = {
    "store_up": ("1 while the event store answers, else 0.", []),
    "chain_head_block": ("The newest block seen.", ["chain"]),
    "chain_node_head_block": (
        "The newest block that the node shows, also below chain_head_block.",
        ["chain"],
    ),
    "chain_finalized_block": ("The newest final block.", ["chain"]),
    "chain_covered_block": ("The block up to which all is fetched.", ["chain"]),
    "chain_lag_blocks": ("Blocks up to the head that are not fetched.", ["chain"]),
    "chain_proven_block": ("The block up to which the history is proved.", ["chain"]),
    "journal_entries": ("Entries of the journal.", ["chain"]),
    "journal_logs": ("Canonical logs of the journal.", ["chain"]),
    "gaps": ("Ranges that no endpoint gives.", ["chain"]),
    "gap_blocks": ("Blocks of those ranges.", ["chain"]),
    "unhandled_kinds": ("Kinds of logs that no declared event fits.", ["chain"]),
    "chain_last_sync_timestamp_seconds": ("When all up to the head was last fetched.", ["chain"]),
    "chain_last_reorg_timestamp_seconds": ("When the journal last learned of a reorg.", ["chain"]),
    "chain_error": ("1 where its source or its history is in error, else 0.", ["chain"]),
    "projection_block": ("The block that is served.", ["projection"]),
    "projection_revision": ("The newest revision of its documents.", ["projection"]),
    "projection_documents": ("Documents served.", ["projection"]),
    "projection_lag_blocks": ("Blocks behind the head.", ["projection"]),
    "projection_lag_seconds": ("Seconds behind the head.", ["projection"]),
    "projection_state": ("1 for the state that it is in.", ["projection", "state"]),
    "projection_error": ("1 where it is in error, else 0.", ["projection"]),
    "build_events_done": ("Events that a build beside what is served has folded.", ["projection"]),
    "build_events_all": ("Events that it has to fold in all.", ["projection"]),
    "sink_revision": ("The revision that is published.", ["projection", "sink"]),
    "sink_lag_revisions": ("Revisions that are not published yet.", ["projection", "sink"]),
    "sink_state": ("1 for the state that it is in.", ["projection", "sink", "state"]),
    "sink_documents_set_aside": ("Documents that the sink does not take.", ["projection", "sink"]),
    "sink_error": ("1 where it is in error, else 0.", ["projection", "sink"]),
    "lease_held": ("1 while a process works at it, 0 while none does that should.", ["work"]),
    "lease_holder_info": ("1 for the process that works at it.", ["work", "host", "pid"]),
    "incidents": ("Incidents that are not over.", ["kind"]),
    "alert_addresses_failing": ("Addresses that take no alerts.", []),
    "job_next_timestamp_seconds": ("When a job of the schedule runs next.", ["command"]),
    "job_last_timestamp_seconds": ("When a job of the schedule last began.", ["command"]),
    "job_failed": ("1 where the last run of a job failed or found a difference.", ["command"]),
}

COUNTERS: dict[str, tuple[str, list[str]]] = {
    "chain_reorgs": ("Reorgs that the journal holds.", ["chain"]),
    "node_calls": ("Calls made to the nodes, by method.", ["chain", "method"]),
    "lease_taken": ("How often the work was taken up: it rises with each takeover.", ["work"]),
}


class StoreCollector(Collector):
    """Collects what `status` returns; `works` are the leases that somebody should hold."""

    def __init__(self, status: Callable[[], Status | None], works: Sequence[str] = ()) -> None:
        self._status = status
        self._works = works

    def describe(self) -> Iterator[Metric]:
        yield from _families().values()

    def collect(self) -> Iterator[Metric]:
        families = _families()
        found = self._status()
        families["store_up"].add_metric([], found is not None)
        if found is not None:
            _chains(found, families)
            _projections(found, families)
            _work(found, families, self._works)
            _wrong(found, families)
        yield from families.values()


def _families() -> Families:
    made: Families = {
        name: GaugeMetricFamily(f"chainfold_{name}", said, labels=labels)
        for name, (said, labels) in GAUGES.items()
    }
    return made | {
        name: CounterMetricFamily(f"chainfold_{name}", said, labels=labels)
        for name, (said, labels) in COUNTERS.items()
    }


def _chains(found: Status, families: Families) -> None:
    for name, item in found.chains.items():
        behind = None
        if item.head is not None and item.covered_to is not None:
            behind = max(0, item.head - item.covered_to)
        values: dict[str, Any] = {
            "chain_head_block": item.head,
            "chain_node_head_block": item.head if item.behind is None else item.behind.node_head,
            "chain_finalized_block": item.finalized,
            "chain_covered_block": item.covered_to,
            "chain_lag_blocks": behind,
            "chain_proven_block": item.proven_to,
            "journal_entries": item.entries,
            "journal_logs": item.logs,
            "gaps": len(item.gaps),
            "gap_blocks": sum(gap.last_block - gap.first_block + 1 for gap in item.gaps),
            "unhandled_kinds": len(item.unhandled),
            "chain_last_sync_timestamp_seconds": item.last_sync_at,
            "chain_last_reorg_timestamp_seconds": item.last_reorg,
            "chain_reorgs": item.reorgs,
            "chain_error": item.error is not None,
        }
        _add(families, values, [name])
        for method, count in item.calls.items():
            _add(families, {"node_calls": count}, [name, method])


def _projections(found: Status, families: Families) -> None:
    for name, item in found.projections.items():
        values: dict[str, Any] = {
            "projection_block": item.block,
            "projection_revision": item.revision,
            "projection_documents": item.documents,
            "projection_lag_blocks": item.lag_blocks,
            "projection_lag_seconds": item.lag_seconds,
            "projection_error": item.error is not None,
            "build_events_done": None if item.build is None else item.build.events,
            "build_events_all": None if item.build is None else item.build.of,
        }
        _add(families, values, [name])
        _add(families, {"projection_state": 1}, [name, item.state])
    for both, sink in found.sinks.items():
        projection, _, kind = both.rpartition(".")
        values = {
            "sink_revision": sink.revision,
            "sink_lag_revisions": sink.lag_revisions,
            "sink_documents_set_aside": sink.set_aside,
            "sink_error": sink.error is not None,
        }
        _add(families, values, [projection, kind])
        _add(families, {"sink_state": 1}, [projection, kind, sink.state])


def _work(found: Status, families: Families, works: Sequence[str]) -> None:
    for work in sorted({*works, *found.holders}):
        _add(families, {"lease_held": work in found.holders}, [work])
    for work, holder in found.holders.items():
        _add(families, {"lease_holder_info": 1}, [work, holder.host, str(holder.pid)])
        _add(families, {"lease_taken": holder.epoch}, [work])
    for job, item in found.schedule.items():
        values: dict[str, Any] = {
            "job_next_timestamp_seconds": item.next,
            "job_last_timestamp_seconds": item.last,
            "job_failed": None if item.state is None else item.state in BADLY,
        }
        _add(families, values, [job])


def _wrong(found: Status, families: Families) -> None:
    for kind in KINDS:
        _add(families, {"incidents": sum(item.kind == kind for item in found.incidents)}, [kind])
    _add(families, {"alert_addresses_failing": len(found.undelivered)}, [])


def _add(families: Families, values: dict[str, Any], labels: list[str]) -> None:
    for key, value in values.items():
        if value is not None:
            families[key].add_metric(labels, float(value))
