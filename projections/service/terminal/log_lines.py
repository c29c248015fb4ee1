"""The service's log: one line for each step that moved something or came to a stand."""

from __future__ import annotations

from typing import Any

from eventstore.ingest.branch import Ingested
from eventstore.proof.prover import Proved
from eventstore.records import BlockRange
from projections.fold.runner import Folded
from projections.publish.publisher import Published
from projections.service.logging import logger
from projections.service.runtime.loops import Failed, Observer, Stepped
from projections.service.runtime.summary import STANDING, advice
from projections.webhooks.courier import Delivered


def logged() -> Observer:
    """An observer for the service: one line for each stage that moved or came to stand, no line for rest."""
    log = logger()
    states: dict[str, str] = {}

    def observe(event: Stepped | Failed) -> None:
        if isinstance(event, Failed):
            warn(log, event)
            return
        record = event.record
        if isinstance(record, Folded):
            if record.state in STANDING and states.get(event.stage) != record.state:
                log.warning(record.state, stage=event.stage, block=record.block, detail=advice(record))
            states[event.stage] = record.state
        match record:
            case Ingested(rewound_to=int()):
                log.warning(
                    "reorg",
                    stage=event.stage,
                    depth=record.depth,
                    stands=record.rewound_to,
                    orphaned=record.orphaned,
                    below_finality=record.below_finality,
                )
            case Ingested(fetched=BlockRange(first, last)):
                log.info(
                    "ingested",
                    stage=event.stage,
                    first=first,
                    last=last,
                    appended=record.appended,
                )
            case Folded() if record.error is not None and record.moved:
                log.error("halted", stage=event.stage, block=record.block, error=record.error)
            case Folded() if record.events or record.rewound_to is not None or record.promoted:
                log.info(
                    "folded",
                    stage=event.stage,
                    block=record.block,
                    events=record.events,
                    changed=record.changed,
                    left=record.left,
                    rewound_to=record.rewound_to,
                    promoted=record.promoted is not None,
                )
            case Published() if record.refused:
                log.warning(
                    "documents set aside",
                    stage=event.stage,
                    refused=record.refused,
                    aside=record.aside,
                    reason=record.reason,
                )
            case Published() if record.sent:
                log.info("published", stage=event.stage, revision=record.revision, written=record.written)
            case Delivered() if record.failed or record.dead:
                log.warning(
                    "undelivered",
                    stage=event.stage,
                    delivered=record.delivered,
                    failed=record.failed,
                    dead=record.dead,
                    reason=record.reason,
                )
            case Delivered() if record.delivered:
                log.info("delivered", stage=event.stage, delivered=record.delivered)
            case Proved(blocks=BlockRange(first, last)):
                log.info("proved", stage=event.stage, first=first, last=last, by_receipts=record.by_receipts)
                for item in record.failed:
                    log.error(item.kind, stage=event.stage, block=item.number, reason=item.reason)
            case Proved(reason=str()) if states.get(event.stage) != record.reason:
                states[event.stage] = record.reason or ""
                log.warning("unproven", stage=event.stage, reason=record.reason)

    return observe


def warn(log: Any, event: Failed) -> None:
    """The error, and in how many seconds it is tried again; of one that does not heal, that it stands."""
    if event.pause is None:
        log.error("failed", stage=event.stage, error=str(event.error))
    elif not event.error.retry:
        log.error("stands", stage=event.stage, looked_at_again=round(event.pause, 1), error=str(event.error))
    else:
        log.warning("retrying", stage=event.stage, pause=round(event.pause, 1), error=str(event.error))
