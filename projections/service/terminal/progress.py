"""How far each stage is, how fast, and how long it takes still. Pure: records in, positions out."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from eventstore.ingest.branch import Ingested
from eventstore.proof.prover import Proved
from projections.fold.runner import Folded
from projections.publish.publisher import Published
from projections.service.runtime.loops import Record
from projections.webhooks.courier import Delivered


class StageProgress(Struct, frozen=True):
    """How far one stage is: `done` of `of` units, `rate` a second since it began, `eta` in seconds."""

    done: int
    of: int
    rate: float
    eta: float | None


class WorkExtent(Struct, frozen=True):
    """What there is to do, where records do not tell: blocks up to `last`, where not up to the head, and how
    many documents of a projection are above a revision, and so not published yet (asked once of a sink)."""

    last: int | None = None
    waiting: Callable[[str, int], int] = lambda *_: 0


class Course:
    """How one stage comes along, seen from its records; it began at `since`, by the monotonic clock."""

    def __init__(self, since: float, whole: WorkExtent) -> None:
        self._since = since
        self._whole = whole
        self._first: int | None = None
        self._done = self._of = 0

    def at(self, record: Record, now: float) -> StageProgress:
        """Where it is after `record`: blocks of an ingester or prover, events of a fold, documents sent."""
        match record:
            case Ingested():
                self._fetched(record)
            case Folded():
                self._done += record.events
                self._of = self._done + record.left
            case Published():
                self._sent(record)
            case Delivered():
                self._done += record.delivered
                self._of = self._done
            case Proved():
                self._done += len(record.blocks) if record.blocks else 0
                self._of = self._done + record.left
        rate = self._done / max(now - self._since, 1e-9)
        return StageProgress(self._done, self._of, rate, (self._of - self._done) / rate if rate else None)

    def _fetched(self, record: Ingested) -> None:
        """Blocks from the first that was missing: the chain may begin far above block 0."""
        last = record.head if self._whole.last is None else min(record.head, self._whole.last)
        if record.fetched is not None:
            self._first = record.fetched.first if self._first is None else self._first
            self._done = max(self._done, record.fetched.last - self._first + 1)
        if self._first is not None:
            self._of = max(self._done, last - self._first + 1)
        if record.idle:
            self._of = self._done

    def _sent(self, record: Published) -> None:
        """Documents, for revisions say little: the first one has all of them."""
        self._done += 0 if record.tried else record.sent
        if not record.lag:
            self._of = self._done
        elif not self._of:
            self._of = self._done + self._whole.waiting(record.projection, record.revision)
        self._of = max(self._of, self._done + (record.lag > 0))
