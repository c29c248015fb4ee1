"""`sync`, killed at any moment and run again, ends where it would have ended undisturbed."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.node import SimulatedNode
from tests.end_to_end.site import Site, Workshop, as_hashes, bare, expected, grow, in_mongo, in_redis, in_sql
from tests.servers.mongo import Mongo
from tests.stores import ENGINES

KILLS = 24
USERS = 300


@pytest.fixture(params=ENGINES)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'store.db'}"
    else:
        yield request.getfixturevalue("postgres_url")


def test_a_sync_killed_at_any_moment_and_run_again_ends_in_the_same_documents(
    store_url: str, mongo: Mongo, redis_url: str, tmp_path: Path, workshop: Workshop
) -> None:
    """Kills from the first migration on, with blocks and reorgs between them; then one sync, at once."""
    random = Random(9)
    chain = SimulatedChain(seed=9)
    grow(chain, random, 200, users=USERS)
    chain.finalize(180)
    with SimulatedNode(chain) as node:
        site = Site(workshop, tmp_path / "killed", rpc=node.url, store={"url": store_url})
        site.publish(mongo=(mongo.url, mongo.database), redis_url=redis_url)
        duration, kills, orphaned = 4.0, 0, 0
        while kills < KILLS:
            started = time.monotonic()
            sync = site.start("sync")
            longest = 0.5 if kills < 3 else 1.1 * duration  # the first three while it sets up the store
            deadline = started + random.uniform(0, longest)
            while time.monotonic() < deadline and sync.runs:
                time.sleep(0.001)
            sync.signal(signal.SIGKILL)
            done = sync.end()
            if done.code == -signal.SIGKILL:
                kills += 1
            else:
                assert done.code == 0, done.err
                duration = time.monotonic() - started
            if random.random() < 0.4:
                depth = random.randint(1, 30)
                chain.reorg(depth, logs=[])
                orphaned += depth
            grow(chain, random, random.randint(10, 50), users=USERS)
            if random.random() < 0.5:
                chain.finalize(chain.head().number - random.randint(10, 40))
        assert orphaned > 0
        done = site.run("sync", "--tries", "1")
        assert done.code == 0, done.err
        fresh = Site(workshop, tmp_path / "undisturbed", rpc=node.url)
        assert fresh.run("sync").code == 0
        found = in_sql(site)
        assert bare(found) == expected(chain)
        assert in_mongo(mongo.url, mongo.database) == found
        assert in_redis(redis_url) == as_hashes(found)
        assert digest(site) == digest(fresh)


def digest(site: Site) -> str:
    found: str = site.run("status", "--json").json()["projections"]["referrals"]["digest"]
    return found
