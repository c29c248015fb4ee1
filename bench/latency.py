"""From a mined block to its document in MongoDB, with the service as it runs: one registration a block.

    python -m bench.latency --blocks 200

anvil mines; `chainfold run` follows it in a process of its own, woken by a websocket or by its poll alone,
and publishes to servers of our own. A block counts from the last moment at which the node did not have it
until the referrer's document is read with the new count. Blocks come at random, after the service has
come to rest.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any, get_args

import msgspec
from msgspec import Struct
from pymongo import MongoClient
from rich.console import Console
from rich.table import Table

from bench import stores
from bench.scenario import EVENT
from eventstore.sources.rpc.heads import Heads
from projections.service.demo.chain import network
from projections.service.demo.contract import DevelopmentNode, ReferralContract
from projections.service.embedded.servers import EmbeddedMongo, EmbeddedRedis

PATIENCE = 30.0
"""Seconds after which a document that is not there is a fault, not a latency."""

REST = 0.4
"""Seconds after a document was read in which the service comes to rest."""

ROOT = "0x" + "a0" * 20
STAGES = ("ingested", "folded", "published")

_CONFIG = """
[store]
url = "{store}"
[mongo]
url = "{mongo}"
database = "bench"
[redis]
url = "{redis}"
[chains.local]
rpc = "{node}"
chain_id = 31337
poll = "{poll}"
{websocket}
[contracts.referral]
chain = "local"
address = "{contract}"
start_block = 0
events = ["{event}"]
[projections.referrals]
projector = "referrals"
contract = "referral"
mongo = {{ collection = "users" }}
redis = {{ key = "user:{{address}}" }}
"""

_LINE = re.compile(rf"\] ({'|'.join(STAGES)}) +.*stage='?(ingest|project|publish \w+\.mongo|publish)")


class Way(Struct, frozen=True):
    """How the service learns of a block."""

    name: str
    poll: float
    websocket: bool


WAYS = (Way("websocket", 2.0, True), Way("poll 500 ms", 0.5, False), Way("poll 2 s", 2.0, False))


class Sample(Struct, frozen=True):
    """Seconds from the mining of one block until each of these; a stage counts when it says so, after its
    commit, and `published` after the marker, which comes after the documents."""

    announced: float
    ingested: float
    folded: float
    readable: float
    published: float


class Measured(Struct, frozen=True):
    """What one way took, and the machine's load while it was measured."""

    way: Way
    store: str
    load: float
    samples: list[Sample]

    def of(self, part: str) -> list[float]:
        """Milliseconds."""
        return [1000 * getattr(sample, part) for sample in self.samples]


class _Moments:
    """When what was heard, by name; safe to add to from one thread each."""

    def __init__(self) -> None:
        self._heard: defaultdict[str, list[float]] = defaultdict(list)

    def hear(self, name: str) -> None:
        self._heard[name].append(time.perf_counter())

    def since(self, name: str, moment: float) -> float:
        """Seconds from `moment` until it was heard next."""
        heard = self._heard[name]
        place = bisect_left(heard, moment)
        return heard[place] - moment if place < len(heard) else float("nan")


def measure(way: Way, *, count: int, store: stores.Kind, seed: int) -> Measured:
    """`count` blocks, one after the other."""
    random, moments, mined = Random(seed), _Moments(), list[tuple[float, float]]()
    with ExitStack() as stack:
        net = stack.enter_context(network())
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench")))
        mongo = stack.enter_context(EmbeddedMongo(folder / "mongo")).url
        path = folder / "chainfold.toml"
        websocket = "ws" + net.url.removeprefix("http")
        path.write_text(
            _CONFIG.format(
                store=stack.enter_context(stores.empty(stack.enter_context(stores.server(store)))),
                mongo=mongo,
                redis=stack.enter_context(EmbeddedRedis(folder / "redis")).url,
                node=net.url,
                poll=f"{way.poll:g}s",
                websocket=f'websocket = "{websocket}"' if way.websocket else "",
                contract=net.contract,
                event=EVENT,
            )
        )
        node = DevelopmentNode(net.url)
        contract = ReferralContract(node, net.contract, node.rpc("eth_accounts")[0])
        heads = Heads(websocket, lambda: moments.hear("announced"))
        heads.start()
        stack.callback(heads.close)
        users = stack.enter_context(_collection(mongo))
        stack.enter_context(_service(path, moments))
        contract.register(_user(0), ROOT)
        _await(users, 1)
        for number in range(1, count + 1):
            time.sleep(REST + random.uniform(0, way.poll if not way.websocket else REST))
            began = _mine(contract, _user(number))
            mined.append((began, _await(users, number + 1) - began))
        time.sleep(REST)
    samples = [
        Sample(
            announced=moments.since("announced", began),
            ingested=moments.since("ingested", began),
            folded=moments.since("folded", began),
            readable=readable,
            published=moments.since("published", began),
        )
        for began, readable in mined
    ]
    return Measured(way, store, os.getloadavg()[0], samples)


