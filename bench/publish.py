"""How fast documents reach a sink, beside what the sink's own driver takes from a list in memory.

    python -m bench.publish --documents 50000 --sinks mongo redis --store sqlite --runs 3 --seed 1

All floors are measured in the same run, over the same server: the documents ready made, in the sink's own
form, and nothing else to do. Each run has servers of its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from threading import Thread
from typing import get_args

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from bench import filled, raw, sinks, stores
from bench.machine import Machine, machine, written
from bench.outcome import Stopwatch
from bench.scenario import CHAIN
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from projections.projectors.referrals import Referrals
from projections.publish.publisher import Publisher
from projections.sinks import Sink


class Took(Struct, frozen=True):
    """`seconds`, and `cpu`: those that our process computed; `floor` names the line it is held against."""

    seconds: float
    cpu: float
    floor: str = ""


class Report(Struct, frozen=True):
    """What is written down: for each sink and line its runs."""

    machine: Machine
    store: str
    documents: int
    seed: int
    lines: dict[str, dict[str, list[Took]]]


def run(
    kinds: Sequence[sinks.Kind], store: Store, *, mongo: str | None = None
) -> Iterator[tuple[str, str, Took]]:
    """One run: (sink, line, what it took), each sink alone, then, where there are several, all at once."""
    documents = filled.bodies(store)
    for kind in kinds:
        with sinks.empty([kind], Referrals(), mongo=mongo) as [sink]:
            floors = raw.floors(kind, sink, documents)
            for line in floors.first:
                yield kind, line.name, _took(line.run)
            yield kind, "first publish", _took(lambda: send(store, [sink]), floors.first[-1].name)
            for line in floors.again:
                yield kind, line.name, _took(line.run)
            filled.touch(store)
            yield kind, "everything changed", _took(lambda: send(store, [sink]), floors.again[-1].name)
    if len(kinds) > 1:
        with sinks.empty(kinds, Referrals(), mongo=mongo) as several:
            yield "all at once", "first publish", _took(lambda: send(store, several))


def send(store: Store, into: Sequence[Sink]) -> None:
    """A publisher for each sink, each in a thread of its own, as the service has them; to the end."""
    failed: list[BaseException] = []

    def one(sink: Sink) -> None:
        try:
            with _publisher(store, sink) as stage:
                while not stage.step().idle:
                    pass
        except BaseException as error:  # noqa: BLE001  # raised below, in the thread that measures
            failed.append(error)

    threads = [Thread(target=one, args=[sink]) for sink in into]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


@contextmanager
def _publisher(store: Store, sink: Sink) -> Iterator[Publisher]:
    lease = Lease(store, f"publish:{filled.PROJECTION}.{sink.name}").acquire()
    try:
        yield Publisher(store, lease, sink, projection=filled.PROJECTION, chain_id=CHAIN)
    finally:
        lease.release()


def _took(work: Callable[[], None], floor: str = "") -> Took:
    with Stopwatch() as watch:
        work()
    return Took(watch.seconds, watch.cpu, floor)


def table(report: Report) -> Table:
    """The medians; "of the floor" is the median of the ratios within each run."""
    count = len(next(iter(next(iter(report.lines.values())).values())))
    made = Table(title=f"{report.documents:,} documents from {report.store}, median of {count}")
    for column in ("sink", "", "seconds", "CPU", "documents/s", "of the floor"):
        made.add_column(column, justify="left" if column in ("sink", "") else "right")
    for sink, lines in report.lines.items():
        made.add_section()
        for name, runs in lines.items():
            seconds = median(item.seconds for item in runs)
            floors = lines.get(runs[0].floor, [])
            ratios = [floor.seconds / item.seconds for floor, item in zip(floors, runs, strict=False)]
            ratio = f"{median(ratios):.0%}" if ratios else ""
            cpu = median(item.cpu for item in runs)
            rate = f"{report.documents / seconds:,.0f}"
            made.add_row(sink, name, f"{seconds:.2f}", f"{cpu:.2f}", rate, ratio)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.publish", description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=50_000)
    parser.add_argument("--store", choices=get_args(stores.Kind), default="sqlite")
    parser.add_argument("--sinks", choices=("mongo", "redis"), nargs="+", default=["mongo", "redis"])
    parser.add_argument("--mongo", help="URL of the MongoDB to take for the embedded one")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where to write what was measured (bench/results/)")
    chosen = parser.parse_args()
    console = Console(width=110)
    lines: dict[str, dict[str, list[Took]]] = {}
    with stores.server(chosen.store) as uri, stores.empty(uri) as url:
        store = Store(url)
        filled.fill(store, chosen.documents, seed=chosen.seed)
        for number in range(chosen.runs):
            with console.status(f"run {number + 1} of {chosen.runs}"):
                for sink, line, took in run(chosen.sinks, store, mongo=chosen.mongo):
                    lines.setdefault(sink, {}).setdefault(line, []).append(took)
        store.close()
    report = Report(machine(), chosen.store, chosen.documents, chosen.seed, lines)
    written(msgspec.json.encode(report), chosen.json, name=f"publish-{chosen.store}")
    console.print(table(report))


if __name__ == "__main__":
    main()
