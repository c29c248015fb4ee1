"""Fetching in a second process while one folds: the same result as in one, if either fails or is killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import text

from eventstore.errors import SourceUnavailable
from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.node import SimulatedNode
from eventstore.storage.lease import Lease
from projections.service.application.sync import synchronise
from projections.service.config.loader import load
from projections.service.runtime import prefetch
from projections.service.runtime.fetch_process import FetchProcessLost, at_hand
from projections.service.runtime.fetch_worker import FetchTask, Span
from projections.service.runtime.loops import Failed, Observer, Stepped
from projections.service.runtime.summary import Summary
from projections.service.runtime.wiring import Plan, planned
from projections.service.status.projections import projection_status
from tests.end_to_end.site import CONTRACT, TOPIC, Emission, Site, Workshop, bare, expected, grow, in_sql
from tests.stores import ENGINES

PATIENCE = 60.0
EAGER = {
    "fetch_process.PATIENCE": PATIENCE,
    "prefetch.FAR": 10,
    "prefetch.WORTH": 0.0,
    "prefetch.LATE": 0.0,
    "prefetch.WAITING": 500,
    "prefetch.LOG": 0,
}
"""A process for all that takes more than a step; folds go on with a few logs, and SQLite's log is cut."""


@pytest.fixture(scope="module")
def chain() -> SimulatedChain:
    """Many final blocks, and more than a few above them."""
    made = SimulatedChain(seed=4)
    grow(made, Random(4), 2_400, users=400, most=6)
    made.finalize(2_200)
    return made


LOGS = "SELECT block_number, log_index FROM logs ORDER BY block_number, log_index"


class Ground:
    """A node that serves the chain, sites that read it, and how many cores they see."""

    def __init__(
        self, chain: SimulatedChain, workshop: Workshop, folder: Path, patch: pytest.MonkeyPatch
    ) -> None:
        self.chain = chain
        self.node = SimulatedNode(chain)
        self.patch = patch
        self._workshop = workshop
        self._folder = folder
        for name, value in EAGER.items():
            patch.setattr(f"projections.service.runtime.{name}", value)
        self.cores(2)

    def cores(self, count: int) -> None:
        self.patch.setattr(prefetch, "cores", lambda: count)

    def site(self, name: str = "site", *, path: str = "", **tables: Any) -> Site:
        tables = {"fold": {"memory": "4GB"}, **tables}  # the test's own process is large after many others
        return Site(self._workshop, self._folder / name, rpc=self.node.url + path, **tables)

    @property
    def logs(self) -> int:
        return len(self.chain.logs_in(0, self.chain.head().number))


@pytest.fixture
def ground(
    chain: SimulatedChain, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Ground]:
    made = Ground(chain, workshop, tmp_path, monkeypatch)
    with made.node:
        yield made


@pytest.fixture(params=ENGINES)
def store_url(request: pytest.FixtureRequest) -> str:
    return "sqlite:///store.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")


class Told:
    """All that a sync told its observer, and which processes fetched meanwhile. `then` is called after each
    step of the ingester that such a process did, or `alone` this one."""

    def __init__(self, then: Callable[[], object] = lambda: None, *, alone: bool = False) -> None:
        self.events: list[Stepped | Failed] = []
        self.beside: list[int] = []
        self._then = then
        self._own = 0 if alone else 1  # steps that are done here when the other process has been started

    def __call__(self, event: Stepped | Failed) -> None:
        self.events.append(event)
        self.beside += [pid for pid in children(os.getpid()) if fetches(pid) and pid not in self.beside]
        if isinstance(event, Failed) or event.stage != "ingest main":
            return
        if self._own == 0:
            self._then()
        elif self.beside:
            self._own -= 1

    @property
    def stages(self) -> str:
        """The first letters of their names, in the order in which they did something."""
        return "".join(event.stage[0] for event in self.events if isinstance(event, Stepped))

    def failures(self) -> list[str]:
        return [f"{event.stage}: {event.error}" for event in self.events if isinstance(event, Failed)]


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in found for child in said(path).split()]


def fetches(pid: int) -> bool:
    return "projections.service.runtime.fetch_worker" in said(Path(f"/proc/{pid}/cmdline"))


def leads(pid: int) -> bool:
    """A session of its own, as no process has that a library of ours starts."""
    try:
        return os.getsid(pid) == pid
    except ProcessLookupError:
        return False


