"""Reads over HTTP, cached and not, alone and beside a backfill.

    python -m bench.http --events 60000 --rate 200 --store sqlite

Three processes: `chainfold run --only serve`, `chainfold sync`, and this one, which asks. The chain is filled
three times, each into a store of its own on the same servers: once to have something to read, once
without readers, once with readers that ask `--rate` times a second. All share the cores of the machine, so
the readers' own work counts against the backfill too.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random
from statistics import quantiles
from tempfile import TemporaryDirectory
from typing import get_args
from urllib.request import urlopen

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from bench import node, stores
from bench.machine import Machine, machine, written
from bench.scenario import CHAIN, CONTRACT, EVENT, Scenario, registrations
from projections.service.embedded.servers import EmbeddedMongo, EmbeddedRedis, free_port

CHAINFOLD = Path(sys.executable).parent / "chainfold"
CONNECTIONS = 8
ALONE = 5.0
"""Seconds for which the service is asked as fast as it answers."""

_CONFIG = """
[store]
url = "{store}"
[mongo]
url = "{mongo}"
database = "bench{place}"
[redis]
url = "{redis}"
[chains.local]
rpc = "{node}"
chain_id = {chain}
[contracts.referral]
chain = "local"
address = "{contract}"
events = ["{event}"]
[projections.referrals]
projector = "referrals"
contract = "referral"
mongo = {{ collection = "users" }}
redis = {{ key = "user{place}:{{address}}", ttl = "24h" }}
[http]
listen = "127.0.0.1:{port}"
"""


class Answers(Struct, frozen=True):
    """What came of asking for `seconds`: how many a second, milliseconds each took, and how many failed."""

    what: str
    seconds: float
    count: int
    p50: float
    p99: float
    errors: int

    @property
    def rate(self) -> float:
        return self.count / self.seconds


class Report(Struct, frozen=True):
    """`alone` and `beside` are the events a second of a backfill without and with readers."""

    machine: Machine
    store: str
    scenario: Scenario
    answers: list[Answers]
    alone: float
    beside: float


async def _asked(
    port: int, paths: Sequence[str], *, rate: float | None, over: asyncio.Event, took: list[tuple[float, int]]
) -> None:
    """One connection that asks path after path, `rate` times a second or as fast as it is answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    turn, began = 0, time.perf_counter()
    while not over.is_set():
        if rate is not None:
            await asyncio.sleep(max(0.0, began + turn / rate - time.perf_counter()))
        path = paths[turn % len(paths)]
        turn += 1
        start = time.perf_counter()
        writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        took.append((time.perf_counter() - start, int(head.split(b" ", 2)[1])))
    writer.close()


async def _load(
    what: str, port: int, paths: Sequence[str], *, rate: float | None, until: asyncio.Future[None]
) -> Answers:
    took: list[tuple[float, int]] = []
    over = asyncio.Event()
    each = None if rate is None else rate / CONNECTIONS
    began = time.perf_counter()
    asking = [
        asyncio.create_task(_asked(port, paths[start::CONNECTIONS], rate=each, over=over, took=took))
        for start in range(CONNECTIONS)
    ]
    await until
    over.set()
    await asyncio.gather(*asking)
    seconds = time.perf_counter() - began
    cuts = quantiles((1000 * one for one, _ in took), n=100)
    return Answers(what, seconds, len(took), cuts[49], cuts[98], sum(status != 200 for _, status in took))


