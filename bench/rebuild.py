"""What a rebuild costs that no node takes part in: the fold, the comparison, the promotion, and the way back.

    python -m bench.rebuild --events 1000000 --users 500000 --store sqlite

The journal is written straight into the store; the configured node is a port without a listener. The
old code builds what is served and published to a Redis of our own; the new code (`bench/renewed.py`)
differs for one user in 256. Every step runs in a process of its own.
"""

from __future__ import annotations

import argparse
import resource
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from bench import floor, stores
from bench.outcome import Stopwatch
from bench.scenario import CHAIN, CONTRACT, EVENT, TOPIC0, UNFINALISED, Scenario, registrations
from eventstore.journal.coverage import Covered
from eventstore.journal.journal import Journal
from eventstore.journal.tail import Tail
from eventstore.records import BlockRange, Filter, Header, Log
from eventstore.storage.store import Store
from projections.fold.generation import Generations
from projections.service.config.loader import load
from projections.service.embedded.servers import EmbeddedRedis
from projections.service.runtime.leases import held
from projections.service.runtime.stages import FoldStage
from projections.service.runtime.wiring import Plan

OLD, NEW = "referrals", "bench.renewed:Renewed"

OTHER = b"\x0f" * 20
"""A contract whose logs no projection wants."""

_CONFIG = """
[store]
url = "{store}"
[redis]
url = "{redis}"
[chains.away]
rpc = "http://127.0.0.1:9"
chain_id = {chain}
[contracts.referral]
chain = "away"
address = "{contract}"
start_block = 1
events = ["{event}"]
[projections.referrals]
projector = "{projector}"
contract = "referral"
redis = {{ key = "user:{{address}}" }}
[fold]
memory = "{memory}"
"""


class Place(Struct, frozen=True):
    """Where everything is: URLs of the store and of Redis."""

    store: str
    redis: str
    memory: str = "512MB"


class Figures(Struct, frozen=True):
    """What one step took: `seconds`, and `cpu`: those that our process computed, for `count` of `unit`.

    `peak` is the largest resident set of its process, in bytes.
    """

    name: str
    seconds: float
    cpu: float
    count: int
    unit: str
    peak: int = 0


