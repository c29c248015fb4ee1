"""Ganache, one for the session: tests share its chain, and each has contracts of its own on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from projections.service.embedded.servers import free_port
from tests.servers.npm import running

NEVER = 1_000_000
"""Seconds between blocks without a request; 0 would mine one for every transaction."""


@pytest.fixture(scope="session")
def ganache_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a node that mines when told."""
    port = free_port()
    arguments = [
        *("--server.host", "127.0.0.1", "--server.port", str(port)),
        *("--chain.chainId", "31337", "--miner.blockTime", str(NEVER)),
        *("--miner.blockGasLimit", "1000000000"),
    ]
    with running("ganache", arguments, port=port, folder=tmp_path_factory.mktemp("ganache")) as url:
        yield url
