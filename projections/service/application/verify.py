"""Comparing what is stored with what it was made from, with the means to repair it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from eventstore.report import Check
from projections.service.application.rebuild import rebuilt
from projections.service.runtime.progress import SILENT, Progress
from projections.service.runtime.wiring import Plan
from projections.service.verification import checks


def verify(
    plan: Plan,
    names: Iterable[str] = (),
    wanted: checks.VerificationScope = checks.VerificationScope(),  # noqa: B008 - it is frozen
    *,
    progress: Progress = SILENT,
) -> list[Check]:
    """Runs the checks of these names, all without names; one that fails holds up no other.

    Raises `ConfigurationError` for a name that no check has.
    """
    return checks.verify(plan, names, wanted, callbacks(progress))


def callbacks(progress: Progress) -> checks.Callbacks:
    """What the checks need of the application: displays, and a rebuild of documents that differ."""

    return checks.Callbacks(
        counted=progress.counted,
        following=progress.following,
        rebuilt=partial(rebuilt, shown=progress.steps),
    )
