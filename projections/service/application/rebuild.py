"""Builds a projection again from the first block, in this process or in the process that folds it already."""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec import Struct

from eventstore.errors import LeaseHeld
from eventstore.journal.journal import Journal
from eventstore.journal.tail import Tail
from eventstore.storage.store import Store
from projections.errors import GenerationRefused
from projections.fold.backlog import Backlog, reach
from projections.fold.fold import Projection
from projections.fold.generation import Comparison, Generation, Generations
from projections.fold.runner import Folded
from projections.service.records.requests import Rebuild, Requests
from projections.service.records.results import Result
from projections.service.runtime import loops
from projections.service.runtime.asking import ask
from projections.service.runtime.leases import held
from projections.service.runtime.progress import SILENT, Steps
from projections.service.runtime.stages import FoldStage
from projections.service.runtime.summary import Summary
from projections.service.runtime.wiring import Plan
from projections.service.status.lease_holders import Holder, of_other_code


class Rebuilt(Struct, frozen=True):
    """A build that ended. `old` is the generation that was served before it, `new` the one it made, and
    `comparison` what differs between them: None where there is nothing to compare. `idle` names the processes
    of other code that stand still from now on. `events` were folded in `seconds`."""

    events: int
    seconds: float
    old: Generation | None
    new: Generation | None
    comparison: Comparison | None
    idle: list[Holder]


def rebuild(
    plan: Plan,
    projection: str,
    *,
    promote: bool = True,
    back: bool = False,
    shown: Steps = SILENT.steps,
    begun: Callable[[Result], object] = lambda _: None,
) -> Rebuilt:
    """Builds a projection again and waits until the build is served; without `promote`, until it is built.

    With `back` it takes up again the generation that this code built before other code did. `begun` is called
    with what was begun, before the wait. Raises `GenerationRefused` when the build is halted.
    """
    stage = plan.fold_of(projection)
    watched = BuildWatch(plan.store, stage.projection)
    old = generations(plan, projection)[0]  # a running service may be done as soon as it is asked
    begun(ask(stage, Requests(plan.store), Rebuild(promote, back)))
    summary, started = Summary(), time.monotonic()
    _until_built(plan, stage, summary, watched, shown)
    seconds = time.monotonic() - started
    served, building = generations(plan, projection)
    new = served if promote else building
    idle = of_other_code(plan.store, projection, stage.projection.fingerprint) if promote else []
    return Rebuilt(summary.events, seconds, old, new, _compared(plan, projection, old, new), idle)


def rebuilt(plan: Plan, projection: str, *, shown: Steps = SILENT.steps) -> None:
    """Builds a projection again and waits until the build is served, like `rebuild`; compares nothing."""
    stage, watched = plan.fold_of(projection), BuildWatch(plan.store, plan.named(projection))
    ask(stage, Requests(plan.store), Rebuild(promote=True, back=False))
    _until_built(plan, stage, Summary(), watched, shown)


def _until_built(plan: Plan, stage: FoldStage, summary: Summary, watched: BuildWatch, shown: Steps) -> None:
    """Folds to the end, or watches the holder of the lease do it."""
    projection = stage.projection.name
    with shown() as display:
        observe = loops.all_of(summary.observe, display)
        while True:
            try:
                with held([stage.lease]):
                    loops.to_end(stage, observe)
                    watched = BuildWatch(plan.store, stage.projection)
            except LeaseHeld:
                seen = watched.look()
                if seen is not None:
                    observe(loops.Stepped(stage.name, seen))
                time.sleep(0.2)
            served, building = generations(plan, projection)
            if building is None:
                return
            if building.error:
                raise GenerationRefused(f"The build of {projection} stands: {building.error}")
            if not building.promote and served is not None and building.block >= served.block:
                return


class BuildWatch:
    """What another process does for a build from now on, as the records that its steps return."""

    def __init__(self, store: Store, projection: Projection) -> None:
        self._store = store
        self._projection = projection
        self._backlog = Backlog()
        self._seen: dict[int, int] = {}  # generation to the block up to which its events were reported
        with store.read() as tx:
            building = Generations(tx, projection.name).building()
        if building is not None:
            self._seen[building.id] = building.block

    def look(self) -> Folded | None:
        """What was folded since the last look; None where nothing was."""
        own = self._projection
        with self._store.read() as tx:
            generations = Generations(tx, own.name)
            now = generations.building() or generations.served()
            if now is None or (now.state != "building" and now.id not in self._seen):
                return None
            first = own.first_block
            since = self._seen.get(now.id, now.block if now.revision else first - 1)
            if since == now.block:
                return None
            self._seen[now.id] = now.block
            journal = Journal(tx, own.chain_id)
            kinds = list(own.routed(journal.kinds(watch.filter for watch in own.watches)))
            end = reach(tx, own, finalized=Tail(tx, own.chain_id).finalized(), hold=now.hold)
            return Folded(
                own.name,
                now.state,
                block=now.block,
                events=journal.count(kinds, after=since, to=now.block),
                left=self._backlog.left(journal, kinds, after=now.block, to=max(end, now.block)),
                moved=True,
            )


def generations(plan: Plan, projection: str) -> tuple[Generation | None, Generation | None]:
    """The generation of a projection that is served, and the generation that is being built."""
    with plan.store.read() as tx:
        generations = Generations(tx, projection)
        return generations.served(), generations.building()


def _compared(
    plan: Plan, projection: str, old: Generation | None, new: Generation | None
) -> Comparison | None:
    if old is None or new is None or old.id == new.id:
        return None
    with plan.store.read() as tx:
        return Generations(tx, projection).compare(old, new)
