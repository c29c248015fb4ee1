"""Metrics, made of the records that steps return, of what status shows, and of requests that were answered.

A registry of this process's own; every name begins with `chainfold_`. Nothing else is asked or counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from threading import Lock
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from eventstore.branch import Ingested
from eventstore.errors import ChainfoldError, LeaseHeld, SourceError, StoreError
from projections.errors import SinkError
from projections.publisher import Published
from projections.runner import Folded
from projections.service.loops import Failed, Stepped
from projections.service.views import Status

SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
DEPTHS = (1, 2, 3, 5, 8, 13, 21, 34, 64, 128)
WAITS = ("nothing", "source", "store", "journal", "fold", "sink", "lease", "operator")
"""What a stage may wait for. `source`: a new head, or a node that does not answer; `journal` and `fold`: the
stage before it; `operator`: somebody must mend or decide something."""


class Meters:
    """Counts what it is told; `text()` is what Prometheus reads."""

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry()
        made = self.registry
        self._lock = Lock()
        Info("chainfold", "The program that is observed.", registry=made).info({"version": version})
        self._steps = Counter("chainfold_steps", "Steps done.", ["stage"], registry=made)
        self._errors = Counter(
            "chainfold_stage_errors",
            "Steps that failed, by class of error.",
            ["stage", "error"],
            registry=made,
        )
        self._waiting = Gauge(
            "chainfold_stage_waiting",
            "1 for what a stage waits for, else 0.",
            ["stage", "for"],
            registry=made,
        )
        self._last = Gauge(
            "chainfold_stage_last_step_timestamp_seconds",
            "When a stage last did a step or failed at one.",
            ["stage"],
            registry=made,
        )
        self._appended = Counter("chainfold_logs_appended", "Logs appended.", ["stage"], registry=made)
        self._orphaned = Counter("chainfold_logs_orphaned", "Logs orphaned.", ["stage"], registry=made)
        self._blocks = Counter("chainfold_blocks_fetched", "Blocks covered.", ["stage"], registry=made)
        self._refused = Counter(
            "chainfold_ranges_refused", "Ranges that a source found too many.", ["stage"], registry=made
        )
        self._given_up = Counter(
            "chainfold_ranges_failed", "Ranges that became gaps.", ["stage"], registry=made
        )
        self._reorgs = Counter("chainfold_reorgs", "Reorgs followed.", ["stage", "finality"], registry=made)
        self._depth = Histogram(
            "chainfold_reorg_depth_blocks", "How deep.", ["stage"], buckets=DEPTHS, registry=made
        )
        self._events = Counter("chainfold_events_folded", "Events folded.", ["projection"], registry=made)
        self._changed = Counter(
            "chainfold_documents_changed", "Documents written by the fold.", ["projection"], registry=made
        )
        self._left = Gauge("chainfold_events_left", "Events not folded yet.", ["projection"], registry=made)
        self._rewinds = Counter(
            "chainfold_rewinds", "Rewinds of a projection.", ["projection"], registry=made
        )
        self._quarantined = Counter(
            "chainfold_events_quarantined", "Events passed over.", ["projection"], registry=made
        )
        self._promotions = Counter(
            "chainfold_promotions",
            "Builds put in the place of what was served.",
            ["projection"],
            registry=made,
        )
        self._sent = Counter(
            "chainfold_documents_sent", "Documents sent to a sink.", ["projection", "sink"], registry=made
        )
        self._written = Counter(
            "chainfold_documents_written",
            "Documents that a sink took.",
            ["projection", "sink"],
            registry=made,
        )
        self._cache = Counter(
            "chainfold_cache_reads", "Reads of Redis by outcome.", ["projection", "outcome"], registry=made
        )
        self._fills = Counter(
            "chainfold_cache_fills", "Fills of Redis by outcome.", ["projection", "outcome"], registry=made
        )
        self._requests = Counter(
            "chainfold_http_requests", "Requests answered.", ["method", "route", "status"], registry=made
        )
        self._took = Histogram(
            "chainfold_http_request_seconds",
            "How long answers took.",
            ["route"],
            buckets=SECONDS,
            registry=made,
        )
        self.streams = Gauge("chainfold_http_streams", "Streams that are open.", registry=made)

    def observe(self, event: Stepped | Failed) -> None:
        """Counts what a step did, or how it failed."""
        self._last.labels(event.stage).set(time.time())
        match event:
            case Failed():
                self._errors.labels(event.stage, type(event.error).__name__).inc()
                self._waits(event.stage, waited_for(event.error))
            case Stepped():
                self._steps.labels(event.stage).inc()
                match event.record:
                    case Ingested() as record:
                        self._ingested(event.stage, record)
                    case Folded() as record:
                        self._folded(event.stage, record)
                    case Published() as record:
                        self._published(event.stage, record)
                    case _:
                        self._waits(event.stage, "nothing")

    def cache_read(self, projection: str, outcome: str, count: int) -> None:
        self._cache.labels(projection, outcome).inc(count)

    def cache_filled(self, projection: str, outcome: str, count: int) -> None:
        if count:
            self._fills.labels(projection, outcome).inc(count)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts a request that was answered; `route` is a pattern, never what a client wrote."""
        self._requests.labels(method, route, str(status)).inc()
        self._took.labels(route).observe(seconds)

    def add(self, collector: Collector) -> None:
        """Has what this collector collects among the rest."""
        self.registry.register(collector)

    def text(self) -> bytes:
        """The text format of Prometheus."""
        return generate_latest(self.registry)

    def _ingested(self, stage: str, record: Ingested) -> None:
        self._appended.labels(stage).inc(record.appended)
        self._orphaned.labels(stage).inc(record.orphaned)
        if record.fetched is not None:
            self._blocks.labels(stage).inc(record.fetched.last - record.fetched.first + 1)
        self._refused.labels(stage).inc(record.refused is not None)
        self._given_up.labels(stage).inc(record.failed is not None)
        if record.rewound_to is not None:
            self._reorgs.labels(stage, "below" if record.below_finality else "above").inc()
            self._depth.labels(stage).observe(record.depth)
        self._waits(stage, "source" if record.idle else "nothing")

    def _folded(self, stage: str, record: Folded) -> None:
        name = record.projection
        self._events.labels(name).inc(record.events)
        self._changed.labels(name).inc(record.changed)
        self._left.labels(name).set(record.left)
        self._rewinds.labels(name).inc(record.rewound_to is not None)
        self._quarantined.labels(name).inc(record.quarantined)
        self._promotions.labels(name).inc(record.promoted is not None)
        stands = record.error is not None or record.state in ("outdated", "ready")
        self._waits(stage, "nothing" if not record.idle else "operator" if stands else "journal")

    def _published(self, stage: str, record: Published) -> None:
        self._sent.labels(record.projection, record.sink).inc(record.sent)
        self._written.labels(record.projection, record.sink).inc(record.written)
        self._waits(stage, "fold" if record.idle else "nothing")

    def _waits(self, stage: str, reason: str) -> None:
        with self._lock:
            for known in WAITS:
                self._waiting.labels(stage, known).set(known == reason)


