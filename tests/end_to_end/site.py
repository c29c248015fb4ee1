"""A place where the command runs as its users run it: a folder, a configuration, a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import redis
from msgspec import Struct
from pymongo import MongoClient

from eventstore.records import Log
from eventstore.sources.simulated.chain import Emission, SimulatedChain
from projections.decoding.event import parse
from projections.service.status.projections import served_documents
from tests.oracle import plain

SIGNATURE = "ReferralRegistered(address indexed user, address indexed referrer, uint256 timestamp)"
TOPIC = parse(SIGNATURE).topic0
CONTRACT = bytes.fromhex("51" * 20)
PATIENCE = 60.0
"""Seconds after which a command that has neither ended nor said anything is a failure."""

WORKSHOP = """
import gc, json, os, signal, sys
import alembic.command, psycopg, sqlalchemy.dialects.postgresql.psycopg, sqlalchemy.dialects.sqlite
import eventstore.sources.rpc.source, projections.migrate, projections.projectors.referrals
import projections.sinks.mongo, projections.sinks.redis
from projections.service.cli import main

gc.freeze()
for line in sys.stdin:
    order = json.loads(line)
    if "poll" in order:
        pid, status = os.waitpid(order["poll"], os.WNOHANG)
        print(os.waitstatus_to_exitcode(status) if pid else "running", flush=True)
        continue
    child = os.fork()
    if child:
        print(child, flush=True)
        continue
    signal.signal(signal.SIGINT, signal.default_int_handler)  # who started the tests may ignore it
    os.chdir(order["folder"])
    os.environ.update(order["environment"])
    sys.path[0] = order["folder"]
    for number, name in enumerate((os.devnull, order["out"], order["err"])):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), number)
    if order["largest_file"]:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["largest_file"],) * 2)
    sys.argv[1:] = order["arguments"]
    main()
