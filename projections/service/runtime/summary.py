"""What the stages of one command did together, as totals and sentences."""

from __future__ import annotations

import time

from eventstore.ingest.branch import Ingested
from eventstore.journal import behind
from eventstore.journal.proofs import Disproof
from eventstore.proof.prover import Proved
from projections.fold.generation import Promoted
from projections.fold.runner import Folded
from projections.publish.publisher import Published
from projections.service.runtime.loops import Failed, Record, Stepped
from projections.webhooks.courier import Delivered

STANDING = {
    "outdated": "was built by other code or configuration and stands still; run",
    "ready": "has a finished build that waits beside what is served; to put it in place run",
}
"""What a fold that goes no further by itself waits for."""


class Summary:
    """What all steps of a `sync` did together."""

    def __init__(self) -> None:
        self.appended = self.orphaned = self.events = self.changed = self.sent = self.written = 0
        self.reorgs: list[str] = []
        self.notes: list[str] = []
        self.halted: list[str] = []
        self.told = self.untold = 0
        self.behind = False
        self.aside: dict[str, int] = {}
        self.started = time.monotonic()

    def observe(self, event: Stepped | Failed) -> None:
        """Adds a step; failures are not counted."""
        if isinstance(event, Stepped):
            self.add(event.stage, event.record)

    def add(self, stage: str, record: Record) -> None:
        match record:
            case Ingested():
                self.appended += record.appended
                self.orphaned += record.orphaned
                if record.rewound_to is not None:
                    below = ", BELOW FINALITY" if record.below_finality else ""
                    self.reorgs.append(
                        f"{stage}: reorg of depth {record.depth}{below}, block {record.rewound_to} stands, "
                        f"{record.orphaned} logs orphaned"
                    )
                if record.behind is not None:
                    self.behind = self.behind or record.head < record.finalized
                    self.notes.append(f"{stage}: {behind.said(record.head, record.behind)}")
            case Folded():
                self.events += record.events
                self.changed += record.changed
                if record.promoted is not None:
                    self.notes.append(_promotion(record.projection, record.promoted))
                if record.error is not None and record.idle:
                    self.halted.append(record.projection)
                    self.notes.append(f"{record.projection} is halted: {record.error}")
                if record.state in STANDING and record.idle:
                    self.notes.append(f"{record.projection} {advice(record)}")
            case Published():
                self.sent += record.sent
                self.written += record.written
                self.aside[f"{record.projection}.{record.sink}"] = record.aside
            case Delivered():
                self.told += record.delivered
                self.untold += record.failed + record.dead
            case Proved():
                self.notes += [f"{stage}: {_failed(item)}" for item in record.failed]

    @property
    def failed(self) -> bool:
        """Is a projection halted, or did a node show less than what was final?"""
        return bool(self.halted) or self.behind

    def record(self) -> dict[str, int | list[str]]:
        """The same as values, for `--json`."""
        return {
            "appended": self.appended,
            "orphaned": self.orphaned,
            "events": self.events,
            "changed": self.changed,
            "sent": self.sent,
            "written": self.written,
            "set_aside": sum(self.aside.values()),
            "delivered": self.told,
            "reorgs": self.reorgs,
            "notes": self.notes,
        }

    def line(self) -> str:
        seconds = time.monotonic() - self.started
        untold = f", {self.untold:,} attempts failed" if self.untold else ""
        told = f", {self.told:,} notifications delivered{untold}" if self.told or self.untold else ""
        aside = sum(self.aside.values())
        refused = f" and {aside:,} set aside (`chainfold failures list`)" if aside else ""
        return (
            f"{self.appended:,} logs appended, {self.orphaned:,} orphaned; {self.events:,} events folded, "
            f"{self.changed:,} documents changed; {self.written:,} documents written to sinks{refused}"
            f"{told} ({seconds:.1f} s)"
        )


def advice(record: Folded) -> str:
    """What a fold that stands waits for."""
    return f"{STANDING[record.state]} `chainfold rebuild {record.projection}`"


def _promotion(projection: str, done: Promoted) -> str:
    if done.replaced is None:
        return f"{projection} is built and live: {done.differing:,} documents"
    swap = f"generation {done.generation} replaces {done.replaced}"
    return f"{projection}: {swap}; {done.differing:,} documents differ"


def _failed(item: Disproof) -> str:
    """A block that was not proven, as a sentence."""
    return f"block {item.number:,} is {item.kind}: {item.reason}"
