"""Taking over a collection that a script filled: fold, compare, and write the documents over it."""

from __future__ import annotations

from msgspec import Struct

from projections.errors import ConfigurationError
from projections.service.application.sync import synchronise
from projections.service.application.verify import callbacks
from projections.service.runtime.progress import SILENT, Progress
from projections.service.runtime.stages import PublishStage
from projections.service.runtime.wiring import Plan
from projections.service.verification import checks
from projections.sinks.capabilities import Adoptable
from projections.verify.adopt import Report, compare


class Adopted(Struct, frozen=True):
    """What was found and done. `rewritten` keys were written in lower case and `merged` with a twin (None:
    not asked for); `conflicts` names, by key, the fields that contradict those of its twin. `left` has the
    documents that do not hold our values now, and how they differ."""

    report: Report
    dry_run: bool
    rewritten: int | None = None
    merged: int | None = None
    conflicts: dict[str, list[str]] = {}
    left: dict[str, str] = {}

    @property
    def complete(self) -> bool:
        """Does every document of the collection hold our values, as far as it was to?"""
        return not self.conflicts and not self.left


def adopt(
    plan: Plan,
    projection: str,
    *,
    dry_run: bool = False,
    normalise: bool = False,
    progress: Progress = SILENT,
) -> Adopted:
    """Fetches, folds, compares and, unless it is a dry run, takes the collection of a projection over.

    Raises `ConfigurationError` for a projection without a MongoDB sink, or one that has not been built.
    """
    plan.named(projection)
    stage = next(
        (
            found
            for found in plan.publish()
            if found.projection == projection and isinstance(found.sink, Adoptable)
        ),
        None,
    )
    if stage is None:
        raise ConfigurationError(
            f"projections.{projection} has no mongo sink, so there is no collection to adopt.",
            hint="Name it: mongo = { collection = ... }.",
        )
    try:
        return _adopted(plan, stage, progress, dry_run=dry_run, normalise=normalise)
    finally:
        stage.close()


def _adopted(
    plan: Plan, stage: PublishStage, progress: Progress, *, dry_run: bool, normalise: bool
) -> Adopted:
    synchronise(plan, alone=False, publishing=False, shown=progress.steps)
    assert isinstance(stage.sink, Adoptable)
    collection = stage.sink.foreign()
    with progress.counted(f"adopt {stage.projection}") as advance:
        report = compare(plan.store, plan.named(stage.projection), collection, progress=advance)
    if report is None:
        raise ConfigurationError(
            f"{stage.projection} has not been built yet.", hint="Look at `chainfold status`, then try again."
        )
    if dry_run:
        return Adopted(report, dry_run=True)
    changed = collection.normalise() if normalise else None
    checks.settle(plan, stage)
    return Adopted(
        report,
        dry_run=False,
        rewritten=None if changed is None else changed.rewritten,
        merged=None if changed is None else changed.merged,
        conflicts={} if changed is None else changed.conflicts,
        left=_left(plan, stage, progress),
    )


def _left(plan: Plan, stage: PublishStage, progress: Progress) -> dict[str, str]:
    """The documents that do not hold our values now, and how they differ: for one, those that the collection
    refuses. A document that a foreign mark protected is given a higher revision first, and sent again."""
    own, ways = plan.named(stage.projection), callbacks(progress)
    check = checks.one_sink(plan, own, stage, checks.VerificationScope(repair=True), ways)
    if check.found <= check.repaired:
        return {}
    check = checks.one_sink(plan, own, stage, checks.VerificationScope(), ways)
    return {item.what: item.detail for item in check.differences}
