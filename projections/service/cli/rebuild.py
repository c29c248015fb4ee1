"""The commands that change a projection by hand: rebuild, rollback, resume.

They ask whoever holds the projection's lease, so they work while the service runs.
"""

from __future__ import annotations

import time
from typing import Annotated

import typer

from eventstore.errors import LeaseHeld
from eventstore.journal.journal import Journal
from eventstore.journal.tail import Tail
from eventstore.storage.store import Store
from projections.errors import GenerationRefused
from projections.fold.backlog import Backlog, reach
from projections.fold.fold import Projection
from projections.fold.generation import Comparison, Generation, Generations
from projections.fold.runner import Folded
from projections.service.cli.app import app, configuration
from projections.service.cli.sync import recorded
from projections.service.records.requests import Requests
from projections.service.runtime import loops
from projections.service.runtime.stages import FoldStage
from projections.service.runtime.wiring import Plan, planned
from projections.service.status.lease_holders import of_other_code
from projections.service.terminal.display import Summary, showing
from projections.service.terminal.output import out

Name = Annotated[str, typer.Argument(metavar="PROJECTION", help="Which projection.")]


def _stage(plan: Plan, projection: str) -> FoldStage:
    return plan.fold_of(projection)


@app.command()
def rebuild(
    projection: Name,
    *,
    promote: Annotated[
        bool, typer.Option("--promote/--no-promote", help="Replace what is served when it is finished.")
    ] = True,
    back: Annotated[
        bool, typer.Option("--back", help="Take up again what this code built before other code did.")
    ] = False,
) -> None:
    """Fold a projection anew, then replace what is served.

    It folds from the first block, beside what is served.
    With --no-promote it waits, and says what differs; a later `rebuild` then puts it in place.
    """
    with planned(configuration()) as plan, recorded(plan.store, f"rebuild {projection}"):
        stage = _stage(plan, projection)
        watched = Watched(plan.store, stage.projection)
        before = _generations(plan, projection)[0]  # a running service may be done as soon as it is asked
        out().print(loops.ask(stage, Requests(plan.store), "rebuild", promote=promote, back=back))
        summary, started = Summary(), time.monotonic()
        _until_built(plan, stage, summary, watched)
        seconds = time.monotonic() - started
        served, building = _generations(plan, projection)
        differs = _compared(plan, projection, before, served if promote else building)
        idle = of_other_code(plan.store, projection, stage.projection.fingerprint) if promote else []
    if summary.events:
        out().print(
            f"{summary.events:,} events folded in {seconds:.1f} s ({summary.events / seconds:,.0f}/s)"
        )
    for line in differs:
        out().print(line)
    for process in idle:
        said = f"{process} is of other code: it stands still from now on."
        out().print(f"{said} Start it anew with this code.")


def rebuilt(plan: Plan, projection: str) -> None:
    """Has a projection built anew by whoever folds it, and waits until that is served."""
    stage, watched = _stage(plan, projection), Watched(plan.store, plan.named(projection))
    loops.ask(stage, Requests(plan.store), "rebuild", promote=True, back=False)
    _until_built(plan, stage, Summary(), watched)


def _until_built(plan: Plan, stage: FoldStage, summary: Summary, watched: Watched) -> None:
    """Folds to the end, or watches the holder of the lease do it."""
    projection = stage.projection.name
    with showing(summary) as observe:
        while True:
            try:
                with loops.held([stage.lease]):
                    loops.to_end(stage, observe)
                    watched = Watched(plan.store, stage.projection)
            except LeaseHeld:
                seen = watched.look()
                if seen is not None:
                    observe(loops.Stepped(stage.name, seen))
                time.sleep(0.2)
            served, building = _generations(plan, projection)
            if building is None:
                return
            if building.error:
                raise GenerationRefused(f"The build of {projection} stands: {building.error}")
            if not building.promote and served is not None and building.block >= served.block:
                return


class Watched:
    """What another process does for a build from now on, as the records that its steps return."""

    def __init__(self, store: Store, projection: Projection) -> None:
        self._store = store
        self._projection = projection
        self._backlog = Backlog()
        self._seen: dict[int, int] = {}  # generation to the block up to which its events were told
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


def _generations(plan: Plan, projection: str) -> tuple[Generation | None, Generation | None]:
    with plan.store.read() as tx:
        generations = Generations(tx, projection)
        return generations.served(), generations.building()


def _compared(plan: Plan, projection: str, old: Generation | None, new: Generation | None) -> list[str]:
    if old is None or new is None or old.id == new.id:
        return []
    with plan.store.read() as tx:
        found: Comparison = Generations(tx, projection).compare(old, new)
    if found.equal:
        return [f"generations {old.id} and {new.id} are equal: {new.digest.hex()}"]
    at = "" if old.block == new.block else f" at block {new.block:,}, not {old.block:,}"
    lines = [
        f"generation {new.id} against {old.id}{at}: {found.different:,} documents differ, "
        f"{found.only_new:,} are new, {found.only_old:,} are gone; e.g."
    ]
    return lines + [f"  {key}" for key in found.examples]


@app.command()
def rollback(
    projection: Name,
    *,
    to_block: Annotated[int, typer.Option(min=0, help="The newest block whose events stay folded.")],
    hold: Annotated[bool, typer.Option("--hold", help="Wait there until `chainfold resume`.")] = False,
) -> None:
    """Rewind a projection to a past block.

    It replays from there, or waits with --hold.
    """
    with planned(configuration()) as plan, recorded(plan.store, f"rollback {projection}"):
        served = _generations(plan, projection)[0]
        if served is not None and to_block < served.floor:
            out().print(
                f"Block {to_block} is below {served.floor}, the oldest block that can be undone: "
                f"{served.block:,} blocks are folded again from the first one, beside what is served."
            )
        answer = loops.ask(_stage(plan, projection), Requests(plan.store), "rollback", to=to_block, hold=hold)
    out().print(f"{projection}: {answer}. The next sync or the running service publishes it.")


@app.command()
def resume(projection: Name) -> None:
    """Let a projection go on that `rollback --hold` made wait."""
    with planned(configuration()) as plan:
        answer = loops.ask(_stage(plan, projection), Requests(plan.store), "resume")
    out().print(f"{projection}: {answer}.")
