"""Embedded servers: data survives restarts, users share, and no server outlives the last of them."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import redis
from pymongo import MongoClient

from projections.errors import ConfigurationError, SinkUnavailable
from projections.service.embedded import reaper
from projections.service.embedded.servers import EmbeddedMongo, EmbeddedRedis, Program
from tests.servers import missing

pytestmark = [pytest.mark.process, pytest.mark.server]

USE = """
import sys, time
from projections.service.embedded.servers import EmbeddedRedis
server = EmbeddedRedis(sys.argv[1]).start()
print(server.url, flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def installed() -> None:
    try:
        EmbeddedMongo.find()
        EmbeddedRedis.find()
    except ConfigurationError as error:
        missing(str(error))


def other_user(directory: Path) -> tuple[subprocess.Popen[str], str]:
    """Another process that uses the directory until it is killed, and the URL it was given."""
    process = subprocess.Popen([sys.executable, "-c", USE, str(directory)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def until(fact: Callable[[], bool], *, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if fact():
            return True
        time.sleep(0.02)
    return False


def pid_of(server: EmbeddedRedis) -> int:
    running = server.running()
    assert running is not None
    return running.pid


def test_redis_keeps_its_data_through_a_restart(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        client.set("a", "1")
    with EmbeddedRedis(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        assert client.get("a") == b"1"


def test_mongo_keeps_its_data_through_a_restart(tmp_path: Path) -> None:
    client: MongoClient[dict[str, object]]
    with EmbeddedMongo(tmp_path) as server, MongoClient(server.url) as client:
        client["d"]["c"].insert_one({"_id": 1})
    with EmbeddedMongo(tmp_path) as server, MongoClient(server.url) as client:
        assert client["d"]["c"].find_one() == {"_id": 1}


def test_leaving_stops_the_server(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        pid = pid_of(server)
    assert not psutil.pid_exists(pid)
    assert server.url == ""


def test_it_says_which_program_it_runs(tmp_path: Path) -> None:
    assert "redis-server" in EmbeddedRedis(tmp_path).which
    assert "SecantusDB" in EmbeddedMongo(tmp_path).which


def test_a_second_user_finds_the_running_server(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as first, EmbeddedRedis(tmp_path) as second:
        assert first.url == second.url


def test_a_second_process_finds_the_running_server(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        process, url = other_user(tmp_path)
        kill(process)
        assert url == server.url


def test_the_second_users_leaving_stops_nothing(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as first:
        with EmbeddedRedis(tmp_path):
            pass
        time.sleep(0.5)
        assert first.answers(first.url)


def test_the_starters_leaving_leaves_the_server_to_the_others(tmp_path: Path) -> None:
    first = EmbeddedRedis(tmp_path).start()
    with EmbeddedRedis(tmp_path) as second:
        first.stop()
        time.sleep(0.5)
        assert second.answers(second.url)


def test_of_many_that_start_at_once_all_get_one_server(tmp_path: Path) -> None:
    users = [other_user(tmp_path) for _ in range(4)]
    for process, _ in users:
        kill(process)
    assert len({url for _, url in users}) == 1


def test_a_starter_killed_leaves_no_server(tmp_path: Path) -> None:
    process, _ = other_user(tmp_path)
    pid = pid_of(EmbeddedRedis(tmp_path))
    kill(process)
    assert until(lambda: not psutil.pid_exists(pid))


def test_a_start_after_a_kill_gets_a_new_server_with_the_old_data(tmp_path: Path) -> None:
    process, url = other_user(tmp_path)
    with redis.Redis.from_url(url) as client:
        client.set("a", "1")
    kill(process)
    with EmbeddedRedis(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        assert client.get("a") == b"1"


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_a_keeper_killed_takes_its_server_along(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        pid = pid_of(server)
        parent = psutil.Process(pid).parent()
        assert parent is not None
        parent.kill()
        assert until(lambda: not psutil.pid_exists(pid))


def test_a_server_without_its_keeper_still_holds_the_directory(tmp_path: Path) -> None:
    """Or another would be started over the same files. This one does not mind SIGTERM."""
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); open('up', 'w'); time.sleep(600)"
    command = [sys.executable, "-I", reaper.__file__, str(tmp_path), "redis://127.0.0.1:1/0"]
    with (tmp_path / "users.lock").open("w") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        subprocess.run([*command, sys.executable, "-c", stubborn], check=True)
        server = EmbeddedRedis(tmp_path)
        assert until((tmp_path / "up").exists)
        process = psutil.Process(pid_of(server))
        try:
            parent = process.parent()
            assert parent is not None
            parent.kill()
            assert until(lambda: not psutil.pid_exists(parent.pid))
            assert subprocess.run([*command, "true"], check=False).returncode == reaper.BUSY
        finally:
            process.kill()


def test_a_server_killed_is_started_again_by_the_next_user(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as first:
        os.kill(pid_of(first), signal.SIGKILL)
        assert until(lambda: first.running() is None)
        with EmbeddedRedis(tmp_path) as second:
            assert second.answers(second.url)


def test_files_left_by_the_dead_do_not_block_a_start(tmp_path: Path) -> None:
    (tmp_path / "server.json").write_text(f'{{"url": "redis://127.0.0.1:1/0", "pid": {os.getpid()}}}')
    for name in ("server.lock", "users.lock", "start.lock"):
        (tmp_path / name).touch()
    with EmbeddedRedis(tmp_path) as server:
        assert server.answers(server.url)


def test_ctrl_c_in_the_terminal_does_not_reach_the_server(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        assert os.getsid(pid_of(server)) != os.getsid(0)


def test_a_start_that_fails_says_why_in_the_servers_words(tmp_path: Path) -> None:
    class Broken(EmbeddedRedis):
        def command(self, port: int) -> list[str]:
            return [*super().command(port), "--maxmemory", "plenty"]

    with pytest.raises(SinkUnavailable, match=r"does not come up: .*maxmemory"):
        Broken(tmp_path).start()


def test_a_program_that_cannot_run_says_so(tmp_path: Path) -> None:
    class Absent(EmbeddedRedis):
        @classmethod
        def find(cls) -> Program:
            return Program(path=str(tmp_path / "nowhere"), which="none")

    with pytest.raises(SinkUnavailable, match="nowhere"):
        Absent(tmp_path / "d").start()
