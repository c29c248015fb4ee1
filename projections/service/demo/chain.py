"""The chain that the demo plays on: a real local node where anvil is installed, else the simulated chain."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from eventstore.errors import SourceUnavailable
from eventstore.sources.simulated.chain import Emission, SimulatedChain
from eventstore.sources.simulated.node import SimulatedNode
from projections.decoding.event import parse
from projections.service.demo.contract import DevelopmentNode, ReferralContract

Registrations = Sequence[tuple[str, str]]

FLAGSHIP = parse("ReferralRegistered(address indexed user, address indexed referrer, uint256 timestamp)")
FINAL_AFTER = 4
"""Blocks below the head that are final: two epochs of two slots."""


class Network(Protocol):
    """A chain with a referral contract on it, at `url`."""

    what: str
    url: str
    contract: str

    def register(self, pairs: Registrations) -> None:
        """One block with these (user, referrer) registrations."""
        ...

    def reorg(self, depth: int, pairs: Registrations) -> None:
        """Replaces the last `depth` blocks; the first of the new ones holds these registrations."""
        ...


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """anvil, else the simulated chain; stopped at the end."""
    program = _anvil()
    if program is None:
        chain = SimulatedChain()
        with SimulatedNode(chain) as node:
            yield _Simulated(chain, node.url)
        return
    with _running(program) as url:
        node_ = DevelopmentNode(url)
        try:
            yield _Anvil(node_)
        finally:
            node_.close()


class _Anvil:
    def __init__(self, node: DevelopmentNode) -> None:
        self._node = node
        self._contract = ReferralContract.deploy(node)
        self.what = node.rpc("web3_clientVersion")
        self.url = node.url
        self.contract = self._contract.address

    def register(self, pairs: Registrations) -> None:
        self._contract.register_many(pairs)

    def reorg(self, depth: int, pairs: Registrations) -> None:
        self._node.rpc("anvil_reorg", depth, [[self._contract.call_register_many(pairs), 0]])


class _Simulated:
    what = "the simulated chain (anvil is not installed)"
    contract = "0x" + "5e" * 20

    def __init__(self, chain: SimulatedChain, url: str) -> None:
        self._chain = chain
        self.url = url
        self._chain.mine()

    def register(self, pairs: Registrations) -> None:
        self._chain.mine(logs=self._logs(pairs))
        self._chain.finalize(max(0, self._chain.head().number - FINAL_AFTER))

    def reorg(self, depth: int, pairs: Registrations) -> None:
        self._chain.reorg(depth, logs=[self._logs(pairs), *([] for _ in range(depth - 1))])

    def _logs(self, pairs: Registrations) -> list[Emission]:
        at = (self._chain.head().timestamp + 12).to_bytes(32, "big")
        return [
            Emission(
                bytes.fromhex(self.contract[2:]),
                (FLAGSHIP.topic0, _word(user), _word(referrer)),
                at,
            )
            for user, referrer in pairs
        ]


def _word(address: str) -> bytes:
    return bytes(12) + bytes.fromhex(address[2:])


def _anvil() -> Path | None:
    """The program itself where npm has put it (its launcher needs Node), or the one on PATH."""
    modules = Path("node_modules", "@foundry-rs")
    for path in sorted(modules.glob("anvil-*/bin/anvil")):
        if os.access(path, os.X_OK):
            return path.resolve()
    found = shutil.which("anvil")
    return Path(found) if found else None


@contextlib.contextmanager
def _running(program: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [program, "--port", str(port), "--silent", "--slots-in-an-epoch", str(FINAL_AFTER // 2)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 20
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SourceUnavailable(f"{program} did not come up (exit status {process.returncode}).")
            time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    node = DevelopmentNode(url)
    try:
        return bool(node.rpc("eth_chainId"))
    except SourceUnavailable:
        return False
    finally:
        node.close()
