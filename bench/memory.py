"""(f) How much memory each stage takes at its peak, over the number of events or documents.

    python -m bench.memory --sizes 50000 500000 --store sqlite --seed 1

Each stage runs in a process of its own; servers and nodes are others and do not count. There are half as many
users as events; a publish sends as many documents as the size says.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from bench import filled, node, ours, publish, sinks, stores
from bench.backfill import _alone
from bench.machine import Machine, machine, written
from bench.outcome import Outcome, Stopwatch
from bench.scenario import Scenario
from eventstore.storage.store import Store
from projections.projectors.referrals import Referrals


class Report(Struct, frozen=True):
    """Peaks in bytes: stage -> size -> the largest resident set of its process."""

    machine: Machine
    store: str
    seed: int
    peaks: dict[str, dict[int, int]]


def fill(url: str, count: int, seed: int) -> Outcome:
    """Documents that wait to be sent."""
    store = Store(url)
    with Stopwatch() as watch:
        filled.fill(store, count, seed=seed)
    store.close()
    return Outcome(watch.seconds, watch.cpu, 0, count)


def send(url: str) -> Outcome:
    """All of them into a Redis."""
    store = Store(url)
    with sinks.empty(["redis"], Referrals()) as made, Stopwatch() as watch:
        publish.send(store, made)
    store.close()
    return Outcome(watch.seconds, watch.cpu, 0)


def measure(size: int, uri: str | None, *, seed: int) -> dict[str, int]:
    """The peak of each stage at one size."""
    with node.serving(Scenario(size, size // 2, seed=seed)) as url, stores.empty(uri) as store:
        found = {"node to journal": _alone(ours.ingest, url, store).peak}
        found["journal to documents"] = _alone(ours.fold, url, store).peak
    with stores.empty(uri) as store:
        _alone(fill, store, size, seed)
        found["documents to redis"] = _alone(send, store).peak
    return found


def table(report: Report) -> Table:
    """MiB; the ratio is the last size's to the first's."""
    sizes = list(next(iter(report.peaks.values())))
    made = Table(title=f"peak of resident memory, MiB, {report.store}")
    for column in ("stage", *(f"{size:,}" for size in sizes), "ratio"):
        made.add_column(column, justify="left" if column == "stage" else "right")
    for stage, peaks in report.peaks.items():
        ratio = f"{peaks[sizes[-1]] / peaks[sizes[0]]:.2f}"
        made.add_row(stage, *(f"{peaks[size] / 2**20:.0f}" for size in sizes), ratio)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[50_000, 500_000])
    parser.add_argument("--store", choices=get_args(stores.Kind), default="sqlite")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where to write what was measured (bench/results/)")
    chosen = parser.parse_args()
    peaks: dict[str, dict[int, int]] = {}
    with stores.server(chosen.store) as uri:
        for size in chosen.sizes:
            for stage, peak in measure(size, uri, seed=chosen.seed).items():
                peaks.setdefault(stage, {})[size] = peak
    report = Report(machine(), chosen.store, chosen.seed, peaks)
    written(msgspec.json.encode(report), chosen.json, name=f"memory-{chosen.store}")
    Console(width=110).print(table(report))


if __name__ == "__main__":
    main()
