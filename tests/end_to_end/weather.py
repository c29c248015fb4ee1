"""A chain that never rests: registrations, reorgs of any depth between them, and finality that rises."""

from __future__ import annotations

from random import Random
from threading import Event

from eventstore.records import Log
from eventstore.sources.simulated.chain import Emission, SimulatedChain
from tests.end_to_end.site import grow, registrations

USERS = 1_000


class Weather:
    """A chain that grows and reorganises until `over`; its finality only rises."""

    def __init__(self, chain: SimulatedChain, *, seed: int) -> None:
        self.reorgs = self.deepest = self.below_finality = 0
        self._chain = chain
        self._random = Random(f"weather {seed}")
        self._final = 0

    def __str__(self) -> str:
        return (
            f"{self._chain.head().number:,} blocks; {self.reorgs:,} reorgs, the deepest of {self.deepest} "
            f"blocks, {self.below_finality} below finality"
        )

    def rage(self, over: Event) -> None:
        while not over.wait(self._random.uniform(0, 0.1)):
            grow(self._chain, self._random, self._random.randint(1, 3), users=USERS)
            if self._random.random() < 0.15:
                self._turn()
            if self._random.random() < 0.2:
                final = self._chain.head().number - self._random.randint(8, 32)
                self._final = max(self._final, final)
                self._chain.finalize(self._final)

    def _turn(self) -> None:
        """A reorg: half of the logs come again by the same transactions, half never, and new ones come;
        the new branch may be shorter."""
        head = self._chain.head().number
        depth = min(self._random.randint(1, 40 if self._random.random() < 0.1 else 10), head)
        gone = self._chain.logs_in(head - depth + 1, head)
        again = self._random.sample(gone, len(gone) // 2)
        length = self._random.randint(max(0, depth - 2), depth + 1)
        branch: list[list[Emission | Log]] = [
            [*again[place::length], *registrations(self._random, self._random.randint(0, 4), users=USERS)]
            for place in range(length)
        ]
        self._chain.reorg(depth, logs=branch)
        self.reorgs += 1
        self.deepest = max(self.deepest, depth)
        self.below_finality += head - depth < self._final