def waited_for(error: ChainfoldError) -> str:
    """The part whose failure this error is."""
    match error:
        case LeaseHeld():
            return "lease"
        case SourceError():
            return "source"
        case StoreError():
            return "store"
        case SinkError():
            return "sink"
        case _:
            return "operator"


class Standing(Collector):
    """What status shows, as gauges; asked of `status` when Prometheus asks. An absent value has no sample."""

    def __init__(self, status: Callable[[], Status | None]) -> None:
        self._status = status

    def describe(self) -> Iterator[Metric]:
        yield from _families().values()

    def collect(self) -> Iterator[Metric]:
        families = _families()
        found = self._status()
        families["up"].add_metric([], found is not None)
        if found is not None:
            _chains(found, families)
            _projections(found, families)
        yield from families.values()


_GAUGES: dict[str, tuple[str, str, list[str]]] = {
    "up": ("chainfold_store_up", "1 while the event store answers.", []),
    "head": ("chainfold_chain_head_block", "The newest block seen.", ["chain"]),
    "final": ("chainfold_chain_finalized_block", "The newest final block.", ["chain"]),
    "covered": ("chainfold_chain_covered_block", "All is fetched up to here.", ["chain"]),
    "proven": ("chainfold_chain_proven_block", "All is proved up to here.", ["chain"]),
    "entries": ("chainfold_journal_entries", "Entries of the journal.", ["chain"]),
    "logs": ("chainfold_journal_logs", "Canonical logs of the journal.", ["chain"]),
    "gaps": ("chainfold_gaps", "Ranges that no endpoint gives.", ["chain"]),
    "gap_blocks": ("chainfold_gap_blocks", "Blocks in them.", ["chain"]),
    "synced": ("chainfold_chain_last_sync_timestamp_seconds", "When all was fetched.", ["chain"]),
    "chain_error": ("chainfold_chain_error", "1 where the source is in error.", ["chain"]),
    "block": ("chainfold_projection_block", "The block that is served.", ["projection"]),
    "revision": ("chainfold_projection_revision", "The newest revision.", ["projection"]),
    "documents": ("chainfold_projection_documents", "Documents served.", ["projection"]),
    "lag_blocks": ("chainfold_projection_lag_blocks", "Blocks behind the head.", ["projection"]),
    "lag_seconds": ("chainfold_projection_lag_seconds", "Seconds behind the head.", ["projection"]),
    "state": ("chainfold_projection_state", "1 for the state it is in.", ["projection", "state"]),
    "sink_state": ("chainfold_sink_state", "1 for the state it is in.", ["projection", "sink", "state"]),
    "sink_lag": ("chainfold_sink_lag_revisions", "Revisions not published.", ["projection", "sink"]),
}


def _families() -> dict[str, GaugeMetricFamily]:
    return {
        key: GaugeMetricFamily(name, said, labels=labels) for key, (name, said, labels) in _GAUGES.items()
    }


def _chains(found: Status, families: dict[str, GaugeMetricFamily]) -> None:
    for name, item in found.chains.items():
        values: dict[str, Any] = {
            "head": item.head,
            "final": item.finalized,
            "covered": item.covered_to,
            "proven": item.proven_to,
            "entries": item.entries,
            "logs": item.logs,
            "gaps": len(item.gaps),
            "gap_blocks": sum(gap.last_block - gap.first_block + 1 for gap in item.gaps),
            "synced": item.last_sync_at,
            "chain_error": int(item.error is not None),
        }
        _add(families, values, [name])


def _projections(found: Status, families: dict[str, GaugeMetricFamily]) -> None:
    for name, item in found.projections.items():
        values: dict[str, Any] = {
            "block": item.block,
            "revision": item.revision,
            "documents": item.documents,
            "lag_blocks": item.lag_blocks,
            "lag_seconds": item.lag_seconds,
        }
        _add(families, values, [name])
        _add(families, {"state": 1}, [name, item.state])
    for both, sink in found.sinks.items():
        projection, _, kind = both.rpartition(".")
        _add(families, {"sink_lag": sink.lag_revisions}, [projection, kind])
        _add(families, {"sink_state": 1}, [projection, kind, sink.state])


def _add(families: dict[str, GaugeMetricFamily], values: dict[str, Any], labels: list[str]) -> None:
    for key, value in values.items():
        if value is not None:
            families[key].add_metric(labels, float(value))
