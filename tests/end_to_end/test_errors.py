"""An error is one sentence with the right exit code, loses nothing, and heals by itself."""

from __future__ import annotations

import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from random import Random

import psycopg
import pytest
from sqlalchemy import make_url

from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.node import SimulatedNode
from projections.service.embedded.servers import EmbeddedRedis
from tests.end_to_end.site import (
    Command,
    Site,
    Workshop,
    as_hashes,
    bare,
    expected,
    grow,
    in_mongo,
    in_redis,
    in_sql,
)
from tests.servers.mongo import Mongo
from tests.stores import ENGINES

ONCE = ("sync", "--tries", "1")
SECRETS = ("hunter2", "k3y0fth3n0d3")


@pytest.fixture
def chain() -> SimulatedChain:
    made = SimulatedChain()
    grow(made, Random(3), 40, users=40)
    made.finalize(30)
    return made


@pytest.fixture
def node(chain: SimulatedChain) -> Iterator[SimulatedNode]:
    with SimulatedNode(chain) as served:
        yield served


@pytest.fixture
def site(workshop: Workshop, node: SimulatedNode, tmp_path: Path) -> Site:
    """A site whose node has a key in its address."""
    return Site(workshop, tmp_path / "site", rpc=f"{node.url}/v3/k3y0fth3n0d3")


def refused(site: Site, *arguments: str, code: int) -> str:
    """The sentence that the command ends with; no secret stands anywhere in what it says."""
    done = site.run(*arguments)
    assert done.code == code, done
    assert done.out == ""
    for secret in SECRETS:
        assert secret not in done.err
    assert done.complaint.endswith((".", "?"))
    return done.complaint


def works(site: Site, chain: SimulatedChain) -> None:
    """A sync that ends in the documents of the whole chain."""
    done = site.run(*ONCE)
    assert done.code == 0, done.err
    assert bare(in_sql(site)) == expected(chain)


