"""`check` reports all that `sync` and `run` would refuse at their start, in the same words."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest
import redis
from msgspec import Struct
from pymongo import MongoClient
from sqlalchemy import make_url

from eventstore.errors import ChainfoldError
from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.node import SimulatedNode
from projections.service.checkup import checkup
from projections.service.config.loader import load
from projections.service.embedded.servers import EmbeddedMongo
from projections.service.runtime.wiring import Plan, planned
from tests.end_to_end.site import SIGNATURE, Site, Workshop, grow
from tests.servers.mongo import Mongo

SECRET = "hunter2" * 3


class Ground(Struct):
    """What a case may break; `fixture` gives a server of the tests by its name."""

    site: Site
    chain: SimulatedChain
    node: SimulatedNode
    fixture: Callable[[str], Any]
    stack: ExitStack


class Case(Struct, frozen=True):
    """One way to be refused. `command` is who refuses; its exit code; some words of it."""

    name: str
    act: Callable[[Ground], None]
    says: str
    command: tuple[str, ...] = ("sync", "--tries", "1")
    code: int = 1


@pytest.fixture
def chain() -> SimulatedChain:
    made = SimulatedChain()
    grow(made, Random(3), 20, users=20)
    made.finalize(15)
    return made


@pytest.fixture
def node(chain: SimulatedChain) -> Iterator[SimulatedNode]:
    with SimulatedNode(chain) as served:
        yield served


@pytest.fixture
def site(workshop: Workshop, node: SimulatedNode, tmp_path: Path) -> Site:
    return Site(workshop, tmp_path / "site", rpc=node.url)


@pytest.fixture
def ground(
    site: Site, chain: SimulatedChain, node: SimulatedNode, request: pytest.FixtureRequest
) -> Iterator[Ground]:
    with ExitStack() as stack:
        yield Ground(site, chain, node, request.getfixturevalue, stack)


# --- what is broken ---


def put(path: str, value: object) -> Callable[[Ground], None]:
    return lambda ground: ground.site.set(path, value)


def module(code: str) -> Callable[[Ground], None]:
    def act(ground: Ground) -> None:
        (ground.site.folder / "mine.py").write_text(code)
        ground.site.set("projections.referrals.projector", "mine:Mine")

    return act


def synced(ground: Ground) -> None:
    done = ground.site.run("sync", "--tries", "1")
    assert done.code == 0, done.err


def another_network(ground: Ground) -> None:
    synced(ground)
    other = SimulatedChain(seed=1)
    other.mine(3)
    ground.site.set("chains.main.rpc", ground.stack.enter_context(SimulatedNode(other)).url)


def nobody(ground: Ground) -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def taken(ground: Ground) -> None:
    listener = ground.stack.enter_context(socket.socket())
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    ground.site.set("http.listen", f"127.0.0.1:{listener.getsockname()[1]}")


def stamped(ground: Ground) -> None:
    synced(ground)
    with sqlite3.connect(ground.site.folder / "store.db") as file:
        file.execute("UPDATE alembic_version SET version_num = 'e9999' WHERE version_num LIKE 'e%'")
    file.close()


def no_database(ground: Ground) -> None:
    (ground.site.folder / "store.db").write_bytes(b"A letter to my aunt. " * 400)


def missing_database(ground: Ground) -> None:
    url = make_url(ground.fixture("postgres_url")).set(database="nowhere")
    ground.site.set("store.url", url.render_as_string(hide_password=False))


def read_only(ground: Ground) -> None:
    """As on a replica."""
    url = make_url(ground.fixture("postgres_url"))
    ground.site.set("store.url", url.render_as_string(hide_password=False))
    synced(ground)
    with psycopg.connect(url.set(drivername="postgresql").render_as_string(hide_password=False)) as server:
        server.execute(f'ALTER DATABASE "{url.database}" SET default_transaction_read_only = on')


def no_rights(ground: Ground) -> None:
    """The tables are another's, and the one who syncs may read them only."""
    url = make_url(ground.fixture("postgres_url"))
    ground.site.set("store.url", url.render_as_string(hide_password=False))
    synced(ground)
    reader = f"reader_{url.database}"
    admin = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(admin) as server:
        server.execute(f"CREATE ROLE {reader} LOGIN PASSWORD '{SECRET}'")
        server.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {reader}")
        server.execute(f"GRANT ALL ON runs TO {reader}")
        server.execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {reader}")

    mine = url.set(username=reader, password=SECRET).render_as_string(hide_password=False)
    ground.site.set("store.url", mine)


