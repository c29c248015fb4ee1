"""What an operator asks of a projection: rebuild, back, rollback, resume, retry, republish, skip.

Each is committed under the projection's lease before it returns; the runner's next steps do the rest.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from eventstore.journal.history import Question, ask
from projections.errors import ProjectorError
from projections.fold.changes import Changes
from projections.fold.generation import Generation, Generations
from projections.fold.runner import Folded, Runner
from projections.fold.skips import add_skip
from projections.fold.state import GenerationState


class Retried(Struct, frozen=True):
    """`events` are folded again, from block `first` on; None: no event was passed over."""

    events: int
    first: int | None = None


class Republished(Struct, frozen=True):
    """`keys` are sent to every sink again, as `revision`; None: nothing is served yet."""

    keys: int
    revision: int | None = None


class Skipped(Struct, frozen=True):
    """The event at this place is passed over from now on."""

    block: int
    log_index: int


class Operations:
    """The operations on one projection, for the process that holds the lease of its `runner`."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._store = runner.store
        self._lease = runner.lease
        self._projection = runner.projection

    def rebuild(self, *, promote: bool = True) -> Generation:
        """Starts a build from the first block next to what is served, dropping other code's unfinished one.

        An unfinished build of this code goes on: it may be that of a command that was killed. Without
        `promote` the finished build waits for a `rebuild` with it. Raises `ProjectorError` for a build
        without `promote` while what is served is stale: only a build that replaces it can repair it.
        """
        with self._lease.commit() as tx:
            generations = Generations(tx, self._projection.name)
            served = generations.served()
            if not promote and served is not None and served.state == "stale":
                raise ProjectorError(
                    f"What is served of {self._projection.name} is stale, and a build that replaces it is on "
                    "the way.",
                    hint="Leave out --no-promote.",
                )
            waiting = generations.building()
            mine = waiting is not None and self._projection.built(waiting)
            if waiting is not None and mine and waiting.hold is None:
                continued = replace(waiting, promote=promote, error=None)
                generations.advance(waiting, continued)
                return continued
            return self._projection.build(generations, promote=promote)

    def back(self) -> Generation:
        """Takes the last generation that this code built up again, to replace what other code built.

        Raises `ProjectorError` when no retired generation is of this code."""
        with self._lease.commit() as tx:
            own = self._projection
            revived = Generations(tx, own.name).revive(own.fingerprint, former=own.former)
        if revived is None:
            raise ProjectorError(
                f"No retired generation of {self._projection.name} was built by this code.",
                hint=f"Run `chainfold rebuild {self._projection.name}`.",
            )
        return revived

    def rollback(self, to: int, *, hold: bool) -> Folded:
        """Takes what is served back to its state after block `to`; it replays from there, or with `hold`
        waits there until `resume`. Below what can be undone, a build from the first block starts instead.

        Raises `ProjectorError` when this code built none of what is served."""
        with self._store.read() as tx:
            served = Generations(tx, self._projection.name).served()
        if served is None or not self._projection.built(served):
            raise ProjectorError(
                f"{self._projection.name} has no documents that this code built.",
                hint=f"Run `chainfold rebuild {self._projection.name}` first.",
            )
        until = to if hold else None
        if to < served.floor:
            with self._lease.commit() as tx:
                self._projection.build(Generations(tx, self._projection.name), hold=until)
            return Folded(self._projection.name, "building", block=to, moved=True, rewound_to=to)
        return self._runner.rewind(served, to, hold=until)

    def resume(self) -> None:
        """Lets a held projection go on."""
        with self._lease.commit() as tx:
            generations = Generations(tx, self._projection.name)
            for held in (generations.served(), generations.building()):
                if held is not None and held.hold is not None:
                    generations.advance(held, replace(held, hold=None))

    def retry(self) -> Retried:
        """Folds the events that were passed over again, with all that follows the first of them.

        An event that halts the projection needs no retry: every step tries it."""
        with self._store.read() as tx:
            served = Generations(tx, self._projection.name).served()
            letters = GenerationState(tx, served.id).dead_letters() if served else []
        if not letters:
            return Retried(0)
        done = self.rollback(letters[0].block - 1, hold=False)
        return Retried(len(letters), done.block + 1)

    def republish(self, keys: Sequence[str], *, above: int = 0) -> Republished:
        """Gives these keys a new revision, so that every sink is sent them again: the documents as they
        are, and deletions where there is none. `above` is the highest revision seen in a sink."""
        distinct = sorted(set(keys))
        with self._lease.commit() as tx:
            served = Generations(tx, self._projection.name).served()
            if served is None:
                return Republished(0)
            revision = max(served.revision, above) + 1
            Changes(tx, self._projection.name).mark(distinct, revision)
            Generations(tx, served.projection).advance(served, replace(served, revision=revision))
        return Republished(len(distinct), revision)

    def skip(self, *, block: int, log_index: int, reason: str) -> Skipped:
        """Passes one event over, in every rebuild too. There is no operation that undoes this.

        Raises `ProjectorError` when the journal holds no such log."""
        with self._lease.commit() as tx:
            rows = [
                item
                for item in ask(tx, self._projection.chain_id, Question(first=block, last=block))
                if item.log.log_index == log_index
            ]
            if not rows:
                raise ProjectorError(f"The journal holds no log {log_index} in block {block}.")
            add_skip(tx, self._projection.name, rows[0].log, reason)
            served = Generations(tx, self._projection.name).served()
        if served is not None and served.block >= block:
            self.rollback(block - 1, hold=False)
        return Skipped(block, log_index)
