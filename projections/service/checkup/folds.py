"""Would every projection go on from where its documents stand? Has all that is declared an effect?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

from projections.errors import ProjectorError
from projections.fold.fold import Projection
from projections.service.checkup import Trial
from projections.service.checkup.remarks import remarks
from projections.service.runtime.wiring import Plan
from projections.service.status.projections import projection_status


def trials(plan: Plan) -> Iterator[Trial]:
    """The memory that the folds may take, then each projection, then each contract."""
    yield Trial("fold.memory", partial(_memory, plan.config.fold.memory))
    for name in plan.projections:
        yield Trial(f"projection {name}", partial(_projection, plan, name))
        yield Trial(f"handlers of {name}", partial(_without_effect, plan, f"projections.{name}"))
    for name in plan.config.contracts:
        yield Trial(f"contract {name}", partial(_without_effect, plan, f"contracts.{name}"))


def _without_effect(plan: Plan, about: str) -> list[str]:
    return [item.said for item in remarks(plan) if item.about == about]


def _memory(wanted: int) -> list[str]:
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if wanted <= there:
        return []
    return [f"{wanted // 2**20:,} MB are more than this machine has, {there // 2**20:,} MB"]


def _projection(plan: Plan, name: str) -> list[str]:
    own = plan.projections[name]
    found = projection_status(plan.store, own, head=None)
    if found.error is not None:
        raise ProjectorError(
            f"{name} is halted: {found.error}",
            hint="`chainfold failures list` shows the event; mend the projector or pass it over.",
        )
    return _standing(own, found.state)


def _standing(own: Projection, state: str) -> list[str]:
    match state:
        case "outdated" if own.rebuild == "auto":
            return [
                "what is served was built by other code or configuration: it is built again, then replaced"
            ]
        case "outdated":
            return [
                "what is served was built by other code or configuration and stands still: run "
                f"`chainfold rebuild {own.name}`"
            ]
        case "stale":
            return ["what is served cannot be rewound as far as it must: it is built again"]
        case "held":
            return [f"it waits where a rollback put it: `chainfold resume {own.name}` lets it go on"]
        case _:
            return []
