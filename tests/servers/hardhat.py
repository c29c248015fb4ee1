"""Hardhat's own node, one for the session: tests share its chain, and each has contracts of its own on it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from projections.service.embedded.servers import free_port
from tests.servers.npm import running

NETWORK = {
    "chainId": 31_337,
    "blockGasLimit": 1_000_000_000,
    "mining": {"auto": False, "interval": 0, "mempool": {"order": "fifo"}},
}


@pytest.fixture(scope="session")
def hardhat_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a node that mines when told."""
    folder = tmp_path_factory.mktemp("hardhat")
    configuration = {"networks": {"hardhat": NETWORK}}
    (folder / "hardhat.config.js").write_text(f"module.exports = {json.dumps(configuration)};\n")
    port = free_port()
    arguments = ["node", "--hostname", "127.0.0.1", "--port", str(port)]
    with running("hardhat", arguments, port=port, folder=folder) as url:
        yield url