def alive(pid: int) -> bool:
    """Neither gone nor waiting for somebody to take its exit code."""
    state = said(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return bool(state) and state[0] != "Z"


def said(path: Path) -> str:
    """What the system tells of a thread or process; nothing of one that ended meanwhile."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def sync(site: Site, told: Told, **options: Any) -> Summary:
    with planned(load(site.folder / "chainfold.toml")) as plan:
        return turned(plan, told, **options)


def turned(plan: Plan, told: Told, **options: Any) -> Summary:
    return synchronise(plan, shown=lambda: nullcontext[Observer](told), **options)


def logs(site: Site) -> list[tuple[int, int]]:
    with planned(load(site.folder / "chainfold.toml")) as plan:
        return told_in(plan)


def told_in(plan: Plan) -> list[tuple[int, int]]:
    with plan.store.read() as tx:
        return [(row[0], row[1]) for row in tx.execute(text(LOGS))]


def digest(site: Site) -> str | None:
    with planned(load(site.folder / "chainfold.toml")) as plan:
        return projection_status(plan.store, plan.named("referrals"), head=None).digest


def test_two_processes_come_to_the_same_as_one(ground: Ground) -> None:
    """Documents, history, and what the summary and its JSON say; only how often documents were written may
    differ. A projection folds before all is fetched, and all that was started has ended."""
    site, told = ground.site("beside"), Told()
    summary = sync(site, told)
    ground.cores(1)
    alone, plain = ground.site("alone"), Told()
    reference = sync(alone, plain)
    assert len(told.beside) == 1
    assert not plain.beside
    assert not Path(f"/proc/{told.beside[0]}").exists()
    assert bare(in_sql(site)) == expected(ground.chain)
    assert digest(site) == digest(alone)
    assert logs(site) == logs(alone)
    assert summary.record() | {"changed": 0} == reference.record() | {"changed": 0}
    assert re.fullmatch(r"i+(p+i+)+p+", told.stages)  # ingest, project
    assert re.fullmatch(r"i+p+", plain.stages)


def test_no_key_of_a_node_stands_on_a_command_line(ground: Ground) -> None:
    seen: list[str] = []
    told = Told(lambda: seen.append(Path(f"/proc/{told.beside[0]}/cmdline").read_text()))
    sync(ground.site(path="/hush-hush"), told)
    assert seen
    assert not any("hush" in line or "127.0.0.1" in line for line in seen)


def test_when_the_process_that_fetches_is_killed_the_command_says_so_and_the_next_one_goes_on(
    ground: Ground,
) -> None:
    ground.node.faults.latency = 0.05
    site, told = ground.site(), Told(lambda: os.kill(told.beside[0], signal.SIGKILL))
    with pytest.raises(FetchProcessLost, match=r"killed by signal 9.*run `chainfold sync` again"):
        sync(site, told)
    assert len(logs(site)) < ground.logs
    sync(site, Told())
    assert bare(in_sql(site)) == expected(ground.chain)


def test_a_process_that_is_killed_before_it_is_there_is_not_missed(ground: Ground) -> None:
    def start(self: prefetch.Beside) -> None:
        begun(self)
        [pid] = until(lambda: [pid for pid in children(os.getpid()) if fetches(pid)])
        os.kill(pid, signal.SIGKILL)

    begun = prefetch.Beside._start
    ground.patch.setattr(prefetch.Beside, "_start", start)
    site = ground.site()
    sync(site, Told())
    assert bare(in_sql(site)) == expected(ground.chain)


STARTED = (
    "from projections.service.runtime import fetch_process, prefetch; fetch_process._threads = lambda: 2; {}"
)
"""A command that may not fork, and is eager."""


@contextmanager
def partly(site: Site, pid: int, mine: Callable[[int], bool]) -> Iterator[int]:
    """The process that fetches for this command, when it has fetched some of what there is."""
    with planned(load(site.folder / "chainfold.toml")) as plan:
        [fetching] = until(lambda: [child for child in children(pid) if mine(child)])
        before = len(told_in(plan))  # by the command itself, which waits for a process that it started
        until(lambda: len(told_in(plan)) > before)
        assert alive(fetching)
        yield fetching


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_when_the_command_ends_the_process_that_it_forked_does_and_the_next_command_goes_on_at_once(
    ground: Ground, sign: signal.Signals
) -> None:
    ground.node.faults.latency = 0.25
    site = ground.site()
    command = site.start("sync")
    with partly(site, command.pid, leads) as fetching:
        command.signal(sign)
        assert command.end().code == (130 if sign == signal.SIGINT else -sign)
    goes_on(ground, site, fetching)


def test_when_the_command_is_killed_the_process_that_it_started_ends_and_the_next_command_goes_on_at_once(
    ground: Ground,
) -> None:
    ground.node.faults.latency = 0.25
    site = ground.site()
    said = STARTED.format("".join(f"{name} = {value}; " for name, value in EAGER.items()))
    with (
        subprocess.Popen(
            [sys.executable, "-c", f"{said}from projections.service.cli import main; main()", "sync"],
            cwd=site.folder,
        ) as process,
        partly(site, process.pid, fetches) as fetching,
    ):
        process.kill()
    goes_on(ground, site, fetching)


def goes_on(ground: Ground, site: Site, fetching: int) -> None:
    until(lambda: not alive(fetching))
    assert len(logs(site)) < ground.logs
    ground.node.faults.latency = 0.0
    sync(site, Told())
    assert bare(in_sql(site)) == expected(ground.chain)


def test_a_forked_process_that_is_killed_is_told_of(ground: Ground, postgres_url: str) -> None:
    ground.node.faults.latency = 0.25
    site = ground.site(store={"url": postgres_url})
    command = site.start("sync")
    with partly(site, command.pid, leads) as fetching:
        os.kill(fetching, signal.SIGKILL)
    done = command.end()
    assert done.code == 1
    assert re.search(r"killed by signal 9.*run `chainfold sync` again", done.complaint)
    goes_on(ground, site, fetching)


def test_a_forked_process_comes_to_the_same_as_one(ground: Ground, store_url: str) -> None:
    """It fetches from the first block on."""
    forked, alone = ground.site("forked", store={"url": store_url}), ground.site("alone")
    ground.node.faults.latency = 0.25
    command = forked.start("sync")
    with partly(forked, command.pid, leads) as fetching:
        ground.node.faults.latency = 0.0
        assert command.end().code == 0
    assert not alive(fetching)
    ground.cores(1)
    sync(alone, Told())
    assert bare(in_sql(forked)) == expected(ground.chain)
    assert digest(forked) == digest(alone)
    assert logs(forked) == logs(alone)


FORKS = """
import os
from pathlib import Path
from projections.service.config.loader import load
from projections.service.runtime.fetch_process import at_hand
from projections.service.runtime.fetch_worker import FetchTask, Span
from projections.service.runtime.wiring import planned

with planned(load(Path("chainfold.toml"))) as plan:
    with at_hand(FetchTask(plan.config, Span(), 1), plan.store) as found:
        plan.store.identity()
        assert found.is_ready()
        for pid in os.getpid(), found.pid:
            print(*(os.path.realpath(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")))
"""


def test_a_forked_process_has_nothing_open_that_its_command_has(ground: Ground) -> None:
    """Of a database that both had open, SQLite would count on locks that only the other process has."""
    said = (
        f"from projections.service.runtime import fetch_process; fetch_process.PATIENCE = {PATIENCE}; {FORKS}"
    )
    done = subprocess.run(
        [sys.executable, "-c", said], cwd=ground.site().folder, stdout=subprocess.PIPE, text=True, check=True
    )
    ours, theirs = done.stdout.splitlines()
    assert "store.db" in ours
    assert "store.db" not in theirs


def test_no_process_is_forked_from_one_with_threads(ground: Ground) -> None:
    with (
        planned(load(ground.site().folder / "chainfold.toml")) as plan,
        at_hand(FetchTask(plan.config, Span(), 1), plan.store) as found,
    ):
        assert found is None


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def test_an_interrupt_ends_both_and_gives_all_leases_back(ground: Ground) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    told = Told(interrupt)
    with planned(load(ground.site().folder / "chainfold.toml")) as plan:
        with pytest.raises(KeyboardInterrupt):
            turned(plan, told)
        assert not Path(f"/proc/{told.beside[0]}").exists()
        leases = [stage.lease.name for stage in plan.fold()]
        assert not any(Lease(plan.store, name).is_held() for name in ["ingest:31337", *leases])


def test_a_node_that_goes_down_is_told_in_the_same_words_and_what_was_fetched_is_folded(
    ground: Ground,
) -> None:
    """The error, and what is said of each try before it gives up."""
    raised, tries = [], []
    for cores in (2, 1):
        ground.cores(cores)
        told = Told(lambda: setattr(ground.node.faults, "down", True), alone=cores == 1)
        with pytest.raises(SourceUnavailable) as caught:
            sync(ground.site(f"{cores}"), told, tries=2)
        ground.node.faults.down = False
        raised.append(str(caught.value))
        tries.append(told.failures())
        assert len(told.beside) == cores - 1
        assert "p" in told.stages
    assert raised[0] == raised[1]
    assert tries[0] == tries[1] != []


def test_a_fold_that_halts_while_all_is_fetched_leaves_nothing_unfetched(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so once, in the words of one process."""
    chain = SimulatedChain(seed=5)
    grow(chain, Random(5), 300, users=50)
    chain.mine(logs=[Emission(CONTRACT, (TOPIC, b"\x01" * 32, bytes(32)), (7).to_bytes(32, "big"))])
    grow(chain, Random(6), 900, users=50)
    chain.finalize(1_000)
    ground = Ground(chain, workshop, tmp_path, monkeypatch)
    found = []
    with ground.node:
        for cores in (2, 1):
            ground.cores(cores)
            site, told = ground.site(f"{cores}"), Told()
            summary = sync(site, told)
            assert len(logs(site)) == ground.logs
            assert summary.halted == ["referrals"]
            assert len(told.beside) == cores - 1
            found.append((summary.notes, summary.events))
    assert found[0] == found[1]


@pytest.mark.parametrize(("name", "value"), [("FAR", 10_000), ("WORTH", 1e6), ("FETCHING", 2**40)])
def test_no_process_is_started_for_little_or_without_memory_for_it(
    ground: Ground, name: str, value: float
) -> None:
    ground.patch.setattr(prefetch, name, value)
    told = Told()
    sync(ground.site(), told)
    assert not told.beside


def test_without_memory_for_both_the_fold_waits_until_all_is_fetched(ground: Ground) -> None:
    ground.patch.setattr(prefetch, "PAGE", 2**40)
    site, told = ground.site(), Told()
    sync(site, told)
    assert told.beside
    assert re.fullmatch(r"i+p+", told.stages)
    assert bare(in_sql(site)) == expected(ground.chain)
