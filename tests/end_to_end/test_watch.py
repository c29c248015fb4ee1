"""`chainfold status --watch`: on a terminal, without one, and while the store is away."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import msgspec
import psycopg
from sqlalchemy import make_url

from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.node import SimulatedNode
from projections.service.status.records import BuildStatus, ChainStatus, ProjectionStatus, SinkStatus, Status
from projections.service.terminal.board import ChainRate, ProjectionRate, Rates, rates, standing
from tests.end_to_end.shop import until
from tests.end_to_end.site import Site, Workshop, grow

STARTED = """
import signal
from projections.service.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # who started the tests may ignore it
main()
"""


class Screen:
    """A command on a terminal of its own; `text` is all that it wrote, without what moves the cursor."""

    def __init__(self, site: Site, *arguments: str) -> None:
        self._own, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-c", STARTED, *arguments],
            cwd=site.folder,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
            stdin=other,
            stdout=other,
            stderr=other,
        )
        os.close(other)
        self.raw = b""

    @property
    def text(self) -> str:
        while select.select([self._own], [], [], 0)[0]:
            try:
                self.raw += os.read(self._own, 65_536)
            except OSError:  # it has ended
                break
        shown = self.raw.decode(errors="ignore")
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)

    def newer(self) -> str:
        """What it has written since it was asked last."""
        before = len(self.text)
        until(lambda: self.text, lambda text: text.count("Ctrl-C", before) >= 2)
        return self.text[before:]

    def end(self, number: signal.Signals) -> str:
        """Tells it to end, as Ctrl-C does; what it showed."""
        self.process.send_signal(number)
        until(lambda: (self.text, self.process.poll())[1], lambda code: code is not None)
        shown = self.text
        os.close(self._own)
        return shown


def synced(site: Site, chain: SimulatedChain, *, blocks: int) -> None:
    grow(chain, Random(blocks), blocks, users=30)
    assert site.run("sync").code == 0


def test_a_terminal_shows_what_moves_and_that_the_store_is_away_and_is_left_as_it_was(
    workshop: Workshop, tmp_path: Path, postgres_url: str
) -> None:
    chain = SimulatedChain()
    with SimulatedNode(chain) as node:
        site = Site(workshop, tmp_path / "site", rpc=node.url, store={"url": postgres_url})
        synced(site, chain, blocks=20)
        screen = Screen(site, "status", "--watch", "--interval", "0.1")
        until(lambda: screen.text, lambda text: "referrals" in text)
        synced(site, chain, blocks=30)
        until(screen.newer, lambda text: bool(re.search(r"main +50 .* [1-9][\d,]*\.\d", text)))
        with closed(postgres_url):
            away = until(screen.newer, lambda text: "The event store is away since" in text)
            assert "What follows is what was seen last." in away
            assert re.search(r"main +50 ", away)
        until(screen.newer, lambda text: "is away since" not in text)
        shown = screen.end(signal.SIGINT)
        assert screen.process.returncode == 0
        assert "Traceback" not in shown
        assert screen.raw.count(b"\x1b[?1049h") == screen.raw.count(b"\x1b[?1049l") == 1
        after = screen.raw.rpartition(b"\x1b[?1049l")[2].decode()
        assert re.search(r"main +50 ", after)
        assert "\x1b[?25h" in screen.raw.decode().rpartition("\x1b[?25l")[2]  # the cursor is back


@contextmanager
def closed(postgres_url: str) -> Iterator[None]:
    """A database that ends its connections and takes none."""
    url = make_url(postgres_url).set(drivername="postgresql")
    other = url.set(database="postgres").render_as_string(hide_password=False)
    with psycopg.connect(other, autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{url.database}" ALLOW_CONNECTIONS false')
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (url.database,)
        )
        yield
        connection.execute(f'ALTER DATABASE "{url.database}" ALLOW_CONNECTIONS true')


def test_where_there_is_no_terminal_each_look_is_a_line(workshop: Workshop, tmp_path: Path) -> None:
    chain = SimulatedChain()
    with SimulatedNode(chain) as node:
        site = Site(workshop, tmp_path / "site", rpc=node.url)
        synced(site, chain, blocks=20)
        plain = site.start("status", "--watch", "--interval", "0.1")
        values = site.start("status", "--watch", "--json", "--interval", "0.1")
        for command, number in ((plain, signal.SIGINT), (values, signal.SIGTERM)):
            until(lambda it=command: it.answers.count("\n"), lambda lines: lines >= 3)
            command.signal(number)
        done = plain.end()
        assert (done.code, done.err) == (0, "")
        for line in done.out.splitlines():
            assert re.search(r"Z main: head 20, covered to 20.*; referrals: live, block 20, 0 behind", line)
        told = values.end()
        assert (told.code, told.err) == (0, "")
        for line in told.out.splitlines():
            assert msgspec.json.decode(line)["chains"]["main"]["head"] == 20


def test_watching_has_no_end_that_could_be_checked(workshop: Workshop, tmp_path: Path) -> None:
    site = Site(workshop, tmp_path / "site", rpc="http://127.0.0.1:9")
    done = site.run("status", "--watch", "--check")
    assert (done.code, "exclude each other" in done.complaint) == (2, True)


def test_a_build_has_a_rate_and_the_time_that_is_left() -> None:
    def at(events: int) -> Status:
        build = BuildStatus(2, "building", 5, 70, events, 900, 0.0, None)
        fold = ProjectionStatus("outdated", 70, 5, 9, 0, 3.0, 4, "ab", 1, None, build=build)
        return Status({}, {"p": fold}, {})

    [line] = standing(at(300), rates(at(100), at(300), 2.0))
    assert line.endswith("(300 of 900 events), 100 events/s, 0:00:06 left")
    assert list(standing(at(300))) == list(standing(at(300), rates(at(300), at(300), 2.0)))


def test_rates_are_what_moved_between_two_looks() -> None:
    chain = ChainStatus(100, 90, 80, None, None, 5, 400, 0, None, None, None, calls={"a": 10})
    fold = ProjectionStatus("live", 70, 5, 9, 30, 3.0, 4, "ab", 1, None)
    sink = SinkStatus(8, 1, "behind", None)
    before = Status({"main": chain}, {"p": fold}, {"p.mongo": sink})
    replaced = msgspec.structs.replace
    now = Status(
        {"main": replaced(chain, covered_to=90, logs=500, calls={"a": 10, "b": 4}), "new": chain},
        {"p": replaced(fold, block=80, lag_blocks=20, revision=11)},
        {"p.mongo": replaced(sink, revision=11)},
    )
    assert rates(before, now, 2.0) == Rates(
        {"main": ChainRate(5.0, 50.0, 2.0)}, {"p": ProjectionRate(5.0, 1.0, 4.0)}, {"p.mongo": 1.5}
    )
    assert rates(now, now, 2.0).projections["p"].eta is None  # it does not come nearer
    away = replaced(now, sinks={"p.mongo": SinkStatus(0, None, "down", "it is away")})
    assert rates(now, away, 2.0).sinks == rates(away, now, 2.0).sinks == {}
