"""How fast the history is proved, in blocks a second: by bloom alone, and by receipts.

    python -m bench.proof --blocks 5000 --store sqlite

A sealed chain is served over loopback HTTP by a process of its own. In `quiet` blocks others emit, so that
the bloom is asked; in `busy` ones half of the receipts are ours. `arithmetic` is what hashing takes without
node and store.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from bench import stores
from bench.outcome import Stopwatch
from eventstore.ingest.ingestor import Ingestor
from eventstore.proof import header, receipt
from eventstore.proof.prover import Prover
from eventstore.records import Filter, Watch
from eventstore.sources.rpc.source import RpcSource
from eventstore.sources.simulated.chain import Emission, SimulatedChain
from eventstore.sources.simulated.node import SimulatedNode
from eventstore.sources.simulated.seal import seal
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store

RESULTS = Path("bench/results")
CHAIN = 31_337
OURS, OTHERS = bytes([0xA1]) * 20, bytes([0xB0]) * 20
TOPICS = (bytes([0x70]) * 32, bytes([0x01]) * 32, bytes([0x02]) * 32)


class Figures(Struct, frozen=True):
    """How fast one kind of block was proved: medians over the runs."""

    name: str
    blocks: int
    receipts: int
    seconds: float
    cpu: float

    @property
    def rate(self) -> float:
        return self.blocks / self.seconds


def chain_of(blocks: int, receipts: int, *, busy: bool) -> SimulatedChain:
    """Sealed blocks of so many receipts each, half of them with a log of ours where it is `busy`."""
    chain = SimulatedChain(chain_id=CHAIN, sealed=True)
    for _ in range(blocks):
        chain.mine(
            logs=[
                Emission(OURS if busy and place % 2 else OTHERS, TOPICS, bytes(64))
                for place in range(receipts)
            ]
        )
    chain.finalize(blocks)
    return chain


def serve(pipe: Connection, blocks: int, receipts: int, busy: bool) -> None:
    with SimulatedNode(chain_of(blocks, receipts, busy=busy)) as node:
        pipe.send(node.url)
        pipe.recv()


@contextmanager
def node_of(blocks: int, receipts: int, *, busy: bool) -> Iterator[str]:
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=serve, args=(theirs, blocks, receipts, busy))
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send(None)
        process.join()


def prove(url: str, store_url: str, blocks: int) -> Stopwatch:
    """Ingests the chain, then proves all of it; only that is timed."""
    store, source = Store(store_url), RpcSource(url)
    watches = [Watch(Filter(OURS))]
    ingestor = Ingestor(
        store, source, Lease(store, f"ingest:{CHAIN}").acquire(), chain_id=CHAIN, watches=watches
    )
    ingestor.open()
    while not ingestor.step().idle:
        pass
    ingestor.close()
    lease = Lease(store, f"prove:{CHAIN}").acquire()
    prover = Prover(store, source, lease, chain="bench", chain_id=CHAIN, watches=watches)
    proven = 0
    with Stopwatch() as watch:
        while not (done := prover.step()).idle:
            proven += done.proven
    prover.close()
    source.close()
    store.close()
    if proven != blocks + 1:
        raise RuntimeError(f"{proven} of {blocks + 1} blocks were proven.")
    return watch


def arithmetic(receipts: int, runs: int) -> Figures:
    """Header hash and receipts root of one block, again and again."""
    logs = chain_of(1, receipts, busy=True).logs_in(1, 1)
    made = seal(1, bytes(32), 12, logs, salt=b"")
    told, times = list(made.receipts.values()), []
    for _ in range(max(runs, 5)):
        with Stopwatch() as watch:
            for _ in range(50):
                assert header.hash_of(made.fields) == made.hash
                receipt.root(told)
        times.append(watch)
    return Figures("arithmetic", 50, receipts, median(w.seconds for w in times), median(w.cpu for w in times))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--blocks", type=int, default=3_000)
    parser.add_argument("--receipts", type=int, default=100, help="in each block")
    parser.add_argument("--store", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, default=RESULTS / "proof.json")
    options = parser.parse_args()
    found = [arithmetic(options.receipts, options.runs)]
    with ExitStack() as stack:
        uri = stack.enter_context(stores.server(options.store))
        for name, receipts, busy in (("quiet", 1, False), ("busy", options.receipts, True)):
            url = stack.enter_context(node_of(options.blocks, receipts, busy=busy))
            times = []
            for _ in range(options.runs):
                with stores.empty(uri) as store_url:
                    times.append(prove(url, store_url, options.blocks))
            seconds, cpu = median(w.seconds for w in times), median(w.cpu for w in times)
            found.append(Figures(name, options.blocks, receipts, seconds, cpu))
    table = Table("blocks", "receipts in each", "blocks a second", "computed by us, ms a block", box=None)
    for item in found:
        table.add_row(
            item.name, f"{item.receipts:,}", f"{item.rate:,.0f}", f"{1000 * item.cpu / item.blocks:.2f}"
        )
    Console().print(table)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
