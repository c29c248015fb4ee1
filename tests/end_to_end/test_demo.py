"""The demo runs to its end on either chain, and leaves nothing running."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.anvil import binary

pytestmark = [pytest.mark.process, pytest.mark.server]

COMMAND = [sys.executable, "-c", "from projections.service.cli import main; main()", "demo"]


def demo(folder: Path, *, path: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(Path.cwd())}
    return subprocess.run(
        [*COMMAND, "--keep", str(folder / "kept")],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def alive(folder: Path) -> list[str]:
    """Command lines of processes that name this folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it ended meanwhile
        if str(folder) in line:
            found.append(line)
    return found


@pytest.mark.parametrize("chain", ["anvil", "the simulated chain"])
def test_the_demo_ends_well_and_says_which_chain_it_used(tmp_path: Path, chain: str) -> None:
    path = "/usr/bin:/bin"
    if chain == "anvil":
        program = binary()
        assert program is not None
        path = f"{program.parent}:{path}"
    done = demo(tmp_path, path=path)
    assert done.returncode == 0, done.stderr + done.stdout
    assert chain in done.stdout.splitlines()[0]
    assert re.search(r"digest of the rebuilt ones +[0-9a-f]{64}  equal", done.stdout)
    assert "reorg of depth 3" in done.stdout
    assert alive(tmp_path) == []