def mongo_down(ground: Ground) -> None:
    url = f"mongodb://me:{SECRET}@{nobody(ground)}/?serverSelectionTimeoutMS=300"
    ground.site.publish(mongo=(url, "any"))


def redis_down(ground: Ground) -> None:
    ground.site.publish(redis_url=f"redis://me:{SECRET}@{nobody(ground)}/0")


def foreign(ground: Ground) -> None:
    """Both sinks were filled by another store."""
    mongo: Mongo = ground.fixture("mongo")
    ground.site.publish(mongo=(mongo.url, mongo.database))
    synced(ground)
    for name in ("store.db", "store.db-wal", "store.db-shm"):
        (ground.site.folder / name).unlink(missing_ok=True)


def foreign_redis(ground: Ground) -> None:
    ground.site.publish(redis_url=ground.fixture("redis_url"))
    synced(ground)
    for name in ("store.db", "store.db-wal", "store.db-shm"):
        (ground.site.folder / name).unlink(missing_ok=True)


def other_condition(ground: Ground) -> None:
    hook = {"name": "many", "url": "http://127.0.0.1:9/", "secret": SECRET}
    ground.site.set("projections.referrals.follow", "finalized")
    ground.site.set("projections.referrals.webhook", [hook | {"when": "level1Count reached 99"}])
    synced(ground)
    ground.site.set("projections.referrals.webhook", [hook | {"when": "level1Count reached 98"}])


def halted(ground: Ground) -> None:
    module(
        "from msgspec import Struct\n"
        "from projections.projectors import Projector, handles\n"
        "class Member(Struct, frozen=True):\n    address: str\n"
        "class Mine(Projector):\n"
        "    document = Member\n    key = 'address'\n"
        f"    @handles('{SIGNATURE}')\n"
        "    def registered(self, event, members):\n        raise ValueError('too much')\n"
    )(ground)
    ground.site.run("sync", "--tries", "1")


def no_code(ground: Ground) -> None:
    ground.site.set("contracts.referral.start_block", "auto")
    ground.site.set("contracts.referral.address", "0x" + "77" * 20)


def hidden(name: str) -> Callable[[Ground], None]:
    """A package that is not installed, as far as the command can see."""

    def act(ground: Ground) -> None:
        (ground.site.folder / f"{name}.py").write_text(
            f"raise ModuleNotFoundError(\"No module named '{name}'\", name='{name}')\n"
        )

    return act


def both(*acts: Callable[[Ground], None]) -> Callable[[Ground], None]:
    def act(ground: Ground) -> None:
        for each in acts:
            each(ground)

    return act


