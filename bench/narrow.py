"""What a build costs that needs few of the journal's logs, beside one that needs all of a small journal.

    python -m bench.narrow --events 1000 --among 1000 --store sqlite --runs 5

Two journals: one of nothing but registrations, and one where each of these is one of so many logs. The same
events are folded of both, each time in a fresh process; the seconds are medians.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import median
from typing import get_args

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from bench import rebuild, stores
from bench.machine import Machine, machine, written
from bench.rebuild import Figures, Place
from bench.scenario import Scenario


class Report(Struct, frozen=True):
    """`alone` and `among` are first builds over the two journals, a figure a run."""

    machine: Machine
    store: str
    scenario: Scenario
    share: int
    alone: list[Figures]
    among: list[Figures]


def builds(uri: str | None, scenario: Scenario, among: int, runs: int) -> list[Figures]:
    """First builds over one journal, each of a store of its own."""
    found = []
    for _ in range(runs):
        with stores.empty(uri) as store:
            place = Place(store, "redis://127.0.0.1:9")
            rebuild.alone(rebuild.fill, place, scenario, among)
            found.append(rebuild.alone(only_build, place)[0])
    return found


def only_build(place: Place) -> list[Figures]:
    """The first build, nothing sent."""
    with rebuild.planned(place, rebuild.OLD) as plan:
        return rebuild.built(plan.fold()[0], "first build")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.narrow", description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000)
    parser.add_argument("--among", type=int, default=1_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--store", choices=get_args(stores.Kind), default="sqlite")
    parser.add_argument("--json", type=Path, help="where to write what was measured (bench/results/)")
    chosen = parser.parse_args()
    scenario = Scenario(events=chosen.events, users=max(1, chosen.events // 2))
    with stores.server(chosen.store) as uri:
        few = builds(uri, scenario, 1, chosen.runs)
        many = builds(uri, scenario, chosen.among, chosen.runs)
    report = Report(machine(), chosen.store, scenario, chosen.among, few, many)
    written(msgspec.json.encode(report), chosen.json, name=f"narrow-{chosen.store}")
    shown = Table(title=f"{chosen.events:,} events, {chosen.store}, median of {chosen.runs}")
    for column in ("logs in the journal", "seconds", "CPU"):
        shown.add_column(column, justify="right")
    for logs, figures in ((chosen.events, few), (chosen.events * chosen.among, many)):
        seconds, cpu = median(item.seconds for item in figures), median(item.cpu for item in figures)
        shown.add_row(f"{logs:,}", f"{seconds:.3f}", f"{cpu:.3f}")
    Console(width=100).print(shown)


if __name__ == "__main__":
    main()
