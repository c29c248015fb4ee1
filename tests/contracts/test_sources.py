"""Every source passes the same suite, however its chain is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import pytest

from eventstore.sources import Source
from eventstore.sources.failover.source import FailoverSource
from eventstore.sources.rpc.source import RpcSource
from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.node import Faults, SimulatedNode
from eventstore.sources.simulated.source import SimulatedSource
from projections.testing.contracts.node import NodeContract
from projections.testing.contracts.script import ScriptedSource
from projections.testing.contracts.source import SourceContract
from tests.servers.anvil import SLOTS_IN_AN_EPOCH, Anvil


class AnvilStage:
    """Emits by hand-made contracts: code that logs its call data, the topics first."""

    def __init__(self, source: Source, anvil: Anvil) -> None:
        self.source = source
        self._anvil = anvil
        self._sender = anvil.rpc("eth_accounts")[0]

    def emit(self, address: bytes, topics: Sequence[bytes], data: bytes = b"") -> None:
        self._anvil.rpc("anvil_setCode", "0x" + address.hex(), "0x" + _logging(len(topics)).hex())
        self._anvil.rpc(
            "eth_sendTransaction",
            {
                "from": self._sender,
                "to": "0x" + address.hex(),
                "data": "0x" + (b"".join(topics) + data).hex(),
                "gas": hex(200_000),
            },
        )

    def mine(self, n: int = 1) -> None:
        self._anvil.mine(n)

    def reorg(self, depth: int) -> None:
        self._anvil.reorg(depth)

    def settle(self) -> None:
        self._anvil.mine(2 * SLOTS_IN_AN_EPOCH)


def _logging(topics: int) -> bytes:
    """EVM code: LOG with so many topics, which the call data begins with; the rest of it is data."""
    size = bytes([0x60, 32 * topics, 0x36, 0x03])  # CALLDATASIZE - 32 * topics
    copy = size + bytes([0x60, 32 * topics, 0x60, 0x00, 0x37])  # CALLDATACOPY(0, 32 * topics, size)
    load = b"".join(bytes([0x60, 32 * place, 0x35]) for place in reversed(range(topics)))
    return copy + load + size + bytes([0x60, 0x00, 0xA0 + topics, 0x00])  # LOGn(0, size, ...), STOP


class TestSimulatedSource(SourceContract):
    def make(self, chain: SimulatedChain) -> Source:
        return SimulatedSource(chain)


class TestRpcSource(NodeContract):
    @pytest.fixture(autouse=True)
    def opened(self) -> Iterator[None]:
        with ExitStack() as self.stack:
            yield

    def make(self, chain: SimulatedChain) -> Source:
        return RpcSource(self.stack.enter_context(SimulatedNode(chain)).url)


class TestFailoverSource(TestRpcSource):
    def make(self, chain: SimulatedChain) -> Source:
        narrow = self.stack.enter_context(SimulatedNode(chain, faults=Faults(range_cap=3)))
        wide = self.stack.enter_context(SimulatedNode(chain))
        return FailoverSource([RpcSource(narrow.url), RpcSource(wide.url)])


@pytest.mark.server
class TestRpcSourceOfAnvil(SourceContract):
    @pytest.fixture
    def stage(self, anvil: Anvil) -> Iterator[ScriptedSource]:
        source = RpcSource(anvil.url)
        yield AnvilStage(source, anvil)
        source.close()
