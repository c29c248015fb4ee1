"""What a backup costs, and a restore: from one database to another, until the documents are the same again.

    python -m bench.backup --logs 1000000 --source sqlite --target postgresql

The journal is written straight into the store and folded; then it is backed up, looked at, and restored into
an empty store of the other kind, which folds it without a node. All digests must be equal.
Every step runs in a process of its own.
"""

from __future__ import annotations

import argparse
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from bench import rebuild, stores
from bench.outcome import Stopwatch
from bench.scenario import Scenario
from eventstore.backup import restoration
from eventstore.storage.store import Store
from projections.fold.generation import Generations
from projections.service.runtime.backup import backup, restore

RESULTS = Path("bench/results")


class Figures(Struct, frozen=True):
    """What one step took, for how many logs; `cpu` is our own process, `peak` its resident set in bytes.

    `bytes` are those of what it made; `digests` what must be equal between steps, by name.
    """

    name: str
    seconds: float
    cpu: float
    logs: int
    bytes: int = 0
    digests: dict[str, str] = {}
    peak: int = 0


def fill(url: str, scenario: Scenario) -> Figures:
    [done] = rebuild.fill(rebuild.Place(url, ""), scenario)
    return Figures("journal written", done.seconds, done.cpu, scenario.events, stores.size(url))


def fold(url: str, scenario: Scenario, *, name: str) -> Figures:
    """All of the journal into documents, without a node."""
    with rebuild.planned(rebuild.Place(url, ""), rebuild.OLD) as plan:
        done = rebuild.built(plan.fold()[0], name)[0]
        with plan.store.read() as tx:
            served = Generations(tx, rebuild.OLD).served()
        assert served is not None
        digests = {"documents": served.digest.hex(), "count": str(served.documents)}
    return Figures(name, done.seconds, done.cpu, scenario.events, digests=digests)


def take(url: str, directory: Path, *, name: str) -> Figures:
    store = Store(url)
    with Stopwatch() as watch:
        done = backup(store, directory)
    store.close()
    digests = {"journal": done.chains[0].digest}
    return Figures(name, watch.seconds, watch.cpu, done.logs, done.bytes, digests)


def look(directory: Path) -> Figures:
    with Stopwatch() as watch:
        done = restoration.check(directory)
    return Figures(
        "restore --check", watch.seconds, watch.cpu, done.logs, digests={"journal": done.chains[0].digest}
    )


def put(url: str, directory: Path) -> Figures:
    store = Store(url)
    with Stopwatch() as watch:
        done = restore(store, directory)
    store.close()
    digests = {"journal": done.chains[0].digest}
    return Figures("restore", watch.seconds, watch.cpu, done.logs, stores.size(url), digests)


def _alone(step: Callable[..., Figures], *args: object, **named: object) -> Figures:
    """The step in a fresh process: nothing is warm, and its memory is its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measured, step, args, named).result()


def _measured(step: Callable[..., Figures], args: tuple[object, ...], named: dict[str, object]) -> Figures:
    found = step(*args, **named)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return msgspec.structs.replace(found, peak=peak if sys.platform == "darwin" else peak * 1024)


def run(scenario: Scenario, source: stores.Kind, target: stores.Kind, console: Console) -> list[Figures]:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="bench"))) / "kept"
        servers = {kind: stack.enter_context(stores.server(kind)) for kind in {source, target}}
        one, other = (stack.enter_context(stores.empty(servers[kind])) for kind in (source, target))
        found = []
        steps: list[Callable[[], Figures]] = [
            lambda: _alone(fill, one, scenario),
            lambda: _alone(fold, one, scenario, name="folded there"),
            lambda: _alone(take, one, directory, name="backup"),
            lambda: _alone(take, one, directory, name="backup, nothing new"),
            lambda: _alone(look, directory),
            lambda: _alone(put, other, directory),
            lambda: _alone(fold, other, scenario, name="folded here"),
        ]
        for step in steps:
            with console.status(f"after {found[-1].name}" if found else "journal"):
                found.append(step())
        return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.backup", description=__doc__.splitlines()[0])
    parser.add_argument("--logs", type=int, default=1_000_000)
    parser.add_argument("--source", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--target", choices=["sqlite", "postgresql"], default="postgresql")
    chosen = parser.parse_args()
    console = Console()
    scenario = Scenario(events=chosen.logs, users=chosen.logs // 2)
    found = run(scenario, chosen.source, chosen.target, console)
    shown = Table(title=f"{chosen.logs:,} logs, {chosen.source} to {chosen.target}")
    for column in ("", "seconds", "CPU", "logs a second", "bytes a log", "peak MiB"):
        shown.add_column(column, justify="right" if column else "left")
    for item in found:
        rate = f"{item.logs / item.seconds:,.0f}" if item.logs else ""
        size = f"{item.bytes / chosen.logs:,.1f}" if item.bytes else ""
        times = (f"{item.seconds:.2f}", f"{item.cpu:.2f}")
        shown.add_row(item.name, *times, rate, size, f"{item.peak / 2**20:.0f}")
    Console(width=max(console.width, 100)).print(shown)
    equal = True
    for name in ("journal", "documents", "count"):
        digests = [item.digests[name] for item in found if name in item.digests]
        same = len(set(digests)) == 1
        equal &= same
        console.print(f"{name}: {digests[0]}, {'equal' if same else 'NOT EQUAL'} {len(digests)} times")
    RESULTS.mkdir(exist_ok=True)
    result = RESULTS / f"backup-{chosen.source}-{chosen.target}-{chosen.logs}.json"
    result.write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    if not equal:
        sys.exit(3)


if __name__ == "__main__":
    main()