def _mine(contract: ReferralContract, user: str) -> float:
    """Registers, waits for the receipt, and says when the node had none last."""
    began = time.perf_counter()
    sent = contract.register(user, ROOT)
    while True:
        asked = time.perf_counter()
        if contract.node.rpc("eth_getTransactionReceipt", sent) is not None:
            return began
        began = asked


def _await(users: Any, count: int) -> float:
    """The moment at which the document of `ROOT` is read with this count."""
    end = time.perf_counter() + PATIENCE
    while (now := time.perf_counter()) < end:
        held = users.find_one({"address": ROOT}, {"level1Count": 1})
        if held is not None and held["level1Count"] == count:
            return time.perf_counter()
        time.sleep(max(0.0, now + 0.003 - time.perf_counter()))
    raise RuntimeError(f"The document does not show {count} after {PATIENCE:g} seconds.")


@contextmanager
def _collection(url: str) -> Iterator[Any]:
    client: MongoClient[dict[str, Any]]
    with MongoClient(url) as client:
        yield client["bench"]["users"]


@contextmanager
def _service(path: Path, moments: _Moments) -> Iterator[None]:
    """`chainfold run`, whose lines are heard."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from projections.service.cli import main; main()", "-c", str(path), "run"],
        stderr=subprocess.PIPE,
        text=True,
    )
    said: list[str] = []

    def listen() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            found = _LINE.search(line)
            if found is not None and not (found[1] == "published" and "mongo" not in line):
                moments.hear(found[1])

    listener = Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield
    except RuntimeError:
        sys.stderr.writelines(said[-20:])
        raise
    finally:
        process.terminate()
        process.wait()


def _user(number: int) -> str:
    return f"0x{number + 1:040x}"


def table(found: Sequence[Measured]) -> Table:
    """Milliseconds; the parts are medians, and add up to the median only roughly."""
    made = Table(title=f"block mined to document readable in MongoDB, {found[0].store}, milliseconds")
    for name in ("", "blocks", "median", "p99", "announced", *STAGES, "load"):
        made.add_column(name, justify="left" if not name else "right")
    for one in found:
        whole = one.of("readable")
        made.add_row(
            one.way.name,
            str(len(whole)),
            f"{median(whole):.0f}",
            f"{quantiles(whole, n=100, method='inclusive')[-1]:.0f}",
            *(f"{median(one.of(part)):.0f}" for part in ("announced", *STAGES)),
            f"{one.load:.1f}",
        )
    made.caption = "all from the mining of the block on; a stage when it says so, after its commit"
    return made


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.latency", description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=200, help="by websocket; a quarter of them by polling")
    parser.add_argument("--store", choices=get_args(stores.Kind), default="sqlite")
    parser.add_argument("--ways", choices=[way.name for way in WAYS], nargs="+")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    console = Console()
    found = []
    for way in WAYS:
        if chosen.ways is None or way.name in chosen.ways:
            count = chosen.blocks if way.websocket else max(2, chosen.blocks // 4)
            with console.status(way.name):
                found.append(measure(way, count=count, store=chosen.store, seed=chosen.seed))
    Console(width=max(console.width, 110)).print(table(found))
    if chosen.json:
        chosen.json.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1))


if __name__ == "__main__":
    main()