def dead_port() -> int:
    """A port without a listener."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- wrong use and configuration: 2 ---


def test_a_missing_configuration_is_wrong_use(site: Site) -> None:
    said = refused(site, "--config", "nowhere.toml", "sync", code=2)
    assert said.startswith("The configuration nowhere.toml cannot be read: No such file or directory.")
    assert "chainfold init" in said


@pytest.mark.process
def test_the_command_itself_says_the_same(tmp_path: Path) -> None:
    """Not forked from a process that has imported everything, but as it is installed."""
    command = Path(sys.executable).with_name("chainfold")
    done = subprocess.run([command, "sync"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("chainfold: The configuration chainfold.toml cannot be read")


def test_the_version_is_said_without_a_configuration(site: Site) -> None:
    (site.folder / "chainfold.toml").unlink()
    done = site.run("--version")
    assert (done.code, done.out, done.err) == (0, f"chainfold {version('chainfold')}\n", "")
    assert "--version" in site.run("--help").out


def test_an_unknown_key_is_named_with_its_path_and_the_nearest(site: Site) -> None:
    site.set("contracts.referral.start_blok", 5)
    said = refused(site, "sync", code=2)
    assert "contracts.referral.start_blok" in said
    assert "start_block?" in said


def test_a_secret_file_that_is_missing_is_named(site: Site) -> None:
    site.set("chains.main.rpc", "${file:secrets/rpc}")
    said = refused(site, "sync", code=2)
    assert "chains.main.rpc" in said
    assert "secrets/rpc" in said


def test_an_abi_file_that_is_missing_is_named(site: Site) -> None:
    site.set("contracts.referral.abi", "referral.json")
    assert "referral.json cannot be read" in refused(site, "sync", code=2)


def test_an_event_that_cannot_be_parsed_is_quoted(site: Site) -> None:
    site.set("contracts.referral.events", ["Registered(address indexed)user"])
    said = refused(site, "sync", code=2)
    assert said.startswith("contracts.referral: The event 'Registered(address indexed)user'")
    assert "Name(type indexed name, type name)" in said


def test_an_unknown_option_is_wrong_use(site: Site) -> None:
    done = site.run("sync", "--form-block", "3")
    assert done.code == 2
    assert "--form-block" in done.err
    assert done.err.startswith("Usage: chainfold sync")


def test_a_wrong_chain_id_is_refused_before_anything_is_read(site: Site, chain: SimulatedChain) -> None:
    site.set("chains.main.chain_id", 1)
    said = refused(site, "sync", code=2)
    assert "serves chain 31337" in said
    assert "the configuration says 1" in said
    site.set("chains.main.chain_id", 31_337)
    works(site, chain)


def test_a_store_of_another_chain_of_the_same_id_is_refused(site: Site) -> None:
    assert site.run(*ONCE).code == 0
    before = in_sql(site)
    other = SimulatedChain(seed=1)
    other.mine(3)
    with SimulatedNode(other) as strange:
        site.set("chains.main.rpc", strange.url)
        assert "another network of the same id" in refused(site, "sync", code=2)
    assert in_sql(site) == before


def test_the_debug_option_shows_the_traceback_and_keeps_the_code(site: Site) -> None:
    site.set("chains.main.chain_id", 1)
    done = site.run("--debug", "sync")
    assert done.code == 2
    assert "Traceback (most recent call last)" in done.err
    assert done.err.splitlines()[-1].startswith("chainfold: The node serves chain 31337")
    assert "k3y0fth3n0d3" not in done.err


# --- what is down: 1, and the next run continues ---


def test_a_node_that_cannot_be_reached_is_named_without_its_key(site: Site, chain: SimulatedChain) -> None:
    [url] = site.settings["chains"]["main"]["rpc"]
    port = dead_port()
    site.set("chains.main.rpc", f"http://me:hunter2@127.0.0.1:{port}/v3/k3y0fth3n0d3")
    assert f"http://127.0.0.1:{port}/..." in refused(site, *ONCE, code=1)
    site.set("chains.main.rpc", url)
    works(site, chain)


def test_a_node_that_goes_down_midway_loses_nothing(
    site: Site, node: SimulatedNode, chain: SimulatedChain
) -> None:
    works(site, chain)
    grow(chain, Random(4), 20, users=40)
    node.faults.down = True
    assert "503" in refused(site, *ONCE, code=1)
    assert site.run("show", "referrals", next(iter(in_sql(site)))).code == 0
    node.faults.down = False
    works(site, chain)


def test_a_node_that_comes_back_while_sync_tries_again_is_enough(
    site: Site, node: SimulatedNode, chain: SimulatedChain
) -> None:
    node.faults.down = True
    process = site.start("sync", "--tries", "30")
    before = node.requests
    while node.requests < before + 2 and process.runs:
        time.sleep(0.02)
    node.faults.down = False
    done = process.end()
    assert done.code == 0, done.err
    assert "retrying" in done.err
    assert bare(in_sql(site)) == expected(chain)


def test_a_mongo_that_is_down_does_not_keep_redis_from_its_documents(
    site: Site, chain: SimulatedChain, mongo: Mongo, redis_url: str
) -> None:
    gone = f"mongodb://me:hunter2@127.0.0.1:{dead_port()}/?serverSelectionTimeoutMS=300"
    site.publish(mongo=(gone, mongo.database), redis_url=redis_url)
    said = refused(site, *ONCE, code=1)
    assert said.startswith("MongoDB at mongodb://127.0.0.1:")
    assert in_redis(redis_url) == as_hashes(expected(chain))
    site.set("mongo.url", mongo.url)
    works(site, chain)
    assert in_mongo(mongo.url, mongo.database) == in_sql(site)


def test_a_redis_that_is_down_does_not_keep_mongo_from_its_documents(
    site: Site, chain: SimulatedChain, mongo: Mongo, redis_url: str
) -> None:
    gone = f"redis://me:hunter2@127.0.0.1:{dead_port()}/0"
    site.publish(mongo=(mongo.url, mongo.database), redis_url=gone)
    assert refused(site, *ONCE, code=1).startswith("Redis at redis://127.0.0.1:")
    assert in_mongo(mongo.url, mongo.database) == in_sql(site)
    site.set("redis.url", redis_url)
    works(site, chain)
    assert in_redis(redis_url) == as_hashes(expected(chain))


def test_a_sink_that_is_down_shows_in_status_and_in_its_exit_code_if_asked(site: Site) -> None:
    assert site.run(*ONCE).code == 0
    site.publish(redis_url=f"redis://me:hunter2@127.0.0.1:{dead_port()}/0")
    done = site.run("status", "--json", "--check")
    assert done.code == 1
    assert done.json()["sinks"]["referrals.redis"]["state"] == "down"
    assert "hunter2" not in done.out + done.err


def test_two_sinks_that_are_down_are_both_told(site: Site) -> None:
    site.publish(
        mongo=(f"mongodb://127.0.0.1:{dead_port()}/?serverSelectionTimeoutMS=300", "any"),
        redis_url=f"redis://127.0.0.1:{dead_port()}/0",
    )
    done = site.run(*ONCE)
    assert done.code == 1
    assert done.complaint.startswith("MongoDB")
    assert "publish referrals.redis" in done.err


# --- the store ---


def test_a_postgresql_that_is_down_is_named_without_its_password(site: Site) -> None:
    port = dead_port()
    site.set("store.url", f"postgresql+psycopg://me:hunter2@127.0.0.1:{port}/chainfold")
    said = refused(site, *ONCE, code=1)
    assert said.startswith(f"The event store postgresql+psycopg://127.0.0.1:{port}/... is not available")


def test_a_database_that_does_not_exist_is_said_to_be_missing(site: Site, postgres_url: str) -> None:
    url = make_url(postgres_url).set(database="nowhere").render_as_string(hide_password=False)
    site.set("store.url", url)
    assert "does not exist. Create it, or mend store.url." in refused(site, *ONCE, code=1)


def test_a_folder_that_does_not_exist_is_no_place_for_a_store(site: Site) -> None:
    site.set("store.url", "sqlite:///nowhere/store.db")
    assert "nowhere/store.db" in refused(site, *ONCE, code=1)


def test_a_file_that_is_no_database_is_no_store(site: Site) -> None:
    (site.folder / "store.db").write_bytes(b"A letter to my aunt. " * 400)
    assert "is not a database" in refused(site, *ONCE, code=1)
    assert (site.folder / "store.db").read_bytes().startswith(b"A letter to my aunt")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("revision", ["e0000", "e9999"])
def test_a_store_of_another_schema_is_refused_and_stays_as_it_is(
    engine: str, revision: str, site: Site, chain: SimulatedChain, request: pytest.FixtureRequest
) -> None:
    if engine == "postgresql":
        site.set("store.url", request.getfixturevalue("postgres_url"))
    works(site, chain)
    ours, other = site.run("migrate", "--json").json()["after"]
    for old, new in ((ours, revision), (revision, ours)):
        stamp(site, old, new)
        if new != ours:
            said = refused(site, *ONCE, code=1)
            assert f"has the schema {revision}, {other}; this chainfold needs {ours}, {other}." in said
            assert "chainfold migrate" in said
    grow(chain, Random(5), 5, users=40)
    works(site, chain)


def stamp(site: Site, old: str, new: str) -> None:
    """Writes another revision into the store's own note of its schema."""
    change = f"UPDATE alembic_version SET version_num = '{new}' WHERE version_num = '{old}'"
    url = make_url(site.settings["store"]["url"])
    if url.get_backend_name() == "sqlite":
        with sqlite3.connect(site.folder / "store.db") as file:
            file.execute(change)
        file.close()
        return
    with psycopg.connect(url.set(drivername="postgresql").render_as_string(hide_password=False)) as server:
        server.execute(change)