async def measured(
    folders: Sequence[Path], port: int, scenario: Scenario, rate: float
) -> tuple[list[Answers], float, float]:
    """The answers, and the events a second of a backfill alone and of one beside readers."""
    users = list(dict.fromkeys(user for user, _ in registrations(scenario)))
    Random(scenario.seed).shuffle(users)
    cached = [f"/v1/referrals/{user}" for user in users]
    uncached = [f"{path}?full=true" for path in cached]
    mixed = [path for pair in zip(cached, uncached, strict=True) for path in pair]
    await _sync(folders[0])
    serving = await asyncio.create_subprocess_exec(
        CHAINFOLD, "run", "--only", "serve", cwd=folders[0], stdout=subprocess.DEVNULL
    )
    try:
        await asyncio.to_thread(_ready, port)
        answers = [
            await _load(what, port, paths, rate=None, until=asyncio.ensure_future(asyncio.sleep(ALONE)))
            for what, paths in (("from Redis", cached), ("from the store", uncached))
        ]
        alone = await _sync(folders[1])
        under_way = asyncio.ensure_future(_sync(folders[2]))
        waiting = asyncio.ensure_future(_done(under_way))
        answers.append(await _load("both, beside a backfill", port, mixed, rate=rate, until=waiting))
        beside = await under_way
    finally:
        serving.terminate()
        await serving.wait()
    return answers, scenario.events / alone, scenario.events / beside


async def _sync(folder: Path) -> float:
    """The seconds of a backfill to both sinks."""
    began = time.perf_counter()
    made = await asyncio.create_subprocess_exec(CHAINFOLD, "sync", cwd=folder, stdout=subprocess.DEVNULL)
    if await made.wait():
        raise RuntimeError("the backfill failed")
    return time.perf_counter() - began


async def _done(task: asyncio.Future[float]) -> None:
    await asyncio.wait([task])


def _ready(port: int) -> None:
    end = time.monotonic() + 60
    while not _answers(port):
        if time.monotonic() > end:
            raise RuntimeError("the service does not come up")
        time.sleep(0.1)


def _answers(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz") as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def table(report: Report) -> Table:
    made = Table(title=f"Reads over HTTP, {report.scenario.events:,} registrations, {report.store}")
    for column in ("reads", "a second", "p50 ms", "p99 ms", "errors"):
        made.add_column(column, justify="left" if column == "reads" else "right")
    for item in report.answers:
        made.add_row(item.what, f"{item.rate:,.0f}", f"{item.p50:.1f}", f"{item.p99:.1f}", str(item.errors))
    made.caption = (
        f"backfill to both sinks {report.alone:,.0f} events/s alone, {report.beside:,.0f} beside readers: "
        f"{report.beside / report.alone:.0%}"
    )
    return made


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.http", description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--rate", type=float, default=200.0, help="reads a second beside the backfill")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--store", choices=get_args(stores.Kind), default="sqlite")
    parser.add_argument("--json", type=Path, help="where to write what was measured (bench/results/)")
    chosen = parser.parse_args()
    scenario = Scenario(chosen.events, chosen.events // 2, seed=chosen.seed)
    port = free_port()
    with ExitStack() as stack:
        url = stack.enter_context(node.serving(scenario))
        uri = stack.enter_context(stores.server(chosen.store))
        servers = Path(stack.enter_context(TemporaryDirectory(prefix="bench")))
        mongo = stack.enter_context(EmbeddedMongo(servers / "mongo")).url
        redis = stack.enter_context(EmbeddedRedis(servers / "redis")).url
        folders = []
        for place in range(3):
            folders.append(Path(stack.enter_context(TemporaryDirectory(prefix="bench"))))
            values = {
                "place": place,
                "store": stack.enter_context(stores.empty(uri)),
                "mongo": mongo,
                "redis": redis,
                "node": url,
                "chain": CHAIN,
                "contract": CONTRACT,
                "event": EVENT,
                "port": port,
            }
            (folders[-1] / "chainfold.toml").write_text(_CONFIG.format(**values))
        found = asyncio.run(measured(folders, port, scenario, chosen.rate))
        report = Report(machine(), chosen.store, scenario, *found)
    written(msgspec.json.encode(report), chosen.json, name=f"http-{chosen.store}")
    Console(width=110).print(table(report))


if __name__ == "__main__":
    main()
