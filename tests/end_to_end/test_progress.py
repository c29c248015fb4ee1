"""What a rebuild shows of itself while it goes on, on a terminal and elsewhere."""

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
import time
from pathlib import Path
from random import Random

import pytest

from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.node import Faults, SimulatedNode
from eventstore.storage.store import Store
from projections.service.runtime.loops import Stepped
from projections.service.terminal.display import showing
from tests.end_to_end.shop import EVENTS, NEW, NOBODY, History, copied, fold, halfway, shop, until
from tests.end_to_end.site import Site, Workshop, grow
from tests.folding import Bench, registration


@pytest.fixture(scope="module")
def folded(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fold(History(), workshop, tmp_path_factory.mktemp("folded"))


class Terminal:
    """A command whose stderr is a terminal; `text` is what it showed so far."""

    def __init__(self, site: Site, *arguments: str) -> None:
        self._own, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from projections.service.cli import main; main()", *arguments],
            cwd=site.folder,
            env={**os.environ, "TERM": "xterm"},
            stdout=subprocess.PIPE,
            stderr=other,
            text=True,
        )
        os.close(other)
        self._shown = b""

    @property
    def text(self) -> str:
        while select.select([self._own], [], [], 0)[0]:
            try:
                self._shown += os.read(self._own, 65_536)
            except OSError:  # it has ended
                break
        shown = self._shown.decode(errors="ignore")  # the last character may be half there
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)

    def end(self) -> str:
        """What it said on stdout; it must end well."""
        while self._process.poll() is None:
            time.sleep(0.02)
            _ = self.text  # a terminal without a reader blocks its writer
        said, _ = self._process.communicate()
        os.close(self._own)
        assert self._process.returncode == 0, self._shown
        return said


def test_on_a_terminal_a_bar_shows_events_of_all_with_rate_and_time_left(
    folded: Path, workshop: Workshop, tmp_path: Path
) -> None:
    site = shop(workshop, tmp_path / "new", NEW, rpc=NOBODY, store=copied(folded, tmp_path))
    terminal = Terminal(site, "rebuild", "referrals")
    done = halfway(site)["build"]["events"]
    bar = rf"{done}/{EVENTS} +[\d,]+/s, 0:\d\d:\d\d left"
    until(lambda: terminal.text, lambda text: bool(re.search(bar, text)))
    (site.folder / "go").touch()
    assert f"{EVENTS:,} events folded" in terminal.end()


def test_the_same_bar_shows_a_rebuild_that_a_running_service_does(
    folded: Path, workshop: Workshop, tmp_path: Path
) -> None:
    site = shop(workshop, tmp_path / "new", NEW, rpc=NOBODY, store=copied(folded, tmp_path))
    service = site.start("run", "--only", "project")
    until(lambda: service.complaints, lambda said: "outdated" in said)  # it is at work, and holds the lease
    terminal = Terminal(site, "rebuild", "referrals")
    done = halfway(site)["build"]["events"]
    bar = rf"{done}/{EVENTS} +[\d,]+/s, 0:\d\d:\d\d left"
    until(lambda: terminal.text, lambda text: bool(re.search(bar, text)))
    (site.folder / "go").touch()
    said = terminal.end()
    assert re.search("[0-9]+ documents differ, 0 are new, 0 are gone", said)
    service.signal(signal.SIGTERM)
    assert service.end().code == 0


def test_where_there_is_no_terminal_lines_say_done_of_rate_and_time_left(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(store)
    bench.append([registration(block, 0, block, block + 1) for block in range(1, 31)], to=30)
    with showing(every=0) as observe:
        for done in bench.fold():
            observe(Stepped("project referrals", done))
    lines = [line for line in capsys.readouterr().err.splitlines() if "progress" in line]
    assert re.search(r"done=6 of=30 rate=[\d,]+/s eta=0:\d\d:\d\d", lines[1])
    assert re.search(r"done=30 of=30 rate=[\d,]+/s eta=0:00:00", lines[-1])


def test_a_sync_and_a_resync_show_how_many_blocks_are_left(workshop: Workshop, tmp_path: Path) -> None:
    chain = SimulatedChain()
    grow(chain, Random(2), 120, users=30)
    chain.finalize(110)
    with SimulatedNode(chain, faults=Faults(range_cap=4)) as node:
        site = Site(workshop, tmp_path / "site", rpc=node.url)
        node.faults.latency = 0.1
        terminal = Terminal(site, "sync")
        bar = re.compile(r"ingest main .*/121 +[\d,]+/s, \d:\d\d:\d\d left")
        until(lambda: terminal.text, lambda shown: bar.search(shown) is not None)
        node.faults.latency = 0.0
        terminal.end()
        node.faults.latency = 0.1
        terminal = Terminal(site, "sync", "--force")
        bar = re.compile(r"resync main .*/121 +[\d,]+/s, \d:\d\d:\d\d left")
        until(lambda: terminal.text, lambda shown: bar.search(shown) is not None)
        node.faults.latency = 0.0
        assert "the journal holds the same" in terminal.end()
