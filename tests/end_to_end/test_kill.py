"""`sync`, killed at any moment and run again, ends where it would have ended undisturbed.

The processes are forked from one that has imported everything, so that the kills fall into the work and
not into the imports; from the first line of `main` on they are what the command is.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from eventstore.sources.simulated import SimulatedChain
from eventstore.sources.simulated_node import SimulatedNode
from tests.end_to_end.site import Site, as_hashes, bare, expected, grow, in_mongo, in_redis, in_sql
from tests.servers.mongo import Mongo

KILLS = 24
USERS = 300

WARM = """
import os, signal, sys, time
import alembic.command, web3, eventstore.sources.rpc, projections.service.migrate
import projections.projectors.referrals, projections.sinks.mongo, projections.sinks.redis
from projections.service.cli import main

sys.argv[1:] = ["sync"]
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        main()
    end, status = time.monotonic() + float(line), (0, 0)
    while status[0] == 0 and time.monotonic() < end:
        time.sleep(0.001)
        status = os.waitpid(child, os.WNOHANG)
    if status[0] == 0:
        os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)
    print("exit", os.waitstatus_to_exitcode(status[1]), flush=True)
"""


class Syncs:
    """Starts one `sync` after the other in the folder of a site, each a process of its own."""

    def __init__(self, site: Site) -> None:
        self._log = (site.folder / "log").open("w+")
        self._parent = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", WARM],
            cwd=site.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def run(self, *, kill_after: float) -> int:
        """Exit code of one `sync`; -9 where it still ran after that many seconds, and was killed."""
        assert self._parent.stdin is not None and self._parent.stdout is not None
        self._parent.stdin.write(f"{kill_after}\n")
        self._parent.stdin.flush()
        for line in self._parent.stdout:  # what `sync` prints comes before
            if line.startswith("exit "):
                return int(line.split()[1])
        raise AssertionError(f"the parent of the syncs died: {self.said()}")

    def said(self) -> str:
        self._log.seek(0)
        return self._log.read()

    def close(self) -> None:
        self._parent.communicate(timeout=30)
        self._log.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'store.db'}"
    else:
        yield request.getfixturevalue("postgres_url")


def test_a_sync_killed_at_any_moment_and_run_again_ends_in_the_same_documents(
    store_url: str, mongo: Mongo, redis_url: str, tmp_path: Path
) -> None:
    """Kills from the first migration on, with blocks and reorgs between them; then one sync, at once."""
    random = Random(9)
    chain = SimulatedChain(seed=9)
    grow(chain, random, 200, users=USERS)
    chain.finalize(180)
    with SimulatedNode(chain) as node:
        site = Site(tmp_path, rpc=node.url, store={"url": store_url})
        site.publish(mongo=(mongo.url, mongo.database), redis_url=redis_url)
        syncs = Syncs(site)
        duration, kills, orphaned = 4.0, 0, 0
        while kills < KILLS:
            started = time.monotonic()
            longest = 0.5 if kills < 3 else 1.1 * duration  # the first three while it sets up the store
            code = syncs.run(kill_after=random.uniform(0, longest))
            if code == -signal.SIGKILL:
                kills += 1
            else:
                assert code == 0, syncs.said()
                duration = time.monotonic() - started
            if random.random() < 0.4:
                depth = random.randint(1, 30)
                chain.reorg(depth, logs=[])
                orphaned += depth
            grow(chain, random, random.randint(10, 50), users=USERS)
            if random.random() < 0.5:
                chain.finalize(chain.head().number - random.randint(10, 40))
        syncs.close()
        assert orphaned > 0
        done = site.run("sync")
        assert done.code == 0, done.err
        found = in_sql(site)
        assert bare(found) == expected(chain)
        assert in_mongo(mongo.url, mongo.database) == found
        assert in_redis(redis_url) == as_hashes(found)
        assert digest(site) == digest_of_an_undisturbed_sync(tmp_path, node.url)


def digest(site: Site) -> str:
    found: str = site.run("status", "--json").json()["projections"]["referrals"]["digest"]
    return found


def digest_of_an_undisturbed_sync(folder: Path, url: str) -> str:
    (folder / "fresh").mkdir()
    fresh = Site(folder / "fresh", rpc=url)
    assert fresh.run("sync").code == 0
    return digest(fresh)
