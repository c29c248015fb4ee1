"""The kit for people who write projectors: given events, expect documents, through reorgs and crashes.

    kit = Kit(Balances)
    kit.emit("Transfer", from_=NOBODY, to=address(1), value=70)
    block = kit.mine()
    assert kit.documents() == {address(1): Holder(address(1), "70", updatedAt=block.timestamp)}
    kit.check()

Nothing is imitated: a store on SQLite, the journal, the runner, the publisher, and the sink in memory. Law:
every road to a history gives the documents of the straight fold of that history.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Literal

from msgspec.structs import replace

from eventstore.records import Header, Log
from eventstore.sources.simulated.chain import SimulatedChain
from projections.decoding.event import names, parse
from projections.errors import ProjectorError
from projections.fold.document_type import Shape
from projections.fold.runner import BATCH
from projections.projectors import Projector
from projections.testing.encoding import encoded, spelled
from projections.testing.river import (
    CHAIN,
    CONTRACT,
    MinedBlock,
    River,
    RiverOutcome,
    assert_same,
    moved,
    played,
)


def address(number: int) -> str:
    """An address that can be typed in a line of a test; `address(0)` is the zero address."""
    return f"0x{number:040x}"


class Kit:
    """A chain that you script, and what a projector makes of it.

    `events` are the contract's declarations (absent: those of the projector's own handlers), `roles` map
    a handler's parameter to the contract's name for it, as in the configuration. The chain starts with
    block 0, which is empty; blocks are 12 seconds apart.
    """

    def __init__(
        self,
        projector: type[Projector],
        *,
        events: Sequence[str] = (),
        roles: Mapping[str, str] | None = None,
        poison: Literal["halt", "quarantine"] = "halt",
    ) -> None:
        projector.check()
        self._projector = projector
        self._events = [parse(signature) for signature in events or projector.handlers().values()]
        self._roles = dict(roles or {})
        self._poison = poison
        self._chain = SimulatedChain(chain_id=CHAIN)
        self._waiting = 0
        self._live = self._river()
        self._delivered = 0
        self._closed = weakref.finalize(self, self._live.close)

    def __enter__(self) -> Kit:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Removes the kit's store; so does the end of the kit itself."""
        self._closed()

    # --- given ---

    def emit(self, event: str, **values: Any) -> None:
        """Queues a log for the next block. The parameters are the contract's, those that are keywords
        of Python with a trailing underscore: `kit.emit("Transfer", from_=..., to=..., value=...)`. For a
        `string` one may give bytes, which need be no UTF-8."""
        named = [item for item in self._events if item.name == event]
        if not named:
            raise ProjectorError(f"No event {event} is declared.", hint=f"Declared: {names(self._events)}.")
        fitting = [item for item in named if values.keys() == {spelled(part) for part in item.parameters}]
        declared = (fitting or named)[0]
        topics, data = encoded(declared, values)
        self._chain.emit(CONTRACT, topics, data)
        self._waiting += 1

    def mine(self, blocks: int = 1) -> Header:
        """Adds blocks; the first holds what was emitted; returns the header of the last."""
        self._chain.mine(blocks)
        self._waiting = 0
        return self._chain.head()

    def reorg(self, depth: int = 1) -> None:
        """Takes the last `depth` blocks off the chain, after they were folded. What is emitted and mined
        next stands in their place."""
        self._settle()
        fork = self._chain.reorg(depth, logs=[])
        self._live.orphan(fork.common.number + 1)
        self._delivered = fork.common.number

    # --- expect ---

    def documents(self) -> dict[str, Any]:
        """Every document by its key, as the sink shows them. What still waits is mined first.

        Fails where the projection halted, with the event that halted it.
        """
        outcome = self._settle()
        if outcome.halted is not None:
            raise AssertionError(f"{self._projector.__name__} halted: {outcome.halted}")
        assert_same(RiverOutcome(outcome.published), outcome, "the sink")
        decode = Shape(self._projector).decode
        return {key: decode(body) for key, body in outcome.published.items()}

    def problems(self) -> list[str]:
        """What halted the projection, or each event that the quarantine passed over, and why."""
        outcome = self._settle()
        return [*outcome.passed_over, *([] if outcome.halted is None else [outcome.halted])]

    # --- through reorgs, rebuilds and crashes ---

    def check(self) -> None:
        """Every check below over the chain as it stands; fails with the first document that differs.

        A projector that keeps something on itself, or reads a clock or a random number, is found here.
        """
        self.check_twice()
        self.check_rebuilt()
        self.check_reorgs()
        self.check_crashes()

    def check_twice(self) -> None:
        """Each block delivered twice, then all of them again, then folded again after rollbacks."""
        history = self._history()
        wanted = self._straight(history)
        with self._river() as river:
            for block in history:
                river.deliver([block])
                river.deliver([block])
                river.flow()
            assert_same(river.outcome(), wanted, "after each block was delivered twice")
            river.deliver(history)
            river.flow()
            assert_same(river.outcome(), wanted, "after everything was delivered again")
            if wanted.halted is None:
                for block_number in (len(history) // 2, 0):
                    river.operations.rollback(block_number, hold=False)
                    river.flow()
                    assert_same(river.outcome(), wanted, f"after a rollback to block {block_number}")

    def check_rebuilt(self) -> None:
        """Built again from the first block, beside the live documents and then in their place."""
        history = self._history()
        wanted = self._straight(history)
        with self._river() as river:
            river.deliver(history)
            river.flow()
            river.operations.rebuild(promote=False)
            river.flow()
            assert_same(
                replace(river.outcome(built=True), published=wanted.published), wanted, "in a rebuild"
            )
            if wanted.promotable:
                river.operations.rebuild()
                river.flow()
                assert_same(river.outcome(), wanted, "after a rebuild took over")

    def check_reorgs(self) -> None:
        """At every depth: the last blocks gone; others in their place; and the first ones back again."""
        history = self._history()
        wanted = self._straight(history)
        stood: list[RiverOutcome] = []
        with self._river() as river:
            stood.append(river.outcome())
            for block in history:
                river.deliver([block])
                river.flow()
                stood.append(river.outcome())
            assert_same(stood[-1], wanted, "folded block by block")
            for depth in range(1, len(history) + 1):
                kept = history[: len(history) - depth]
                others = moved(history[len(kept) :])
                river.orphan(len(kept) + 1)
                river.flow()
                assert_same(river.outcome(), stood[len(kept)], f"after a reorg took the last {depth} blocks")
                river.deliver(others)
                river.flow()
                straight = self._straight([*kept, *others])
                assert_same(river.outcome(), straight, f"after a reorg of depth {depth} to other blocks")
                river.orphan(len(kept) + 1)
                river.deliver(history[len(kept) :])
                river.flow()
                assert_same(river.outcome(), wanted, f"after a reorg of depth {depth} and back again")

    def check_crashes(self) -> None:
        """Through a sync, a reorg and a rebuild, once for each place where the process can die: before
        and after every commit, and before, within and after every write to the sink."""
        history = self._history()
        wanted = self._straight(history)
        batch = max(2, sum(len(block.logs) for block in history) // 3)
        half = len(history) // 2

        def begin(river: River) -> None:
            river.deliver(history[:half])
            river.flow()

        def go_on(river: River) -> None:
            river.deliver(history)
            river.flow()

        def reorganise(river: River) -> None:
            river.orphan(half + 1)
            river.flow()

        def rebuild(river: River) -> None:
            river.operations.rebuild()
            river.flow()

        script = [begin, go_on, reorganise, go_on, *([rebuild] if wanted.promotable else [])]
        place, died = 0, True
        while died:
            with self._river(batch=batch) as river:
                river.fuse.arm(place)
                died = played(script, river)
                assert_same(
                    river.outcome(), wanted, f"after a crash {river.fuse.where}" if died else "in batches"
                )
            place += 1

    # --- within ---

    def _settle(self) -> RiverOutcome:
        if self._waiting:
            self.mine()
        self._live.deliver(self._history()[self._delivered :])
        self._delivered = self._chain.head().number
        self._live.flow()
        return self._live.outcome()

    def _history(self) -> list[MinedBlock]:
        """The canonical blocks from block 1 on."""
        if self._waiting:
            self.mine()
        head = self._chain.head().number
        logs: dict[int, list[Log]] = {}
        for log in self._chain.logs_in(1, head):
            logs.setdefault(log.block_number, []).append(log)
        found = []
        for number in range(1, head + 1):
            header = self._chain.header(number)
            assert header is not None
            found.append(MinedBlock(header, logs.get(number, [])))
        return found

    def _straight(self, history: Sequence[MinedBlock]) -> RiverOutcome:
        """What the plain fold of a history comes to."""
        with self._river() as river:
            river.deliver(history)
            river.flow()
            outcome = river.outcome()
        assert_same(RiverOutcome(outcome.published), outcome, "the sink")
        return outcome

    def _river(self, *, batch: int = BATCH) -> River:
        return River(self._projector, self._events, self._roles, poison=self._poison, batch=batch)
