"""How many events a second go from a node to documents committed in SQL, and from the journal again.

    python -m bench.backfill --events 100000 --users 50000 --store sqlite --runs 3 --seed 1

Every step runs in a process of its own; what is shown are medians over the runs. All roads must come
to the same graph, or nothing is shown. With `--short` only the whole way and its floor are measured.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from rich.console import Console
from rich.table import Table

from bench import floor, node, ours, stores
from bench.outcome import Outcome
from bench.scenario import Scenario

RESULTS = Path(__file__).parent / "results"


class Steps(Struct, frozen=True):
    """The single steps over one store; `journal` and `documents` are bytes on disk."""

    node: Outcome
    ingest: Outcome
    fold: Outcome
    replay: Outcome
    incremental: Outcome
    rebuild: Outcome
    journal: int
    documents: int


class Run(Struct, frozen=True):
    """One run: the whole way, its floor, and the steps unless it was a short one."""

    floor: Outcome
    both: Outcome
    steps: Steps | None


class Report(Struct, frozen=True):
    """What is written down: everything measured, and on what."""

    at: datetime
    machine: str
    python: str
    store: str
    scenario: Scenario
    runs: list[Run]


def run(scenario: Scenario, uri: str | None, url: str, *, short: bool) -> Run:
    """One run. Raises `RuntimeError` where two roads disagree."""
    with stores.empty(uri) as store:
        bare = _alone(floor.backfill, url, store)
    steps = None if short else _steps(uri, url)
    with stores.empty(uri) as store:
        both = _alone(ours.both, url, store)
    both = replace(both, peak=both.peak + int(both.parts["peak beside"]))
    same = [] if steps is None else [steps.fold, steps.replay, steps.incremental, steps.rebuild]
    for outcome in (bare, both, *same):
        if (outcome.events, outcome.digest) != (scenario.events, bare.digest):
            raise RuntimeError(f"The roads do not lead to the same graph: {outcome}, {bare}.")
    return Run(bare, both, steps)


def _steps(uri: str | None, url: str) -> Steps:
    served = _alone(floor.read_only, url)
    with stores.empty(uri) as store:
        before = stores.size(store)
        ingest = _alone(ours.ingest, url, store)
        journal = stores.size(store)
        fold = _alone(ours.fold, url, store)
        documents = stores.size(store)
        replay, incremental = _alone(floor.replay, store), _alone(floor.incremental, store)
        rebuild = _alone(ours.rebuild, url, store)
    return Steps(served, ingest, fold, replay, incremental, rebuild, journal - before, documents - journal)


def table(report: Report) -> Table:
    """The medians."""
    runs, events = report.runs, report.scenario.events
    shown = Table(title=f"{events:,} registrations, {report.store}, median of {len(runs)}")
    for column in ("", "seconds", "CPU", "events/s", "of the floor", "peak MiB"):
        shown.add_column(column, justify="left" if not column else "right")

    def row(name: str, outcomes: list[Outcome], beside: list[Outcome] | None = None) -> None:
        seconds = median(item.seconds for item in outcomes)
        ratio = "" if beside is None else f"{median(item.seconds for item in beside) / seconds:.0%}"
        cpu = median(item.cpu for item in outcomes)
        peak = median(item.peak for item in outcomes) / 2**20
        shown.add_row(name, f"{seconds:.2f}", f"{cpu:.2f}", f"{events / seconds:,.0f}", ratio, f"{peak:.0f}")

    bare, both = [item.floor for item in runs], [item.both for item in runs]
    steps = [item.steps for item in runs if item.steps is not None]
    row("floor of the backfill", bare)
    if steps:
        row("node, read and thrown away", [item.node for item in steps])
        row("RPC to journal", [item.ingest for item in steps])
        row("journal to documents", [item.fold for item in steps])
    row("RPC to documents", both, bare)
    parts = ", ".join(
        f"{name} {median(item.parts[name] for item in bare) / median(item.seconds for item in bare):.0%}"
        for name in bare[0].parts
    )
    here, beside = (median(item.parts[name] for item in both) for name in ("cpu here", "cpu beside"))
    shown.caption = (
        f"RPC to documents: CPU of the folding process {here:.2f}, of the fetching process {beside:.2f}\n"
        f"floor of the backfill: {parts}"
    )
    if steps:
        shown.add_section()
        replay = [item.replay for item in steps]
        row("floor of the rebuild", replay)
        row("the same, right after each event", [item.incremental for item in steps], replay)
        row("rebuild from the journal", [item.rebuild for item in steps], replay)
        count = steps[0].fold.documents
        journal, documents = median(item.journal for item in steps), median(item.documents for item in steps)
        shown.caption += (
            f"\n{journal / events:.0f} bytes a log in the journal, "
            f"{documents / count:.0f} a document ({count:,} documents)"
        )
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.backfill", description=__doc__.splitlines()[0])
    for field in msgspec.structs.fields(Scenario):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=int, default=field.default)
    parser.add_argument("--store", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--short", action="store_true", help="only the whole way and its floor")
    parser.add_argument("--json", type=Path, help="where to write what was measured (bench/results/)")
    chosen = vars(parser.parse_args())
    store, count, path, short = (chosen.pop(name) for name in ("store", "runs", "json", "short"))
    scenario = Scenario(**chosen)
    console = Console()
    runs = []
    with node.serving(scenario) as url, stores.server(store) as uri:
        for number in range(count):
            with console.status(f"run {number + 1} of {count}"):
                runs.append(run(scenario, uri, url, short=short))
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}"
    at = datetime.now(UTC)
    report = Report(at, machine, platform.python_version(), store, scenario, runs)
    path = path or RESULTS / f"{at:%Y%m%dT%H%M%S}-{store}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    console.print(table(report))


def _alone(step: Callable[..., Outcome], *args: Any) -> Outcome:
    """The step in a fresh process: nothing is warm, and its memory is its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measured, step, *args).result()


def _measured(step: Callable[..., Outcome], *args: Any) -> Outcome:
    outcome = step(*args)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return replace(outcome, peak=peak if sys.platform == "darwin" else peak * 1024)


if __name__ == "__main__":
    main()
