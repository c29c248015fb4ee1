"""What the stages show while they work: where each is, at what rate, and what needs a look."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from rich.progress import TaskID

from eventstore.errors import ChainfoldError
from eventstore.ingest.branch import Ingested
from eventstore.journal import behind
from eventstore.journal.proofs import Disproof
from eventstore.proof.prover import Proved
from eventstore.records import BlockRange
from projections.fold.generation import Promoted
from projections.fold.runner import Folded
from projections.publish.publisher import Published
from projections.service.logging import logger
from projections.service.records.requests import Requests
from projections.service.runtime.loops import Failed, Observer, Record, Stepped
from projections.service.terminal.bars import QUIET, bars, span
from projections.service.terminal.progress import Course, Position, Whole
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
                    self.notes.append(f"{record.projection} {_advice(record)}")
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


@contextmanager
def showing(
    summary: Summary,
    *,
    every: float = QUIET,
    whole: Whole = Whole(),  # noqa: B008 - it is frozen
) -> Iterator[Observer]:
    """An observer that shows the work as it goes, and adds it to `summary`.

    On a terminal bars with rate and ETA; elsewhere a line that says the same, `every` so many seconds.
    """
    courses: dict[str, Course] = {}
    before = time.monotonic()

    def placed(event: Stepped) -> Position:
        nonlocal before
        summary.add(event.stage, event.record)
        course = courses.setdefault(event.stage, Course(before, whole))
        before = time.monotonic()
        return course.at(event.record, before)

    if sys.stderr.isatty():
        with bars() as shown:
            tasks: dict[str, TaskID] = {}

            def observe(event: Stepped | Failed) -> None:
                if isinstance(event, Failed):
                    shown.console.print(_failure(event))
                    return
                at = placed(event)
                if event.stage not in tasks:
                    tasks[event.stage] = shown.add_task(event.stage, total=None, start=True)
                shown.update(
                    tasks[event.stage], completed=at.done, total=at.of, rate=at.rate, eta=span(at.eta)
                )

            yield observe
        return
    log = logger()
    last = before

    def plain(event: Stepped | Failed) -> None:
        nonlocal last
        if isinstance(event, Failed):
            _warn(log, event)
            return
        at = placed(event)
        if before - last >= every:
            last = before
            rate = f"{at.rate:,.0f}/s"
            log.info("progress", stage=event.stage, done=at.done, of=at.of, rate=rate, eta=span(at.eta))

    yield plain


@contextmanager
def following(requests: Requests, lease: str, stage: str, *, every: float = QUIET) -> Iterator[None]:
    """Shows, while it is open, how far what was asked of a lease's holder has come, whoever that is."""
    ended = threading.Event()
    thread = threading.Thread(
        target=_follow, args=(requests, lease, stage, ended, every), name="progress", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _follow(requests: Requests, lease: str, stage: str, ended: threading.Event, every: float) -> None:
    terminal = sys.stderr.isatty()
    began, log = time.monotonic(), logger()
    with bars() if terminal else nullcontext() as shown:
        task = None if shown is None else shown.add_task(stage, total=None)
        while not ended.wait(0.2 if terminal else every):
            try:
                begun = [item for item in requests.pending(lease) if item.done is not None]
            except ChainfoldError:
                continue  # the command itself says what is wrong with the store
            for item in begun[:1]:
                done, of = item.done or 0, item.total or 0
                rate = done / (time.monotonic() - began)
                eta = span((of - done) / rate if rate else None)
                if shown is not None and task is not None:
                    shown.update(task, completed=done, total=of, rate=rate, eta=eta)
                else:
                    log.info("progress", stage=stage, done=done, of=of, rate=f"{rate:,.0f}/s", eta=eta)


def _advice(record: Folded) -> str:
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


def _warn(log: Any, event: Failed) -> None:
    """The error, and in how many seconds it is tried again; of one that does not heal, that it stands."""
    if event.pause is None:
        log.error("failed", stage=event.stage, error=str(event.error))
    elif not event.error.retry:
        log.error("stands", stage=event.stage, looked_at_again=round(event.pause, 1), error=str(event.error))
    else:
        log.warning("retrying", stage=event.stage, pause=round(event.pause, 1), error=str(event.error))


def _failure(event: Failed) -> str:
    again = f"again in {event.pause:.0f} s" if event.pause is not None else "not tried again"
    if event.pause is not None and not event.error.retry:
        again = f"it stands, and is looked at again in {event.pause:.0f} s"
    return f"{event.stage}: {event.error} ({again})"


def logged() -> Observer:
    """An observer for the service: one line for whatever moved or came to stand, none for rest."""
    log = logger()
    states: dict[str, str] = {}

    def observe(event: Stepped | Failed) -> None:
        if isinstance(event, Failed):
            _warn(log, event)
            return
        record = event.record
        if isinstance(record, Folded):
            if record.state in STANDING and states.get(event.stage) != record.state:
                log.warning(record.state, stage=event.stage, block=record.block, detail=_advice(record))
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