def test_a_full_disk_loses_nothing_and_the_next_sync_continues(site: Site, chain: SimulatedChain) -> None:
    """No file of the process may grow past what the store is now: the refusal is that of a full disk."""
    works(site, chain)
    size = (site.folder / "store.db").stat().st_size
    grow(chain, Random(6), 400, users=4_000)
    done = site.run(*ONCE, largest_file=size + 50_000)
    assert done.code == 1
    assert "store.db is not available: " in done.complaint
    assert "the work continues where it stood" in done.complaint
    works(site, chain)


# --- several at once, and the end of a service ---


@pytest.fixture
def service(site: Site) -> Iterator[Command]:
    """`run`, up to the moment when it has folded something."""
    process = site.start("run")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.runs and not folded(site):
        time.sleep(0.05)
    yield process
    process.kill()


def folded(site: Site) -> bool:
    try:
        with sqlite3.connect(site.folder / "store.db") as file:
            found = file.execute("SELECT count(*) FROM generations WHERE state = 'live'").fetchone()[0]
    except sqlite3.OperationalError:  # not set up yet
        found = 0
    finally:
        file.close()
    return bool(found)


def test_a_sync_beside_a_running_service_says_who_works(site: Site, service: Command) -> None:
    said = refused(site, *ONCE, code=1)
    assert f"is being worked on by another process (process {service.pid} on " in said