def fill(place: Place, scenario: Scenario, among: int = 1) -> list[Figures]:
    """Registrations into the journal, all final but the last few blocks: 20 logs a block; each
    `among`-th is one."""
    store = Store(place.store)
    drawn, head, per_append = registrations(scenario), 0, max(1, 1_000 * scenario.per_block // among)
    with Stopwatch() as watch:
        while pairs := list(islice(drawn, per_append)):
            head = _append(store, pairs, head + 1, per_block=scenario.per_block, among=among)
    with store.write() as tx:
        row = {"chain": CHAIN, "head": head}
        tx.execute(text("INSERT INTO progress VALUES (:chain, :head, 0, NULL)"), row)
    store.close()
    return [Figures("journal written", watch.seconds, watch.cpu, scenario.events, "events")]


def _append(store: Store, pairs: list[tuple[str, str]], first: int, *, per_block: int, among: int) -> int:
    """One entry of whole blocks from `first` on; the number of the last."""
    address, topic = bytes.fromhex(CONTRACT[2:]), bytes.fromhex(TOPIC0[2:])
    logs, headers = [], {}
    for place in range(len(pairs) * among):
        number, index = first + place // per_block, place % per_block
        own, parent = (sha256(b"block %d" % height).digest() for height in (number, number - 1))
        headers[number] = Header(number, own, parent, number * 12)
        of, named = OTHER, tuple[bytes, ...]()
        if place % among == 0:
            of, named = address, tuple(bytes(12) + bytes.fromhex(who[2:]) for who in pairs[place // among])
        data = (1_700_000_000 + number).to_bytes(32, "big")
        tx_hash = sha256(b"transaction %d %d" % (number, index)).digest()
        logs.append(Log(number, index, of, (topic, *named), data, tx_hash, index, own))
    head = max(headers)
    with store.write() as tx:
        Journal(tx, CHAIN).append(logs, headers, [Covered(Filter(address), BlockRange(0, head))])
        Tail(tx, CHAIN).finalize(headers[max(head - UNFINALISED, first)])
    return head


def bare(place: Place) -> list[Figures]:
    """What anybody must do to have this graph in memory: counted at the end, and right after each event."""
    once, always = floor.replay(place.store), floor.incremental(place.store)
    if once.digest != always.digest:
        raise RuntimeError("The two floors do not lead to the same graph.")
    return [
        Figures("floor, counted at the end", once.seconds, once.cpu, once.events, "events"),
        Figures("floor, right after each event", always.seconds, always.cpu, always.events, "events"),
    ]


def first(place: Place) -> list[Figures]:
    """What the old code builds, and all of it sent."""
    with planned(place, OLD) as plan:
        return [*built(plan.fold()[0], "first build"), _sent(plan, "everything sent")]


def renew(place: Place) -> list[Figures]:
    """The new code's rebuild: folded, compared, promoted, sent."""
    with planned(place, NEW) as plan:
        stage = plan.fold()[0]
        with held([stage.lease]):
            stage.operations.rebuild(promote=False)
        return [
            *built(stage, "rebuild"),
            _compared(plan, "compared, all"),
            _promoted(stage, stage.operations.rebuild, "promotion"),
            _compared(plan, "compared after"),
            _sent(plan, "sent after"),
        ]


def back(place: Place) -> list[Figures]:
    """The old code's generation is taken up again, and replaces what the new code built."""
    with planned(place, OLD) as plan:
        stage = plan.fold()[0]
        return [
            _promoted(stage, stage.operations.back, "promotion back"),
            _compared(plan, "compared after"),
            _sent(plan, "sent after"),
        ]


def built(stage: FoldStage, name: str) -> list[Figures]:
    """Steps to the end: the fold in one figure, the promotion, where there is one, in the other."""
    seconds = cpu = 0.0
    events = 0
    found: list[Figures] = []
    with held([stage.lease]):
        while True:
            with Stopwatch() as watch:
                done = stage.step()
            if done.error is not None:
                raise RuntimeError(done.error)
            if done.promoted is not None:
                count = done.promoted.differing
                found = [Figures("its promotion", watch.seconds, watch.cpu, count, "differ")]
                continue
            seconds, cpu, events = seconds + watch.seconds, cpu + watch.cpu, events + done.events
            if done.idle:
                return [Figures(name, seconds, cpu, events, "events"), *found]


def _promoted(stage: FoldStage, ask: Callable[[], object], name: str) -> Figures:
    """From the request to the promotion, all folding included."""
    with held([stage.lease]), Stopwatch() as watch:
        ask()
        while (done := stage.step()).promoted is None:
            if done.idle:
                raise RuntimeError(f"Nothing was promoted: {done}.")
    return Figures(name, watch.seconds, watch.cpu, done.promoted.differing, "differ")


def _compared(plan: Plan, name: str) -> Figures:
    """What differs between what is served and what waits, or what was replaced last."""
    with plan.store.read() as tx, Stopwatch() as watch:
        generations = Generations(tx, OLD)
        served, waits = generations.served(), generations.building()
        replaced = tx.execute(text("SELECT id FROM generations WHERE state = 'retired'")).scalar()
        other = waits if waits is not None else generations.get(int(replaced or 0))
        if served is None or other is None:
            raise RuntimeError("There are no two generations to compare.")
        pair = (served, other) if waits is not None else (other, served)
        found = generations.compare(*pair)
    differing = found.different + found.only_old + found.only_new
    return Figures(name, watch.seconds, watch.cpu, differing, "differ")


def _sent(plan: Plan, name: str) -> Figures:
    """All that has to be sent; `count` is what Redis took."""
    stage, written = plan.publish()[0], 0
    with held([stage.lease]), Stopwatch() as watch:
        stage.open()
        while not (done := stage.step()).idle:
            written += done.written
    stage.close()
    return Figures(name, watch.seconds, watch.cpu, written, "documents")


@contextmanager
def planned(place: Place, projector: str) -> Iterator[Plan]:
    with TemporaryDirectory(prefix="bench") as folder:
        path = Path(folder) / "chainfold.toml"
        path.write_text(
            _CONFIG.format(
                store=place.store,
                redis=place.redis,
                chain=CHAIN,
                contract=CONTRACT,
                event=EVENT,
                projector=projector,
                memory=place.memory,
            ),
            encoding="utf-8",
        )
        plan = Plan(load(path))
        try:
            yield plan
        finally:
            plan.close()


def alone(step: Callable[..., list[Figures]], *args: object) -> list[Figures]:
    """The step in a fresh process: nothing is warm, and its memory is its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measured, step, *args).result()


def _measured(step: Callable[..., list[Figures]], *args: object) -> list[Figures]:
    found = step(*args)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak = peak if sys.platform == "darwin" else peak * 1024
    return [msgspec.structs.replace(item, peak=peak) for item in found]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.rebuild", description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, help="half the events")
    parser.add_argument("--store", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--memory", default="512MB", help="what the process of each step may take")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    scenario = Scenario(events=chosen.events, users=chosen.users or chosen.events // 2)
    console = Console()
    found: list[Figures] = []
    with (
        TemporaryDirectory(prefix="bench") as folder,
        EmbeddedRedis(Path(folder) / "redis") as redis,
        stores.server(chosen.store) as uri,
        stores.empty(uri) as store,
    ):
        place = Place(store, redis.url, chosen.memory)
        for step, *more in ((fill, scenario), (first,), (bare,), (renew,), (back,)):
            with console.status(step.__name__):
                found += alone(step, place, *more)
    shown = Table(title=f"{scenario.events:,} registrations, {scenario.users:,} users, {chosen.store}")
    for column in ("", "seconds", "CPU", "count", "", "a second", "peak MiB"):
        shown.add_column(column, justify="right" if column else "left")
    for item in found:
        rate = f"{item.count / item.seconds:,.0f}" if item.unit != "differ" else ""
        times = (f"{item.seconds:.2f}", f"{item.cpu:.2f}")
        shown.add_row(item.name, *times, f"{item.count:,}", item.unit, rate, f"{item.peak / 2**20:.0f}")
    Console(width=max(console.width, 100)).print(shown)
    if chosen.json:
        chosen.json.write_bytes(msgspec.json.format(msgspec.json.encode(found)))


if __name__ == "__main__":
    main()