RUN = ("run",)
PIECES = "contracts.referral"
CASES = [
    # the configuration itself: the command and `check` end with the same sentence and the same code
    Case("unknown key", put(f"{PIECES}.start_blok", 5), "start_block?", code=2),
    Case("secret file", put("chains.main.rpc", "${file:secrets/rpc}"), "secrets/rpc", code=2),
    Case("variable", put("chains.main.rpc", "${NOT_SET_ANYWHERE}"), "is not set", code=2),
    Case("abi file", put(f"{PIECES}.abi", "mine.json"), "cannot be read", code=2),
    Case("schedule", put("schedule.sync", "61 * * * *"), "schedule.sync", RUN, 2),
    Case("backup place", put("schedule.backup", "0 3 * * *"), "schedule.backup_to is missing", RUN, 2),
    Case("memory", put("fold.memory", "64MB"), "fold.memory", code=2),
    Case("ttl", put("projections.referrals.redis", {"key": "u:{address}", "ttl": "1.5s"}), "ttl", code=2),
    Case("name", put("projections.Referrals", {"projector": "referrals"}), "names are lower-case", code=2),
    Case("projector", put("projections.referrals.projector", "nowhere:Mine"), "no projector", code=2),
    Case("token", put("http.tokens", ["short"]), "http.tokens[0]", RUN, 2),
    Case("websocket", put("chains.main.websocket", "http://127.0.0.1:1"), "ws://", RUN, 2),
    # what lies outside: `check` tells it beside everything else
    Case("chain id", put("chains.main.chain_id", 1), "serves chain 31337", code=2),
    Case("network", another_network, "another network of the same id", code=2),
    Case("node", lambda g: g.site.set("chains.main.rpc", f"http://{nobody(g)}"), "cannot be reached"),
    Case("code", no_code, "There is no contract at"),
    Case("schema", stamped, "has the schema e9999"),
    Case("folder", put("store.url", "sqlite:///nowhere/store.db"), "cannot be opened"),
    Case("file", no_database, "not a database"),
    Case("database", missing_database, "does not exist"),
    Case("rights", no_rights, "permission denied"),
    Case("read only", read_only, "read-only transaction"),
    Case("mongo", mongo_down, "MongoDB at"),
    Case("redis", redis_down, "Redis at"),
    Case("foreign mongo", foreign, "another event store"),
    Case("foreign redis", foreign_redis, "another event store"),
    Case("webhook", other_condition, "is now `level1Count reached 98`", code=2),
    Case("halted", halted, "too much"),
    Case("port", taken, "cannot be listened at", RUN, 2),
    Case("alerts", put("alerts.urls", [f"nosuch://{SECRET}"]), "Apprise knows", RUN, 2),
    Case("no apprise", both(put("alerts.urls", ["json://h"]), hidden("apprise")), "not installed", RUN, 2),
    Case("no http", both(put("http.listen", "127.0.0.1:0"), hidden("litestar")), "not installed", RUN, 2),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_whatever_the_start_refuses_check_says_before(
    case: Case, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.act(ground)
    for file in ground.site.folder.glob("*.py"):
        if file.stem == "mine":
            monkeypatch.syspath_prepend(str(ground.site.folder))
            continue
        monkeypatch.setitem(sys.modules, file.stem, None)  # as far as this process can see
        for name in [name for name in sys.modules if name.startswith("projections.service.http")]:
            monkeypatch.delitem(sys.modules, name)
    said, whole = checked(ground.site)
    done = ground.site.run(*case.command)
    assert done.code == case.code, done
    told = done.out if case.name == "halted" else done.complaint  # `sync` has done all else and says it so
    assert case.says in told
    assert SECRET not in f"{said} {done.out} {done.err}"
    if whole is not None:
        assert whole == told
    elif case.name == "rights":  # the database names the first table that it refuses, `check` all of them
        assert any("may not read or insert in" in item and "entries" in item for item in said)
    elif case.name == "halted":
        assert any(case.says in item for item in said)
    else:
        assert any(told.removesuffix(".") in item for item in said), (told, said)


def checked(site: Site) -> tuple[list[str], str | None]:
    """The faults that `check` finds, and the sentence it ends with where the configuration cannot be used."""
    try:
        plan = Plan(load(site.folder / "chainfold.toml"))
    except ChainfoldError as error:
        return [], " ".join(str(error).split())
    try:
        return [" ".join(item.error.split()) for item in checkup(plan) if not item.ok], None
    finally:
        plan.close()


def test_the_command_says_what_it_found_and_its_exit_code_too(ground: Ground) -> None:
    ok = ground.site.run("check")
    assert (ok.code, ok.err) == (0, "")
    assert "ok    configuration\n" in ok.out
    mongo_down(ground)
    found = ground.site.run("check")
    assert found.code == 1
    assert "FAIL  sink referrals.mongo: MongoDB at" in found.out
    listed = ground.site.run("check", "--json")
    assert listed.code == 1
    [item] = [item for item in listed.json() if not item["ok"]]
    assert item["name"] == "sink referrals.mongo"
    assert item["error"].startswith("MongoDB at")
    ground.site.set("contracts.referral.start_blok", 5)
    said = ground.site.run("check")
    assert (said.code, said.complaint) == (2, ground.site.run("sync").complaint)


@pytest.mark.parametrize("package", ["psycopg"])
def test_a_driver_that_is_not_installed_is_named(package: str, ground: Ground) -> None:
    """The command as it is installed: those that tests fork have imported the driver."""
    ground.site.set("store.url", "postgresql+psycopg://h/d")
    hidden(package)(ground)
    said = []
    for name in ("check", "sync"):
        command = [Path(sys.executable).with_name("chainfold"), name]
        environment = os.environ | {"PYTHONPATH": str(ground.site.folder)}
        done = subprocess.run(
            command, cwd=ground.site.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        said.append(done.stderr)
    assert said[0] == said[1]
    assert "is not installed" in said[0]


def test_an_embedded_server_that_is_not_installed_is_named(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground.site.settings["mongo"] = {"url": "embedded"}
    ground.site.set("projections.referrals.mongo", {"collection": "users"})
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Exception, match="SecantusDB is not installed"):
        EmbeddedMongo.find()
    plan = Plan(load(ground.site.folder / "chainfold.toml"))
    [found] = [item for item in checkup(plan) if not item.ok]
    plan.close()
    assert found.name == "sink referrals.mongo"
    assert "SecantusDB is not installed" in found.error


# --- what does not hinder the start, and needs a look ---


def notes(site: Site) -> dict[str, list[str]]:
    """The remarks of a `check` that finds no fault."""
    done = site.run("check", "--json")
    assert done.code == 0, done
    return {item["name"]: item["notes"] for item in done.json() if item["notes"]}


def test_every_endpoint_is_tried_not_only_the_one_in_use(ground: Ground) -> None:
    other = SimulatedChain(chain_id=5, seed=5)
    other.mine(3)
    strange = ground.stack.enter_context(SimulatedNode(other))
    ground.site.set("chains.main.rpc", [ground.node.url, strange.url])
    synced(ground)
    done = ground.site.run("check")
    assert done.code == 1
    assert f"ok    chain main {ground.node.url}" in done.out
    assert f"FAIL  chain main {strange.url}: The node serves chain 5" in done.out


def test_a_websocket_that_gives_no_heads_is_a_fault(ground: Ground) -> None:
    ground.site.set("chains.main.websocket", f"ws://{nobody(ground)}/{SECRET}")
    done = ground.site.run("check")
    assert done.code == 1
    assert "gives no heads (ConnectionRefusedError)" in done.out
    assert SECRET not in done.out


def test_an_address_without_code_is_named(ground: Ground) -> None:
    ground.site.set("contracts.referral.address", "0x" + "77" * 20)
    [said] = notes(ground.site)[f"chain main {ground.node.url}"]
    assert "there is no contract at 0x7777" in said


def test_a_pruned_node_fails_only_where_what_it_lacks_is_missing_and_nobody_else_has_it(
    ground: Ground,
) -> None:
    ground.node.faults.pruned_below = 5
    [fault] = [item for item in ground.site.run("check", "--json").json() if not item["ok"]]
    assert "pruned" in fault["error"]
    whole = ground.stack.enter_context(SimulatedNode(ground.chain))
    ground.site.set("chains.main.rpc", [ground.node.url, whole.url])
    [said] = notes(ground.site)[f"chain main {ground.node.url}"]
    assert said.startswith("it does not give block 0, the first that is missing: ")
    synced(ground)
    ground.site.set("chains.main.rpc", ground.node.url)
    assert f"chain main {ground.node.url}" not in notes(ground.site)


def test_a_service_at_work_is_told_and_is_no_fault(ground: Ground) -> None:
    ground.site.set("http.listen", nobody(ground))
    service = ground.site.start("run")
    try:
        while "serving" not in service.complaints and service.runs:
            pass
        while not (found := notes(ground.site)).get("leases"):
            pass
        assert f"process {service.pid}" in found["leases"][0]
        assert f"process {service.pid}" in found["http"][0]
    finally:
        service.kill()


def test_documents_of_other_code_are_told(ground: Ground) -> None:
    synced(ground)
    ground.site.set("projections.referrals.poison", "quarantine")
    [said] = notes(ground.site)["projection referrals"]
    assert "chainfold rebuild referrals" in said
    assert "referrals was built by other code" in ground.site.run("sync").out


def test_check_leaves_no_mark(ground: Ground) -> None:
    """No run is written down, no lease taken, no sink claimed, and no directory for backups made."""
    mongo: Mongo = ground.fixture("mongo")
    url: str = ground.fixture("redis_url")
    ground.site.publish(mongo=(mongo.url, mongo.database), redis_url=url)
    ground.site.settings["schedule"] = {"backup": "0 3 * * *", "backup_to": "kept"}
    ground.site.write()
    assert ground.site.run("check").code == 0
    assert not (ground.site.folder / "kept").exists()
    with planned(load(ground.site.folder / "chainfold.toml")) as plan, plan.store.read() as tx:
        for table in ("runs", "leases", "chains"):
            assert tx.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one() == 0
    with redis.Redis.from_url(url) as client:
        assert client.keys() == []
    with MongoClient(mongo.url) as server:
        there = server[mongo.database]
        assert {there[name].count_documents({}) for name in there.list_collection_names()} <= {0}
