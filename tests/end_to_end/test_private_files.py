"""Only its owner may read what a command makes: addresses hold keys, exports and logs hold data."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from random import Random

from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.node import SimulatedNode
from tests.end_to_end.site import Site, Workshop, grow


def modes(folder: Path, there: set[Path]) -> dict[str, str]:
    """Of all files that are there now and were not before."""
    return {
        str(path.relative_to(folder)): oct(stat.S_IMODE(path.stat().st_mode))
        for path in folder.rglob("*")
        if path.is_file() and path not in there
    }


def test_files_that_commands_make_are_their_owners_alone(workshop: Workshop, tmp_path: Path) -> None:
    chain = SimulatedChain(seed=5)
    grow(chain, Random(5), 12, users=5, most=3)
    chain.finalize(8)
    with SimulatedNode(chain) as node:
        made = Site(workshop, tmp_path / "site", rpc=node.url)
        before = set(made.folder.rglob("*"))
        old = os.umask(0o022)
        try:
            for arguments in (
                ["sync"],
                ["backup", "kept"],
                ["export", "logs.parquet"],
                ["export", "tables", "--decoded"],
                ["--config", "new.toml", "init", "--rpc", node.url],
            ):
                done = made.run(*arguments)
                assert done.code == 0, (arguments, done.err)
        finally:
            os.umask(old)
    own = {made.folder / "chainfold.toml", *(made.folder / "said").rglob("*")}  # which the tests wrote
    found = modes(made.folder, before | own)
    assert {"store.db", "new.toml", "kept/manifest.json", "logs.parquet"} <= found.keys(), found
    assert set(found.values()) == {"0o600"}, found
