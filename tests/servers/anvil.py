"""A real node for every test that asks for one: anvil, on a chain of its own, mining when told."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests

from tests.servers import missing

SLOTS_IN_AN_EPOCH = 2
"""Finality lags the head by two epochs: by four blocks."""


class Anvil:
    """A running anvil. Blocks are mined by `mine` only, their transactions in order of arrival."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._session = requests.Session()

    def rpc(self, method: str, *params: object) -> Any:
        """The result of one call. Raises `RuntimeError` with the node's error."""
        reply = self._session.post(
            self.url,
            data=msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}),
            headers={"Content-Type": "application/json"},
            timeout=10,
        ).json()
        if "error" in reply:
            raise RuntimeError(f"{method}: {reply['error']}")
        return reply["result"]

    def mine(self, n: int = 1) -> None:
        """Mines `n` blocks; what is pending goes into the first."""
        self.rpc("anvil_mine", hex(n))

    def reorg(self, depth: int, txs: Sequence[tuple[object, int]] = ()) -> None:
        """Replaces the last `depth` blocks by as many, with `txs` as (transaction, block offset)."""
        self.rpc("anvil_reorg", depth, list(txs))

    def is_up(self) -> bool:
        try:
            return bool(self.rpc("eth_chainId"))
        except requests.RequestException:
            return False

    def close(self) -> None:
        self._session.close()


def binary() -> Path | None:
    """anvil itself where npm has put it, its launcher, or the one on PATH."""
    modules = Path(__file__).parents[2] / "node_modules"
    found = shutil.which("anvil")
    candidates = [
        *sorted(modules.glob("@foundry-rs/anvil-*/bin/anvil")),
        modules / ".bin" / "anvil",
        *([Path(found)] if found else []),
    ]
    return next((path for path in candidates if os.access(path, os.X_OK)), None)


def start(*arguments: str) -> tuple[subprocess.Popen[bytes], Anvil]:
    """Starts anvil on a free port. Skips where it is missing, but not in CI."""
    path = binary()
    if path is None:
        missing("anvil (`make install` brings it)")
    port = _free_port()
    process = subprocess.Popen(
        [
            *(str(path), "--port", str(port), "--silent", "--no-mining", "--order", "fifo"),
            *("--slots-in-an-epoch", str(SLOTS_IN_AN_EPOCH), *arguments),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    node = Anvil(f"http://127.0.0.1:{port}")
    deadline = time.monotonic() + 20
    while not node.is_up():
        if process.poll() is not None or time.monotonic() > deadline:
            stop(process, node)
            raise RuntimeError(f"anvil did not come up (exit status {process.returncode})")
        time.sleep(0.02)
    return process, node


def stop(process: subprocess.Popen[bytes], node: Anvil) -> None:
    node.close()
    process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture
def anvil() -> Iterator[Anvil]:
    """A fresh chain of id 31337 with nothing but its genesis block."""
    process, node = start()
    yield node
    stop(process, node)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
