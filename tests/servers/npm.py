"""Servers that npm has put into node_modules: each runs as a process group, which ends with its last test."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import requests

from tests.servers import missing

MODULES = Path(__file__).parents[2] / "node_modules"
PATIENCE = 60
"""Seconds that a node has to answer within: it starts on a machine that also runs the tests."""


@contextlib.contextmanager
def running(name: str, arguments: Sequence[str], *, port: int, folder: Path) -> Iterator[str]:
    """The URL of `name`, which serves JSON-RPC on this port and keeps all its files in `folder`.

    It sees nothing of the caller's environment: a node asks no questions and leaves nothing at home.
    Skips where it is not installed, but not in CI.
    """
    program = MODULES / ".bin" / name
    if not program.exists() or shutil.which("node") is None:
        missing(f"{name} (`make install` brings it if npm is installed)")
    said = folder / "output"
    with said.open("wb") as output:
        process = subprocess.Popen(
            [str(program), *arguments],
            cwd=folder,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(folder),
                "TMPDIR": str(folder),
                "NODE_PATH": str(MODULES),
                "CI": "true",
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + PATIENCE
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{name} did not come up: {said.read_text(errors='replace')[-1000:]}")
            time.sleep(0.05)
        yield url
    finally:
        _end(process)


def _answers(url: str) -> bool:
    call: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}
    try:
        return "result" in requests.post(url, json=call, timeout=10).json()
    except requests.RequestException:
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the whole group: politely, then what of it still lives."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)
