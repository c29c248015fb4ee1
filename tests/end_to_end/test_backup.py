"""`chainfold backup` and `chainfold restore`: out of one store and into another, killed at any moment."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.node import SimulatedNode
from tests.end_to_end.site import Site, Workshop, bare, expected, grow, in_mongo, in_redis, in_sql
from tests.servers.mongo import Mongo
from tests.stores import ENGINES


def grown(blocks: int, *, most: int) -> SimulatedChain:
    """A chain of registrations, all but its last blocks final."""
    chain = SimulatedChain(seed=5)
    grow(chain, Random(5), blocks, users=300, most=most)
    chain.finalize(blocks - 20)
    return chain


@pytest.fixture(scope="module")
def chain() -> SimulatedChain:
    """Long enough that a kill finds the command at work; `synced` reorganises it."""
    return grown(150, most=60)


@pytest.fixture(scope="module")
def synced(chain: SimulatedChain, workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose store has seen a reorg, and whose node is gone; to be copied."""
    folder = tmp_path_factory.mktemp("synced") / "here"
    with SimulatedNode(chain) as node:
        site = Site(workshop, folder, rpc=node.url)
        assert site.run("sync").code == 0
        chain.reorg(depth=5)
        grow(chain, Random(6), 3, users=300, most=60)
        assert site.run("sync").code == 0
    return folder


@pytest.fixture
def site(synced: Path, workshop: Workshop, tmp_path: Path) -> Site:
    made = Site(workshop, tmp_path / "site", rpc="http://127.0.0.1:9")
    for path in synced.glob("store.db*"):
        shutil.copy(path, made.folder)
    return made


def digest(site: Site) -> str:
    """Of the documents, as `status` has it."""
    return str(site.run("status", "--json").json()["projections"]["referrals"]["digest"])


def test_a_backup_on_sqlite_restored_on_postgresql_folds_into_the_same_documents_without_a_node(
    site: Site, chain: SimulatedChain, workshop: Workshop, tmp_path: Path, postgres_url: str
) -> None:
    taken = site.run("backup", "kept", "--json")
    assert taken.code == 0, taken.err
    there = Site(workshop, tmp_path / "there", rpc="http://127.0.0.1:9", store={"url": postgres_url})
    done = there.run("restore", str(site.folder / "kept"), "--json")
    assert done.code == 0, done.err
    assert done.json()["chains"] == taken.json()["chains"]
    assert done.json()["store"] != taken.json()["store"] == done.json()["of"]
    assert there.run("verify", "journal").code == 0
    rebuilt = there.run("rebuild", "referrals")
    assert rebuilt.code == 0, rebuilt.err
    assert digest(there) == digest(site)
    assert in_sql(there) == in_sql(site)
    assert bare(in_sql(there)) == expected(chain)
    again = there.run("restore", str(site.folder / "kept"))
    assert (again.code, "is not empty" in again.complaint) == (1, True)


def test_moving_to_another_machine_goes_as_the_operations_page_says(
    workshop: Workshop, tmp_path: Path, postgres_url: str, mongo: Mongo, redis_url: str
) -> None:
    """Backup, restore on PostgreSQL, follow on, take over the sinks."""
    chain = grown(40, most=12)
    with SimulatedNode(chain) as node:
        old = Site(workshop, tmp_path / "old", rpc=node.url)
        new = Site(workshop, tmp_path / "new", rpc=node.url, store={"url": postgres_url})
        for place in (old, new):
            place.publish(mongo=(mongo.url, mongo.database), redis_url=redis_url)
        assert old.run("sync").code == 0
        assert old.run("backup", "kept").code == 0
        assert new.run("restore", str(old.folder / "kept"), "--keep-id").code == 0
        rebuilt = new.run("rebuild", "referrals")  # while the old one serves still
        assert rebuilt.code == 0, rebuilt.err
        assert old.run("sync").code == 0
        chain.reorg(depth=2)
        grow(chain, Random(7), 5, users=320)
        refused = new.run("sync", "--tries", "1")
        assert "--take-over" in refused.complaint
        assert new.run("sync", "--take-over").code == 0
        assert bare(in_sql(new)) == expected(chain)
        assert in_mongo(mongo.url, mongo.database) == in_sql(new)
        assert in_redis(redis_url).keys() == in_sql(new).keys()
        assert new.run("backup", str(old.folder / "kept")).code == 0
        assert "holds another history" in old.run("backup", "kept").complaint


def killed(site: Site, arguments: list[str], begun: Callable[[], bool], after: float) -> bool:
    """Runs a command and kills it `after` seconds from when it has begun; False where it ended before."""
    command = site.start(*arguments)
    while command.runs and not begun():
        time.sleep(0.001)
    time.sleep(after)
    was_at_work = command.runs
    command.kill()
    return was_at_work


def test_a_backup_that_is_killed_leaves_the_former_one_and_the_next_goes_on(site: Site) -> None:
    kept = site.folder / "kept"
    struck = 0
    for turn in range(5):
        struck += killed(site, ["backup", "kept"], kept.exists, 0.02 * turn)
        if (kept / "manifest.json").exists():
            assert site.run("restore", "--check", "kept").code == 0
    assert struck
    assert site.run("backup", "kept").code == 0
    found = site.run("restore", "--check", "kept", "--json").json()
    with sqlite3.connect(site.folder / "store.db") as connection:
        [(entries, logs)] = connection.execute(
            "SELECT count(*), sum(CASE kind WHEN 'appended' THEN log_count ELSE 0 END) FROM entries"
        )
    connection.close()
    assert (found["entries"], found["logs"]) == (entries, logs)
    assert not list(kept.glob("*.partial"))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_restore_that_is_killed_leaves_an_empty_store(
    site: Site, workshop: Workshop, tmp_path: Path, request: pytest.FixtureRequest, engine: str
) -> None:
    assert site.run("backup", "kept").code == 0
    url = "sqlite:///new.db" if engine == "sqlite" else request.getfixturevalue("postgres_url")
    there = Site(workshop, tmp_path / "there", rpc="http://127.0.0.1:9", store={"url": url})
    assert there.run("migrate").code == 0
    arguments = ["restore", str(site.folder / "kept")]
    struck = sum(killed(there, arguments, lambda: True, 0.15 + 0.15 * turn) for turn in range(3))
    assert struck
    done = there.run(*arguments)
    assert done.code == 0 or "not empty" in done.complaint  # a kill that came after the commit
    assert there.run("verify", "journal").code == 0
    found = there.run("backup", "again", "--json").json()["chains"]
    assert found == site.run("restore", "--check", "kept", "--json").json()["chains"]


def test_a_full_disk_is_said_and_there_is_nothing_left_of_the_try(site: Site) -> None:
    """The system refuses to let a file grow, as a full disk does."""
    refused = site.run("backup", "kept", largest_file=100_000)
    assert refused.code == 1
    assert "cannot be written into kept" in refused.complaint
    assert "Make room and run it again" in refused.complaint
    assert not list((site.folder / "kept").glob("*.partial"))
    assert site.run("backup", "kept").code == 0


def test_restore_check_needs_no_configuration_and_names_the_file_that_is_damaged(site: Site) -> None:
    assert site.run("backup", "kept").code == 0
    (site.folder / "chainfold.toml").unlink()
    assert "every digest as it must be" in site.run("restore", "--check", "kept").out
    [file] = (site.folder / "kept").glob("chain-*")
    whole = file.read_bytes()
    file.write_bytes(whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:])
    refused = site.run("restore", "--check", "kept")
    assert (refused.code, file.name in refused.complaint) == (1, True)
    assert "The backup is damaged" in refused.complaint
