"""Counters of this process: the records that steps return, errors, and answered requests.

A registry of this process's own; every name begins with `chainfold_`. What stands in the store is beside
it, in `collector.py`.
"""

from __future__ import annotations

import time
from threading import Lock
from typing import assert_never

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from eventstore.errors import ChainfoldError, Fenced, LeaseHeld, SourceError, StoreError
from eventstore.ingest.branch import Ingested
from eventstore.proof.prover import Proved
from projections.errors import SinkError
from projections.fold.runner import Folded
from projections.publish.publisher import Published
from projections.service.runtime.loops import Failed, Record, Stepped
from projections.webhooks.courier import Delivered

SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
DEPTHS = (1, 2, 3, 5, 8, 13, 21, 34, 64, 128)
WAITS = ("nothing", "source", "store", "journal", "fold", "sink", "lease", "operator")
"""What a stage may wait for. `source`: a new head, or a node that does not answer; `journal` and `fold`: the
stage before it; `lease`: another process that works at it; `operator`: somebody must mend or decide."""

STREAM = "/v1/stream"


class Meters:
    """Counts records; `text()` is what Prometheus reads."""

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry()
        self._lock = Lock()
        self._unheard: set[str] = set()
        Info("chainfold", "The program that is observed.", registry=self.registry).info({"version": version})
        ProcessCollector(namespace="chainfold", registry=self.registry)  # memory, time and files; on Linux
        count, gauge = self._counter, self._gauge
        self._steps = count("steps", "Steps that a stage did.", "stage")
        self._errors = count("stage_errors", "Steps that failed, by class of error.", "stage", "error")
        self._waiting = gauge("stage_waiting", "1 for what a stage waits for, else 0.", "stage", "for")
        self._last = gauge(
            "stage_last_step_timestamp_seconds", "When a stage last did a step or failed at one.", "stage"
        )
        self._appended = count("logs_appended", "Logs appended.", "stage")
        self._orphaned = count("logs_orphaned", "Logs orphaned.", "stage")
        self._blocks = count("blocks_fetched", "Blocks that were asked for and covered.", "stage")
        self._refused = count("ranges_refused", "Ranges that a source found too large.", "stage")
        self._given_up = count("ranges_failed", "Ranges that no endpoint gave: they became gaps.", "stage")
        self._reorgs = count(
            "reorgs", "Reorgs that were followed, above or below finality.", "stage", "finality"
        )
        self._depth = Histogram(
            "chainfold_reorg_depth_blocks",
            "How many known blocks a reorg replaced.",
            ["stage"],
            buckets=DEPTHS,
            registry=self.registry,
        )
        self._proven = count("blocks_proven", "Blocks proven.", "stage")
        self._by_receipts = count(
            "blocks_proven_by_receipts", "Of the blocks proven, those that took all receipts.", "stage"
        )
        self._unproven = count(
            "blocks_disproved", "Blocks that a proof failed at: wrong or unproven.", "stage", "kind"
        )
        self._to_prove = gauge(
            "blocks_to_prove", "Final blocks that are fetched and not proven yet.", "stage"
        )
        self._events = count("events_folded", "Events folded.", "projection")
        self._changed = count("documents_changed", "Documents that the fold changed.", "projection")
        self._left = gauge(
            "events_left", "Events that the journal holds and that are not folded yet.", "projection"
        )
        self._rewinds = count("rewinds", "Rewinds: the fold went back to an earlier block.", "projection")
        self._quarantined = count("events_quarantined", "Events that were put in quarantine.", "projection")
        self._promotions = count("promotions", "Builds put in the place of what was served.", "projection")
        self._sent = count("documents_sent", "Documents sent to a sink.", "projection", "sink")
        self._written = count("documents_written", "Documents that a sink took.", "projection", "sink")
        self._not_taken = count(
            "documents_refused", "Documents that a sink did not take, each time.", "projection", "sink"
        )
        self._told = count(
            "notifications_delivered", "Notifications that the receiver took.", "projection", "webhook"
        )
        self._untold = count(
            "notifications_failed", "Attempts that failed and are made again.", "projection", "webhook"
        )
        self._dead = count(
            "notifications_dead", "Notifications that became dead letters.", "projection", "webhook"
        )
        self._cache = count("cache_reads", "Documents read from Redis, by outcome.", "projection", "outcome")
        self._fills = count(
            "cache_fills", "Documents put into Redis behind an answer, by outcome.", "projection", "outcome"
        )
        self._requests = count("http_requests", "Requests answered.", "method", "route", "status")
        self._took = Histogram(
            "chainfold_http_request_seconds",
            "How long requests took.",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.streams = gauge("http_streams", "Streams that are open.")

    def observe(self, event: Stepped | Failed) -> None:
        """Counts what a step did, or how it failed."""
        self._last.labels(event.stage).set(time.time())
        match event:
            case Failed():
                self._errors.labels(event.stage, type(event.error).__name__).inc()
                self._waits(event.stage, waited_for(event.error))
            case Stepped():
                self._steps.labels(event.stage).inc()
                self._waits(event.stage, self._counted(event.stage, event.record))

    def cache_read(self, projection: str, outcome: str, count: int) -> None:
        self._cache.labels(projection, outcome).inc(count)

    def cache_filled(self, projection: str, outcome: str, count: int) -> None:
        if count:
            self._fills.labels(projection, outcome).inc(count)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts a request that was answered; `route` is a pattern, never what a client wrote."""
        self._requests.labels(method, route, str(status)).inc()
        if route != STREAM:  # which ends when its reader has seen enough
            self._took.labels(route).observe(seconds)

    def add(self, collector: Collector) -> None:
        """Has what this collector collects among the rest."""
        self.registry.register(collector)

    def text(self) -> bytes:
        """The text format of Prometheus."""
        return generate_latest(self.registry)

    def _counter(self, name: str, said: str, *labels: str) -> Counter:
        return Counter(f"chainfold_{name}", said, labels, registry=self.registry)

    def _gauge(self, name: str, said: str, *labels: str) -> Gauge:
        return Gauge(f"chainfold_{name}", said, labels, registry=self.registry)

    def _counted(self, stage: str, record: Record) -> str:
        """Counts a record; what the stage waits for after it."""
        match record:
            case Ingested():
                return self._ingested(stage, record)
            case Proved():
                return self._proved(stage, record)
            case Folded():
                return self._folded(record)
            case Published():
                return self._published(record)
            case Delivered():
                return self._delivered(stage, record)
            case _:
                assert_never(record)

    def _ingested(self, stage: str, record: Ingested) -> str:
        self._appended.labels(stage).inc(record.appended)
        self._orphaned.labels(stage).inc(record.orphaned)
        self._blocks.labels(stage).inc(0 if record.fetched is None else len(record.fetched))
        self._refused.labels(stage).inc(record.refused is not None)
        self._given_up.labels(stage).inc(record.failed is not None)
        for side, below in (("above", False), ("below", True)):  # both are there before the first
            self._reorgs.labels(stage, side).inc(
                record.rewound_to is not None and record.below_finality is below
            )
        if record.rewound_to is not None:
            self._depth.labels(stage).observe(record.depth)
        return "source" if record.idle else "nothing"

    def _proved(self, stage: str, record: Proved) -> str:
        self._proven.labels(stage).inc(record.proven)
        self._by_receipts.labels(stage).inc(record.by_receipts)
        for item in record.failed:
            self._unproven.labels(stage, item.kind).inc()
        self._to_prove.labels(stage).set(record.left)
        if record.reason is not None:
            return "source"
        return "journal" if record.idle else "nothing"

    def _folded(self, record: Folded) -> str:
        name = record.projection
        self._events.labels(name).inc(record.events)
        self._changed.labels(name).inc(record.changed)
        self._left.labels(name).set(record.left)
        self._rewinds.labels(name).inc(record.rewound_to is not None)
        self._quarantined.labels(name).inc(record.quarantined)
        self._promotions.labels(name).inc(record.promoted is not None)
        if not record.idle:
            return "nothing"
        stands = record.error is not None or record.state in ("outdated", "ready")
        return "operator" if stands else "journal"

    def _published(self, record: Published) -> str:
        self._sent.labels(record.projection, record.sink).inc(record.sent)
        self._written.labels(record.projection, record.sink).inc(record.written)
        self._not_taken.labels(record.projection, record.sink).inc(record.refused)
        return "fold" if record.idle else "nothing"

    def _delivered(self, stage: str, record: Delivered) -> str:
        self._told.labels(record.projection, record.rule).inc(record.delivered)
        self._untold.labels(record.projection, record.rule).inc(record.failed)
        self._dead.labels(record.projection, record.rule).inc(record.dead)
        with self._lock:  # what is to be sent again is not due at every step
            if record.failed:
                self._unheard.add(stage)
            elif not record.idle:
                self._unheard.discard(stage)
            if stage in self._unheard:
                return "sink"
        return "fold" if record.idle else "nothing"

    def _waits(self, stage: str, reason: str) -> None:
        with self._lock:
            for known in WAITS:
                self._waiting.labels(stage, known).set(known == reason)


def waited_for(error: ChainfoldError) -> str:
    """The part whose failure this error is; the operator where no retry can help."""
    match error:
        case LeaseHeld() | Fenced():
            return "lease"
        case SourceError() if error.retry:
            return "source"
        case StoreError() if error.retry:
            return "store"
        case SinkError() if error.retry:
            return "sink"
        case _:
            return "operator"
