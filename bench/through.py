"""(b), (g) From a node through to MongoDB and Redis, each stage beside its raw floor in the same run.

    python -m bench.through --events 50000 --users 25000 --store sqlite --seed 1

Stages run one after the other, each to its end, those that read a node or SQL in a process of their own; both
sinks are filled at once. "Through" is their sum, as `sync` does it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from bench import floor, node, ours, publish, sinks, stores
from bench.backfill import _alone
from bench.machine import Machine, machine, written
from bench.scenario import Scenario
from eventstore.storage.store import Store

SINKS: list[sinks.Kind] = ["mongo", "redis"]


class Stage(Struct, frozen=True):
    """What a stage took for `count` events or documents; `floor` seconds by the raw means named."""

    name: str
    count: int
    seconds: float
    raw: str = ""
    floor: float | None = None


class Report(Struct, frozen=True):
    machine: Machine
    store: str
    scenario: Scenario
    stages: list[Stage]


def run(scenario: Scenario, uri: str | None, url: str) -> list[Stage]:
    """All stages; "through" last."""
    with stores.empty(uri) as store:
        bare = _alone(floor.backfill, url, store)
    with stores.empty(uri) as address:
        ingest = _alone(ours.ingest, url, address)
        fold = _alone(ours.fold, url, address)
        replay = _alone(floor.replay, address)
        if len({bare.digest, fold.digest, replay.digest}) != 1:
            raise RuntimeError(f"The roads do not lead to the same graph: {bare}, {fold}, {replay}.")
        store = Store(address)
        lines = {(sink, line): took for sink, line, took in publish.run(SINKS, store)}
        store.close()
    events, count = scenario.events, fold.documents
    parts = bare.parts
    journal = parts["fetch"] + parts["decode"] + parts["insert"]
    found = [
        Stage("fetch and decode", events, parts["fetch"] + parts["decode"], "the floor's own"),
        Stage("insert", events, parts["insert"], "the floor's own"),
        Stage("node to journal", events, ingest.seconds, "fetch, decode, insert by the raw driver", journal),
        Stage(
            "journal to documents", events, fold.seconds, "read by the raw driver, bare fold", replay.seconds
        ),
    ]
    for sink in SINKS:
        for line in ("first publish", "everything changed"):
            took = lines[sink, line]
            bulk = lines[sink, took.floor].seconds
            found.append(Stage(f"{sink}, {line}", count, took.seconds, took.floor, bulk))
    both = lines["all at once", "first publish"].seconds
    slower = max(SINKS, key=lambda sink: lines[sink, "first publish"].seconds)
    alone = lines[slower, "first publish"].seconds
    found.append(Stage("both sinks at once", count, both, f"{slower} alone, ours", alone))
    return [*found, Stage("through", events, ingest.seconds + fold.seconds + both)]


def table(report: Report) -> Table:
    """One run; "of the floor" is the floor's time by ours."""
    made = Table(title=f"{report.scenario.events:,} registrations through to the sinks, {report.store}")
    for column in ("stage", "seconds", "a second", "floor", "its seconds", "of the floor"):
        made.add_column(column, justify="left" if column in ("stage", "floor") else "right")
    for stage in report.stages:
        beside = (
            ("", "") if stage.floor is None else (f"{stage.floor:.2f}", f"{stage.floor / stage.seconds:.0%}")
        )
        rate = f"{stage.count / stage.seconds:,.0f}"
        made.add_row(stage.name, f"{stage.seconds:.2f}", rate, stage.raw, *beside)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.through", description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--users", type=int, help="half the events")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--store", choices=get_args(stores.Kind), default="sqlite")
    parser.add_argument("--json", type=Path, help="where to write what was measured (bench/results/)")
    chosen = parser.parse_args()
    scenario = Scenario(chosen.events, chosen.users or chosen.events // 2, seed=chosen.seed)
    with node.serving(scenario) as url, stores.server(chosen.store) as uri:
        report = Report(machine(), chosen.store, scenario, run(scenario, uri, url))
    written(msgspec.json.encode(report), chosen.json, name=f"through-{chosen.store}")
    Console(width=110).print(table(report))


if __name__ == "__main__":
    main()