"""


class Done(Struct, frozen=True):
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return msgspec.json.decode(self.out)

    @property
    def complaint(self) -> str:
        """The sentence after `chainfold: `; fails where stderr holds a traceback or says it twice."""
        assert "Traceback" not in self.err, self.err
        [line] = [line for line in self.err.splitlines() if line.startswith("chainfold: ")]
        assert self.err.splitlines()[-1] == line, self.err
        return line.removeprefix("chainfold: ")


class Workshop:
    """A process that has imported everything, and forks one for each command: a second less for each,
    and kills fall into the work. From the first line of `main` on they are what the command is."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", WORKSHOP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **order: object) -> str:
        """One order, one line of answer: the pid of what was started, or how it ended."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(order).decode() + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        self._process.communicate(timeout=PATIENCE)


class Command:
    """A command that was started. Its pid stays its own until it was seen to have ended."""

    def __init__(self, workshop: Workshop, folder: Path, arguments: Sequence[str], **order: object) -> None:
        self._workshop = workshop
        self._folder = folder / "said" / str(len(list((folder / "said").iterdir())))
        self._folder.mkdir()
        for name in ("out", "err"):
            (self._folder / name).touch()  # it may be killed before it says anything
        self._code: int | None = None
        self.pid = int(
            workshop.ask(
                arguments=arguments,
                folder=str(folder),
                out=str(self._folder / "out"),
                err=str(self._folder / "err"),
                **order,
            )
        )

    @property
    def runs(self) -> bool:
        if self._code is None and (answer := self._workshop.ask(poll=self.pid)) != "running":
            self._code = int(answer)
        return self._code is None

    @property
    def complaints(self) -> str:
        """What it has said on stderr so far."""
        return (self._folder / "err").read_text()

    @property
    def answers(self) -> str:
        """What it has said on stdout so far."""
        return (self._folder / "out").read_text()

    def signal(self, number: signal.Signals) -> None:
        if self._code is None:
            os.kill(self.pid, number)

    def end(self) -> Done:
        """Waits for it; one that hangs is killed, and fails the test with what it said. A process that
        still reports progress, as on a loaded machine, does not hang."""
        deadline, heard = time.monotonic() + PATIENCE, 0
        while self.runs:
            time.sleep(0.005)
            if (said := self._spoken()) > heard:
                deadline, heard = time.monotonic() + PATIENCE, said
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"the command said nothing for {PATIENCE} s: {self._said()}")
        return self._said()

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        while self.runs:
            time.sleep(0.001)

    def _spoken(self) -> int:
        """How many bytes it has said so far."""
        return sum((self._folder / name).stat().st_size for name in ("out", "err"))

    def _said(self) -> Done:
        out, err = ((self._folder / name).read_text() for name in ("out", "err"))
        return Done(0 if self._code is None else self._code, out, err)


class Site:
    """A folder with a chainfold.toml, and the command in it. `settings` is what the file says."""

    def __init__(self, workshop: Workshop, folder: Path, *, rpc: str, **tables: Mapping[str, Any]) -> None:
        (folder / "said").mkdir(parents=True)
        self.folder = folder
        self._workshop = workshop
        self.settings: dict[str, Any] = {
            "store": {"url": "sqlite:///store.db"},
            "chains": {"main": {"rpc": [rpc], "chain_id": 31_337, "poll": "100ms"}},
            "contracts": {
                "referral": {"chain": "main", "address": "0x" + CONTRACT.hex(), "events": [SIGNATURE]}
            },
            "projections": {"referrals": {"projector": "referrals", "contract": "referral"}},
        }
        for name, table in tables.items():
            self.settings[name] = {**self.settings.get(name, {}), **table}
        self.write()

    def set(self, path: str, value: object) -> None:
        """Sets one key, named by its path with dots, and writes the file."""
        *tables, key = path.split(".")
        table = self.settings
        for name in tables:
            table = table.setdefault(name, {})
        table[key] = value
        self.write()

    def publish(self, *, mongo: tuple[str, str] | None = None, redis_url: str | None = None) -> None:
        """Adds the sinks of the projection: MongoDB as (url, database), Redis by its URL."""
        if mongo is not None:
            self.settings["mongo"] = {"url": mongo[0], "database": mongo[1]}
            self.set("projections.referrals.mongo", {"collection": "users"})
        if redis_url is not None:
            self.settings["redis"] = {"url": redis_url}
            self.set("projections.referrals.redis", {"key": "user:{address}"})

    def write(self) -> None:
        (self.folder / "chainfold.toml").write_text(_toml(self.settings))

    def start(
        self, *arguments: str, environment: Mapping[str, str] | None = None, largest_file: int = 0
    ) -> Command:
        """The command, running. With `largest_file` no file of it may grow past so many bytes."""
        return Command(
            self._workshop,
            self.folder,
            arguments,
            environment={"COLUMNS": "80", **(environment or {})},
            largest_file=largest_file,
        )

    def run(self, *arguments: str, **options: Any) -> Done:
        """The command, run to its end."""
        return self.start(*arguments, **options).end()

    def last_words(self, *, commands: int = 4, lines: int = 12) -> str:
        """The end of what the commands that were started last have said on stderr."""
        said = sorted((self.folder / "said").iterdir(), key=lambda place: int(place.name))[-commands:]
        return "\n".join(
            f"command {place.name} said last:\n"
            + "\n".join((place / "err").read_text().splitlines()[-lines:])
            for place in said
        )


# --- registrations ---


def register(user: int, referrer: int, *, at: int = 7) -> Emission:
    """The log of `user` naming `referrer`; 0 names no one."""
    return Emission(
        CONTRACT,
        (TOPIC, user.to_bytes(32, "big"), referrer.to_bytes(32, "big")),
        at.to_bytes(32, "big"),
    )


def registrations(random: Random, count: int, *, users: int) -> list[Emission]:
    """Any user names any other, itself, or no one."""
    return [
        register(random.randint(1, users), random.randint(0, users), at=random.randint(1, 2_000_000_000))
        for _ in range(count)
    ]


def grow(chain: SimulatedChain, random: Random, blocks: int, *, users: int, most: int = 12) -> None:
    """Mines blocks of up to `most` registrations each."""
    for _ in range(blocks):
        chain.mine(logs=registrations(random, random.randint(0, most), users=users))


def expected(chain: SimulatedChain) -> dict[str, dict[str, Any]]:
    """The plain definition over the canonical logs of the chain."""
    return plain(_named(log) for log in chain.logs_in(0, chain.head().number))


def _named(log: Log) -> tuple[str, str, int, int]:
    user, referrer = ("0x" + topic[12:].hex() for topic in log.topics[1:])
    return user, referrer, int.from_bytes(log.data, "big"), 0


# --- what is in the stores ---


def in_sql(site: Site) -> dict[str, dict[str, Any]]:
    """The served documents, as they are."""
    from projections.service.config.loader import load
    from projections.service.runtime.wiring import planned

    with planned(load(site.folder / "chainfold.toml")) as plan:
        return {item["address"]: item for item in served_documents(plan.store, "referrals")}


def in_mongo(url: str, database: str) -> dict[str, dict[str, Any]]:
    """What the collection holds, without our mark; times in seconds, as in SQL."""
    client: MongoClient[dict[str, Any]]
    with MongoClient(url, tz_aware=True) as client:
        there = {"chainfold.removed": {"$ne": True}}  # of what was removed the mark stays for a while
        found = list(client[database]["users"].find(there, {"_id": 0, "chainfold": 0}))
    return {item["address"]: {**item, "updatedAt": int(item["updatedAt"].timestamp())} for item in found}


def in_redis(url: str) -> dict[str, dict[str, str]]:
    """The hashes, by address, without our mark; of what was removed the mark stays for a while."""
    with redis.Redis.from_url(url, decode_responses=True) as client:
        found = {key.removeprefix("user:"): client.hgetall(key) for key in client.scan_iter("user:*")}
    return {
        key: {field: value for field, value in fields.items() if field not in ("revision", "block")}
        for key, fields in found.items()
        if "removed" not in fields
    }


def as_hashes(documents: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Documents as Redis holds them: five fields, as text."""
    fields = ("address", "level1Count", "level2Count", "directReferrer", "indirectReferrer")
    return {
        key: {field: "" if document[field] is None else str(document[field]) for field in fields}
        for key, document in documents.items()
    }


def bare(documents: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Documents without the time of their last change, which the plain definition does not know."""
    return {
        key: {field: value for field, value in document.items() if field != "updatedAt"}
        for key, document in documents.items()
    }


def _toml(tables: Mapping[str, Any]) -> str:
    return "".join(f"{_name(key)} = {_value(value)}\n" for key, value in tables.items())


def _value(value: object) -> str:
    """A value as TOML writes it; a table is written on its one line."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case str():
            return msgspec.json.encode(value).decode()
        case list():
            return f"[{', '.join(_value(item) for item in value)}]"
        case dict():
            return f"{{ {', '.join(f'{_name(key)} = {_value(item)}' for key, item in value.items())} }}"
    raise TypeError(f"{value!r} has no place in a configuration")


def _name(key: str) -> str:
    return key if re.fullmatch(r"[\w-]+", key) else _value(key)
