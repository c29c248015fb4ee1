"""What long work shows: bars with rate and ETA on a terminal, plain log lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from eventstore.ingest import Ingested
from eventstore.records import BlockRange
from projections.generation import Promoted
from projections.publisher import Published
from projections.runner import Folded
from projections.service.loops import Failed, Observer, Stepped

QUIET = 5.0
"""Seconds between two lines of progress where there is no terminal."""


class Summary:
    """What all steps of a `sync` did together."""

    def __init__(self) -> None:
        self.appended = self.orphaned = self.events = self.changed = self.sent = self.written = 0
        self.reorgs: list[str] = []
        self.notes: list[str] = []
        self.halted: list[str] = []
        self.started = time.monotonic()

    def add(self, stage: str, record: Ingested | Folded | Published) -> None:
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
            case Folded():
                self.events += record.events
                self.changed += record.changed
                if record.promoted is not None:
                    self.notes.append(_promotion(record.projection, record.promoted))
                if record.error is not None and record.idle:
                    self.halted.append(record.projection)
                    self.notes.append(f"{record.projection} is halted: {record.error}")
                if record.state == "outdated":
                    self.notes.append(
                        f"{record.projection} was built by other code or configuration and stands still; "
                        f"run `chainfold rebuild {record.projection}`"
                    )
            case Published():
                self.sent += record.sent
                self.written += record.written

    def record(self) -> dict[str, int | list[str]]:
        """The same as values, for `--json`."""
        return {
            "appended": self.appended,
            "orphaned": self.orphaned,
            "events": self.events,
            "changed": self.changed,
            "sent": self.sent,
            "written": self.written,
            "reorgs": self.reorgs,
            "notes": self.notes,
        }

    def line(self) -> str:
        seconds = time.monotonic() - self.started
        return (
            f"{self.appended:,} logs appended, {self.orphaned:,} orphaned; {self.events:,} events folded, "
            f"{self.changed:,} documents changed; {self.written:,} documents written to sinks "
            f"({seconds:.1f} s)"
        )


@contextmanager
def showing(summary: Summary) -> Iterator[Observer]:
    """An observer that shows the work as it goes, and adds it to `summary`."""
    if sys.stderr.isatty():
        with _bars() as bars:
            tasks: dict[str, TaskID] = {}

            def observe(event: Stepped | Failed) -> None:
                if isinstance(event, Failed):
                    bars.console.print(_failure(event))
                    return
                summary.add(event.stage, event.record)
                if event.stage not in tasks:
                    tasks[event.stage] = bars.add_task(event.stage, total=None, start=True)
                done, total = _position(event.record, summary)
                bars.update(tasks[event.stage], completed=done, total=total)

            yield observe
        return
    log = _logger()
    last = time.monotonic()

    def plain(event: Stepped | Failed) -> None:
        nonlocal last
        if isinstance(event, Failed):
            _warn(log, event)
            return
        summary.add(event.stage, event.record)
        if time.monotonic() - last >= QUIET:
            last = time.monotonic()
            done, total = _position(event.record, summary)
            log.info("progress", stage=event.stage, done=done, of=total)

    yield plain


def _promotion(projection: str, done: Promoted) -> str:
    if done.replaced is None:
        return f"{projection} is built and live: {done.differing:,} documents"
    swap = f"generation {done.generation} replaces {done.replaced}"
    return f"{projection}: {swap}; {done.differing:,} documents differ"


def _position(record: Ingested | Folded | Published, summary: Summary) -> tuple[int, int | None]:
    match record:
        case Ingested():
            reached = record.fetched.last if record.fetched else record.head
            return reached, record.head
        case Folded():
            return summary.events, None
        case Published():
            return record.revision, record.revision + record.lag


def _logger() -> Any:
    """Lines on stderr: stdout is for what was asked for."""
    return structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%SZ", utc=True),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), sort_keys=False),
        ],
    )


def _warn(log: Any, event: Failed) -> None:
    """The error, and in how many seconds it is tried again."""
    if event.pause is None:
        log.error("failed", stage=event.stage, error=str(event.error))
    else:
        log.warning("retrying", stage=event.stage, pause=round(event.pause, 1), error=str(event.error))


def _failure(event: Failed) -> str:
    again = f"again in {event.pause:.0f} s" if event.pause is not None else "not tried again"
    return f"{event.stage}: {event.error} ({again})"


class _Rate(ProgressColumn):
    """Units a second, as measured over the last moments."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")


def logged() -> Observer:
    """An observer for the service: one line for whatever moved, none for rest."""
    log = _logger()

    def observe(event: Stepped | Failed) -> None:
        if isinstance(event, Failed):
            _warn(log, event)
            return
        record = event.record
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
                    rewound_to=record.rewound_to,
                    promoted=record.promoted is not None,
                )
            case Published() if record.sent:
                log.info("published", stage=event.stage, revision=record.revision, written=record.written)

    return observe


def _bars() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=Console(stderr=True, highlight=False, markup=False),
        transient=True,
    )
