"""The status of one projection, and its served documents, read in one snapshot of the store each."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from projections.fold.backlog import distance
from projections.fold.fold import Projection
from projections.fold.generation import Generation, Generations, lease_of
from projections.fold.state import GenerationState
from projections.service.status.lease_holders import of_other_code
from projections.service.status.records import STALE, BuildStatus, ProjectionStatus
from projections.values.fields import beside


def projection_status(store: Store, own: Projection, *, head: int | None) -> ProjectionStatus:
    """The state of one projection, each part in its own snapshot; `head` is its chain's."""
    with store.read() as tx:
        generations = Generations(tx, own.name)
        served, building = generations.served(), generations.building()
    build = None if building is None else _build_status(store, own, building)
    if served is None:
        if building is None or build is None:
            return ProjectionStatus("empty", None, None, 0, None, None, 0, None, None, None)
        return _projection_status(building, "halted" if building.error else "building", head, build=build)
    followed = Lease(store, lease_of(own.name, served.fingerprint)).is_held()
    idle = [] if followed else of_other_code(store, own.name, served.fingerprint)
    other = not own.built(served) and not followed
    state: str = served.state
    if served.error:
        state = "halted"
    elif served.hold is not None:
        state = "held"
    elif state == "live" and other:
        state = "outdated"
    replaced = other or idle or (building is not None and building.fingerprint != served.fingerprint)
    still = bool(replaced) and not followed
    return _projection_status(served, state, head, build=build, stands_still=still, idle=map(str, idle))


def _projection_status(
    shown: Generation,
    state: str,
    head: int | None,
    *,
    build: BuildStatus | None,
    stands_still: bool = False,
    idle: Iterable[str] = (),
) -> ProjectionStatus:
    told = shown.timestamp > 0  # 0 before the first event: no time to count from
    return ProjectionStatus(
        state=state,
        block=shown.block,
        entry=shown.entry,
        revision=shown.revision,
        lag_blocks=None if head is None else max(0, head - shown.block),
        lag_seconds=max(0.0, time.time() - shown.timestamp)
        if head is not None and told and head > shown.block
        else 0.0,
        documents=shown.documents,
        digest=shown.digest.hex(),
        generation=shown.id,
        error=shown.error
        or (build.error if build is not None else None)
        or (STALE if state == "stale" else None),
        stands_still=stands_still,
        build=build,
        idle=list(idle),
    )


def _build_status(store: Store, own: Projection, building: Generation) -> BuildStatus:
    far = distance(store, own, building)
    finished = far.events == far.of and not building.promote
    return BuildStatus(
        generation=building.id,
        state="halted" if building.error else "ready" if finished else "building",
        block=building.block,
        to_block=far.to_block,
        events=far.events,
        of=far.of,
        percent=far.percent,
        error=building.error,
    )


def served_generation(store: Store, projection: str) -> Generation | None:
    """The generation that readers see, None before the first build."""
    with store.read() as tx:
        return Generations(tx, projection).served()


def served_documents(store: Store, projection: str) -> list[dict[str, Any]]:
    """All served documents, ascending by key; none before the first build."""
    with store.read() as tx:
        served = Generations(tx, projection).served()
        if served is None:
            return []
        return [msgspec.json.decode(body) for _, body in GenerationState(tx, served.id).scan()]


def field_sums(store: Store, projection: str, fields: Iterable[str]) -> dict[str, int] | None:
    """How many documents the fold holds, and the sums of these fields; None before the first build."""
    wanted = list(fields)
    with store.read() as tx:
        served = Generations(tx, projection).served()
        if served is None:
            return None
        sums = {"documents": 0} | {beside("documents", field): 0 for field in wanted}
        for _, body in GenerationState(tx, served.id).scan():
            sums["documents"] += 1
            fields_of: Mapping[str, Any] = msgspec.json.decode(body)
            for field in wanted:
                sums[beside("documents", field)] += int(fields_of[field] or 0)
    return sums
