"""What a node that is far away costs a backfill, and whether memory grows with the length of history.

    python -m bench.flight --events 100000
    python -m bench.flight --memory

The node holds every answer back for some milliseconds, each request by itself: who asks for one thing after
the other waits for all of them, who has several requests in flight for few. Once ranges are as wide as one
likes, once of 2,000 blocks at most, as public nodes have it. Every step runs in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import get_args

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from rich.console import Console
from rich.table import Table

from bench import node, ours, stores
from bench.outcome import Outcome
from bench.scenario import Scenario

CAPS = (None, 2_000)
SIZES = (100_000, 1_000_000)


class Flight(Struct, frozen=True):
    """Backfills from a node of this latency (milliseconds) and cap (blocks), in the order they were made."""

    latency: float
    cap: int | None
    ingest: list[Outcome]
    fold: list[Outcome]

    @property
    def journal(self) -> float:
        """Seconds until all is in the journal."""
        return median(item.seconds for item in self.ingest)

    @property
    def documents(self) -> float:
        """Seconds until all documents are committed, one step after the other."""
        return median(a.seconds + b.seconds for a, b in zip(self.ingest, self.fold, strict=True))


class Peak(Struct, frozen=True):
    """The largest resident set, in bytes, of a process that only fetched, and of one that also folded."""

    events: int
    ingest: int
    both: int


class Report(Struct, frozen=True):
    """Everything measured; `load` is the machine's at the end."""

    store: str
    scenario: Scenario
    load: float
    flights: list[Flight] = []
    peaks: list[Peak] = []


def fly(
    scenario: Scenario, latencies: Sequence[float], caps: Sequence[int | None], uri: str | None, runs: int
) -> list[Flight]:
    """The latencies in turn: a busy moment meets them all."""
    found = []
    for cap in caps:
        with ExitStack() as stack:
            flights = [Flight(latency, cap, [], []) for latency in latencies]
            urls = [
                stack.enter_context(node.serving(scenario, latency=latency / 1000, cap=cap))
                for latency in latencies
            ]
            for _ in range(runs):
                for flight, url in zip(flights, urls, strict=True):
                    with stores.empty(uri) as store:
                        flight.ingest.append(_whole(_alone(ours.ingest, url, store), scenario))
                        flight.fold.append(_whole(_alone(ours.fold, url, store), scenario))
        found += flights
    return found


def grow(scenario: Scenario, uri: str | None) -> Peak:
    """What one size needs."""
    with node.serving(scenario) as url, stores.empty(uri) as store:
        ingest = _whole(_alone(ours.ingest, url, store), scenario)
    with node.serving(scenario) as url, stores.empty(uri) as store:
        both = _whole(_alone(_both, url, store), scenario)
    return Peak(scenario.events, ingest.peak, both.peak)


def _both(url: str, store: str) -> Outcome:
    ours.ingest(url, store)
    return ours.fold(url, store)


def _whole(outcome: Outcome, scenario: Scenario) -> Outcome:
    if outcome.events != scenario.events:
        raise RuntimeError(f"{scenario.events} events were to be stored: {outcome}.")
    return outcome


def _alone(step: Callable[[str, str], Outcome], url: str, store: str) -> Outcome:
    """The step in a fresh process: nothing is warm, and its memory is its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measured, step, url, store).result()


def _measured(step: Callable[[str, str], Outcome], url: str, store: str) -> Outcome:
    return replace(step(url, store), peak=_peak())


def _peak() -> int:
    """Of this program: what `getrusage` says on Linux counts what its parent was before it began."""
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def shown(report: Report) -> Table:
    """The rate of each latency beside that of the first."""
    made = Table(title=f"{report.scenario.events:,} registrations, {report.store}, load {report.load:.1f}")
    for name in ("ranges", "latency", "journal s", "rate kept", "documents s", "rate kept"):
        made.add_column(name, justify="left" if name == "ranges" else "right")
    for flight in report.flights:
        first = next(item for item in report.flights if item.cap == flight.cap)
        made.add_row(
            "any" if flight.cap is None else f"{flight.cap:,} blocks",
            f"{flight.latency:g} ms",
            f"{flight.journal:.2f}",
            f"{first.journal / flight.journal:.0%}",
            f"{flight.documents:.2f}",
            f"{first.documents / flight.documents:.0%}",
        )
    return made


def peaks(report: Report) -> Table:
    """Mebibytes, and how much more the largest needs than the smallest."""
    made = Table(title=f"peak of resident memory, {report.store}")
    made.add_column("")
    for peak in report.peaks:
        made.add_column(f"{peak.events:,} logs", justify="right")
    made.add_column("ratio", justify="right")
    for name in ("ingest", "both"):
        sizes = [getattr(peak, name) for peak in report.peaks]
        label = {"ingest": "fetched", "both": "fetched and folded"}[name]
        made.add_row(label, *(f"{size / 2**20:.0f} MiB" for size in sizes), f"{sizes[-1] / sizes[0]:.2f}")
    return made


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.flight", description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--per-block", type=int, default=Scenario().per_block)
    parser.add_argument("--latency", type=float, nargs="+", default=[0.0, 20.0], help="milliseconds")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--memory", action="store_true", help=f"peaks at {SIZES[0]:,} and {SIZES[1]:,} logs")
    parser.add_argument("--store", choices=get_args(stores.Kind), default="sqlite")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()

    def scenario(events: int) -> Scenario:
        return Scenario(events=events, users=events // 2, per_block=chosen.per_block)

    console = Console()
    report = Report(chosen.store, scenario(chosen.events), 0.0)
    with stores.server(chosen.store) as uri, console.status("backfills"):
        if chosen.memory:
            report = replace(report, peaks=[grow(scenario(events), uri) for events in SIZES])
        else:
            flights = fly(report.scenario, chosen.latency, CAPS, uri, chosen.runs)
            report = replace(report, flights=flights)
    report = replace(report, load=os.getloadavg()[0])
    Console(width=max(console.width, 100)).print(peaks(report) if chosen.memory else shown(report))
    if chosen.json:
        chosen.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))


if __name__ == "__main__":
    main()
