"""Turns the stages: once to the end (`sync`), or for ever (`run`). Owns no rule of theirs.

A loop looks only at the records that steps return. Errors that may heal are tried again after a pause
that grows, with jitter; others wait for somebody to mend them. Nothing is lost either way: a stage
resumes from its cursor.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from msgspec import Struct

from eventstore.backoff import Backoff
from eventstore.errors import ChainfoldError, Throttled
from eventstore.ingest.branch import Ingested
from eventstore.proof.prover import Proved
from eventstore.storage.lease import Lease
from projections.fold.runner import Folded
from projections.publish.publisher import Published
from projections.service.records.requests import Request
from projections.service.records.results import Result
from projections.webhooks.courier import Delivered

Record = Ingested | Folded | Published | Proved | Delivered
Done = TypeVar("Done")

BACKOFF = Backoff(1.0, 60.0, "full", 0.1)

LONGEST_PATIENCE = 300.0
"""Seconds that a node may ask for, and get, before it is asked again."""

TRIES = 5
"""How often `sync` tries what may heal before it gives up: half a minute in all, at most."""


class Stage(Protocol):
    """A stage ready to step; `name` for people, `lease` what it works under."""

    name: str
    lease: Lease

    def open(self) -> None: ...

    def step(self) -> Record: ...

    def execute(self, request: Request) -> Result: ...

    def close(self) -> None: ...


class Failed(Struct, frozen=True):
    """A step failed; it is tried again in `pause` seconds, or (None) not before somebody acts."""

    stage: str
    error: ChainfoldError
    pause: float | None


class Stepped(Struct, frozen=True):
    """A step was done."""

    stage: str
    record: Record


Observer = Callable[[Stepped | Failed], None]


def all_of(*observers: Observer) -> Observer:
    """An observer that tells each of these, in turn."""

    def observe(event: Stepped | Failed) -> None:
        for each in observers:
            each(event)

    return observe


def to_end(
    stage: Stage, observe: Observer, *, tries: int = TRIES, until: Callable[[], bool] = lambda: False
) -> bool:
    """Steps until the stage is idle, or `until` says after a step that this is enough: is it idle?

    Raises what does not heal, or did not within `tries` attempts.
    """
    while True:
        record = persist(stage, stage.step, observe, tries=tries)
        observe(Stepped(stage.name, record))
        if record.idle:
            return True
        if until():
            return False


def persist(stage: Stage, act: Callable[[], Done], observe: Observer, *, tries: int = TRIES) -> Done:
    """What `act` returns; tries again, after growing pauses, what may heal."""
    pauses = Pauses()
    while True:
        try:
            return act()
        except ChainfoldError as error:
            if not error.retry or pauses.count >= tries - 1:
                raise
            pause = pauses.after(error)
            observe(Failed(stage.name, error, pause))
            time.sleep(pause)


class Pauses:
    """Growing pauses with jitter: up to 1 s, 2 s, 4 s ... 60 s, at random."""

    def __init__(self) -> None:
        self.count = 0

    def after(self, error: ChainfoldError) -> float:
        """Seconds to wait after `error`: no less than a node asked for, within reason."""
        self.count += 1
        asked = error.after if isinstance(error, Throttled) and error.after is not None else 0.0
        return max(BACKOFF.seconds(self.count), min(asked, LONGEST_PATIENCE))

    def reset(self) -> None:
        self.count = 0
