"""The source that reads a simulated chain in the same process."""

from __future__ import annotations

from collections.abc import Sequence

from eventstore.errors import BlockUnknown
from eventstore.records import Answer, BlockRange, Header, Identity, Query
from eventstore.sources.simulated.chain import SimulatedChain


class SimulatedSource:
    """The `Source` that shows a simulated chain as it is."""

    def __init__(self, chain: SimulatedChain) -> None:
        self._chain = chain

    def identity(self) -> Identity:
        genesis = self._chain.header(0)
        assert genesis is not None
        return Identity(self._chain.chain_id, genesis.hash)

    def head(self) -> Header:
        return self._chain.head()

    def finalized(self) -> Header | None:
        return self._chain.finalized()

    def headers(self, numbers: Sequence[int]) -> list[Header | None]:
        return [self._chain.header(number) for number in numbers]

    def logs(self, query: Query, where: BlockRange | Header) -> Answer:
        answer = self._chain.read(query, where)
        if answer is None:
            block = where.last if isinstance(where, BlockRange) else where.number
            raise BlockUnknown(f"The simulated chain has no such block {block} on its canonical branch.")
        return answer
