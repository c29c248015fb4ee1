"""A chain that a contract test scripts, together with the source that shows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from eventstore.sources import Source
from eventstore.sources.simulated.chain import SimulatedChain


class ScriptedSource(Protocol):
    """A chain that a test can script, and the source under test that reads it."""

    source: Source

    def emit(self, address: bytes, topics: Sequence[bytes], data: bytes = b"") -> None: ...

    def mine(self, n: int = 1) -> None: ...

    def reorg(self, depth: int) -> None:
        """Replaces the last `depth` blocks by as many empty ones."""

    def settle(self) -> None:
        """Makes the blocks that exist final."""


class SimulatedScript:
    """A stage over a simulated chain; `shown` is called after every change of it."""

    def __init__(self, source: Source, chain: SimulatedChain, shown: Callable[[], None]) -> None:
        self.source = source
        self.emit = chain.emit
        self._chain = chain
        self._shown = shown

    def mine(self, n: int = 1) -> None:
        self._chain.mine(n)
        self._shown()

    def reorg(self, depth: int) -> None:
        self._chain.reorg(depth)
        self._shown()

    def settle(self) -> None:
        self._chain.finalize(self._chain.head().number)
        self._shown()