def test_the_lease_of_a_killed_service_is_free_at_once(
    site: Site, service: Command, chain: SimulatedChain
) -> None:
    """Also while it is a zombie, as where a container's first process reaps no child."""
    service.signal(signal.SIGKILL)
    while "State:\tZ" not in Path(f"/proc/{service.pid}/status").read_text():
        time.sleep(0.01)
    works(site, chain)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_service_that_is_told_to_stop_gives_its_leases_back(
    how: signal.Signals, site: Site, service: Command, chain: SimulatedChain
) -> None:
    service.signal(how)
    started = time.monotonic()
    done = service.end()
    assert done.code == 0, done.err
    assert time.monotonic() - started < 5
    with sqlite3.connect(site.folder / "store.db") as file:
        assert file.execute("SELECT name FROM leases WHERE owner <> ''").fetchall() == []
        assert file.execute("SELECT command, outcome FROM runs").fetchall() == [("run", 0)]
    file.close()
    works(site, chain)


def test_a_service_stops_soon_though_its_node_hangs(
    site: Site, service: Command, node: SimulatedNode
) -> None:
    node.faults.latency = 25
    time.sleep(0.5)
    service.signal(signal.SIGTERM)
    started = time.monotonic()
    done = service.end()
    assert done.code == 0, done.err
    assert time.monotonic() - started < 10


def test_a_service_goes_on_when_its_node_comes_back(
    site: Site, service: Command, node: SimulatedNode, chain: SimulatedChain
) -> None:
    node.faults.down = True
    time.sleep(0.5)
    grow(chain, Random(8), 10, users=40)
    node.faults.down = False
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and bare(in_sql(site)) != expected(chain):
        time.sleep(0.1)
    assert bare(in_sql(site)) == expected(chain)
    service.signal(signal.SIGTERM)
    assert service.end().code == 0


def test_a_sync_that_is_interrupted_says_nothing_and_exits_with_130(site: Site, node: SimulatedNode) -> None:
    node.faults.latency = 5
    before = node.requests
    process = site.start(*ONCE)
    while node.requests == before and process.runs:
        time.sleep(0.02)
    process.signal(signal.SIGINT)
    node.faults.latency = 0
    done = process.end()
    assert done.code == 130
    assert "Traceback" not in done.err


def test_the_logs_of_a_sync_that_tries_again_leave_its_json_alone(site: Site, node: SimulatedNode) -> None:
    node.faults.down = True
    process = site.start("sync", "--tries", "30", "--json")
    while node.requests < 2 and process.runs:
        time.sleep(0.02)
    node.faults.down = False
    done = process.end()
    assert done.code == 0, done.err
    assert done.json()["appended"] > 0


def test_a_redis_that_is_restarted_empty_is_filled_again(
    site: Site, chain: SimulatedChain, tmp_path: Path
) -> None:
    for turn in range(2):
        with EmbeddedRedis(tmp_path / f"redis{turn}") as server:
            site.publish(redis_url=server.url)
            works(site, chain)
            assert in_redis(server.url) == as_hashes(expected(chain))
