"""A Redis Cluster of three masters, one for the session; every test finds it empty and whole."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from projections.errors import ConfigurationError
from projections.service.embedded.servers import EmbeddedRedis, free_port
from tests.servers import missing

SLOTS = 16_384
PATIENCE = 60.0


class Node:
    """One master, on ports and in a folder of its own: stopped and started again it is the same."""

    def __init__(self, folder: Path) -> None:
        self._server = EmbeddedRedis(folder)
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)
        for _ in range(5):  # a port may be taken by another before we have it
            self.port, self.bus = free_port(), free_port()
            self.client = redis.Redis(port=self.port, decode_responses=True)
            with contextlib.suppress(AssertionError):
                self.start()
                return
        raise AssertionError("no node came up")

    def start(self) -> None:
        """Returns when it answers and has read its file."""
        self._process = subprocess.Popen(
            [
                *self._server.command(self.port),
                *("--cluster-enabled", "yes", "--cluster-port", str(self.bus)),
                *("--cluster-node-timeout", "2000", "--enable-debug-command", "no"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + PATIENCE
        while self._process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(redis.RedisError):
                if self.client.ping():
                    self.id: Any = self.client.execute_command("CLUSTER MYID")
                    return
            time.sleep(0.02)
        raise AssertionError("the node did not come up")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        self.kill()
        self.client.close()


class Cluster:
    """Three masters, each with a third of the slots."""

    def __init__(self, folder: Path) -> None:
        self.nodes = [Node(folder / name) for name in ("one", "two", "three")]
        first, *others = self.nodes
        for place, node in enumerate(self.nodes):
            low, high = (SLOTS * at // len(self.nodes) for at in (place, place + 1))
            node.client.execute_command("CLUSTER ADDSLOTSRANGE", low, high - 1)
        for node in others:
            node.client.execute_command("CLUSTER MEET", "127.0.0.1", first.port, first.bus)
        self.settle()

    @property
    def url(self) -> str:
        return f"redis+cluster://127.0.0.1:{self.nodes[0].port}"

    def settle(self) -> None:
        """Waits until all agree that all is well."""
        deadline = time.monotonic() + PATIENCE
        while not all(self._is_well(node) for node in self.nodes):
            assert time.monotonic() < deadline, "the cluster does not come to rest"
            time.sleep(0.02)

    def _is_well(self, node: Node) -> bool:
        try:
            info: Any = node.client.execute_command("CLUSTER INFO")
        except redis.RedisError:
            return False
        return (info["cluster_state"], info["cluster_size"]) == ("ok", "3")

    def slots_of(self, node: Node) -> list[int]:
        """The slots that a node has, ascending."""
        shards: Any = self.nodes[0].client.execute_command("CLUSTER SLOTS")
        found: list[int] = []
        for first, last, primary, *_ in shards:
            if int(primary[1]) == node.port:
                found += range(first, last + 1)
        return sorted(found)

    def begin_move(self, slot: int, source: Node, target: Node) -> None:
        """From now on what is not in the source is asked of the target."""
        target.client.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", source.id)
        source.client.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", target.id)

    def carry(self, slot: int, source: Node, target: Node, *, most: int = 1_000_000) -> None:
        """Carries keys of a slot over."""
        names: Any = source.client.execute_command("CLUSTER GETKEYSINSLOT", slot, most)
        if names:
            source.client.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5_000, "KEYS", *names)

    def end_move(self, slot: int, target: Node) -> None:
        for node in (target, *(node for node in self.nodes if node is not target)):
            node.client.execute_command("CLUSTER SETSLOT", slot, "NODE", target.id)

    def flush(self) -> None:
        for node in self.nodes:
            node.client.flushall()

    def close(self) -> None:
        for node in self.nodes:
            node.close()


@pytest.fixture(scope="session")
def redis_cluster_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    try:
        made = Cluster(tmp_path_factory.mktemp("cluster"))
    except ConfigurationError as error:
        missing(str(error))
    yield made
    made.close()


@pytest.fixture
def redis_cluster(redis_cluster_server: Cluster) -> Cluster:
    """The cluster, holding nothing."""
    redis_cluster_server.flush()
    return redis_cluster_server
