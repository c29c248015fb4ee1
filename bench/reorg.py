"""How long a reorg of depth d takes on a state of n documents: it must depend on what was touched, not on n.

python -m bench.reorg --documents 10000 1000000 --depths 1 10 64 --runs 5
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from eventstore.coverage import Covered
from eventstore.journal import Journal
from eventstore.lease import Lease
from eventstore.records import BlockRange, Filter, Header, Log, Watch
from eventstore.store import Store
from eventstore.tail import Tail
from projections.event import parse
from projections.fold import Projection
from projections.projectors.referrals import Referrals
from projections.publisher import Publisher
from projections.routes import bind
from projections.runner import Runner
from projections.service.migrate import migrate
from projections.sinks.memory import MemorySink

CHAIN = 1
CONTRACT = b"\x5e" * 20
EVENT = parse("ReferralRegistered(address indexed user, address indexed referrer, uint256 timestamp)")
PER_BLOCK = 20
TAIL = 70
"""Unfinalised blocks: the deepest reorg is of 64."""


class State:
    """A store with n documents below finality, an unfinalised tail above, and stages over it."""

    def __init__(self, folder: Path, documents: int) -> None:
        self._store = Store(f"sqlite:///{folder / f'{documents}.db'}")
        migrate(self._store)
        self._count = documents
        self._turn = 0
        projector = Referrals()
        routes = bind(projector, addresses=[CONTRACT], events=[EVENT], roles={}, where="bench")
        projection = Projection(
            name="referrals",
            chain_id=CHAIN,
            projector=projector,
            routes={route.kind: route for route in routes},
            watches=(Watch(Filter(CONTRACT, EVENT.topic0)),),
            fingerprint="bench",
        )
        self._runner = Runner(self._store, Lease(self._store, "project").acquire(), projection)
        self._publisher = Publisher(
            self._store,
            Lease(self._store, "publish").acquire(),
            MemorySink(),
            projection="referrals",
            chain_id=CHAIN,
        )
        self._final = documents // 1000
        for block in range(1, self._final + 1):
            users = range((block - 1) * 1000, block * 1000)
            self._append({block: [(user, user // 3) for user in users]}, final=block)
        self._append(self._tail_of(range(self._final + 1, self._final + TAIL + 1)))
        self._settle()

    def reorg(self, depth: int) -> tuple[float, float]:
        """Seconds until the documents are right again, and until the sink (in memory) is."""
        self._turn += 1
        head = self._final + TAIL
        first = head - depth + 1
        with self._store.write() as tx:
            Journal(tx, CHAIN).orphan(first)
        self._append(self._tail_of(range(first, head + 1)))
        started = time.perf_counter()
        while not self._runner.step().idle:
            pass
        folded = time.perf_counter()
        while not self._publisher.step().idle:
            pass
        return folded - started, time.perf_counter() - folded

    def close(self) -> None:
        self._store.close()

    def _settle(self) -> None:
        while not self._runner.step().idle:
            pass
        while not self._publisher.step().idle:
            pass

    def _tail_of(self, blocks: range) -> dict[int, list[tuple[int, int]]]:
        """Each block moves twenty of the first users, in every turn to another referrer."""
        return {
            block: [
                ((block * PER_BLOCK + place) % 5000, 5000 + (block * 7 + place + self._turn) % 4000)
                for place in range(PER_BLOCK)
            ]
            for block in blocks
        }

    def _append(self, blocks: dict[int, list[tuple[int, int]]], *, final: int | None = None) -> None:
        logs, headers = [], {}
        for number, pairs in blocks.items():
            mark = number.to_bytes(16, "big") + self._turn.to_bytes(16, "big")
            headers[number] = Header(number, mark, mark, number * 12)
            logs += [
                Log(
                    number,
                    index,
                    CONTRACT,
                    (EVENT.topic0, (user + 1).to_bytes(32, "big"), (referrer + 1).to_bytes(32, "big")),
                    bytes(32),
                    mark,
                    index,
                    mark,
                )
                for index, (user, referrer) in enumerate(pairs)
            ]
        last = max(blocks)
        with self._store.write() as tx:
            covered = [Covered(Filter(CONTRACT), BlockRange(0, last))]
            Journal(tx, CHAIN).append(logs, headers, covered)
            if final is not None:
                Tail(tx, CHAIN).finalize(headers[final])
            tx.execute(
                text(
                    "INSERT INTO progress VALUES (:chain, :head, 0, NULL) "
                    "ON CONFLICT (chain_id) DO UPDATE SET head = excluded.head"
                ),
                {"chain": CHAIN, "head": last},
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--documents", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--depths", type=int, nargs="+", default=[1, 10, 64])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    found: dict[int, dict[int, tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        states = {count: State(Path(folder), count) for count in chosen.documents}
        for depth in chosen.depths:
            taken: dict[int, list[tuple[float, float]]] = {count: [] for count in states}
            for _ in range(chosen.runs):
                for count, state in states.items():  # in turn, so that a busy moment meets both
                    taken[count].append(state.reorg(depth))
            found[depth] = {
                count: (
                    statistics.median(fold for fold, _ in times),
                    statistics.median(publish for _, publish in times),
                )
                for count, times in taken.items()
            }
        for state in states.values():
            state.close()
    _print(chosen.documents, found, chosen.runs)
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1))


def _print(counts: list[int], found: dict[int, dict[int, tuple[float, float]]], runs: int) -> None:
    table = Table(title=f"reorg on SQLite, milliseconds, median of {runs}")
    table.add_column("depth", justify="right")
    for count in counts:
        table.add_column(f"{count:,}: documents", justify="right")
        table.add_column("memory sink", justify="right")
    table.add_column("ratio, documents", justify="right")
    table.add_column("ratio, sink", justify="right")
    for depth, by_count in found.items():
        cells = [f"{1000 * part:.1f}" for count in counts for part in by_count[count]]
        ratios = [by_count[counts[-1]][part] / by_count[counts[0]][part] for part in (0, 1)]
        table.add_row(str(depth), *cells, *(f"{ratio:.2f}" for ratio in ratios))
    Console().print(table)


if __name__ == "__main__":
    main()
