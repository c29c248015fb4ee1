"""How long a reorg of depth d takes on a state of n documents: it must depend on what was touched, not on n.

python -m bench.reorg --documents 10000 1000000 --depths 1 10 64 --runs 5 --store sqlite

Each size has a store and servers of its own. The first publish of a million documents into the embedded
MongoDB-compatible server takes minutes: `--mongo URL` takes a server of yours instead, `--sinks memory` none.
With `--floors` the documents that changed are also sent by each sink's own driver, ready made, to the same
server: "raw".
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import get_args

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from bench import raw, sinks, stores
from eventstore.journal.coverage import Covered
from eventstore.journal.journal import Journal
from eventstore.journal.tail import Tail
from eventstore.records import BlockRange, Filter, Header, Log, Watch
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from projections.decoding.event import parse
from projections.fold.changes import Changes
from projections.fold.fold import Projection
from projections.fold.generation import Generations
from projections.fold.runner import Runner
from projections.projectors.referrals import Referrals
from projections.publish.publisher import Publisher
from projections.routing.routes import bind
from projections.sinks import Sink
from projections.sinks.memory import MemorySink

CHAIN = 1
CONTRACT = b"\x5e" * 20
EVENT = parse("ReferralRegistered(address indexed user, address indexed referrer, uint256 timestamp)")
PER_BLOCK = 20
TAIL = 70
"""Unfinalised blocks: the deepest reorg is of 64."""


class Taken(Struct, frozen=True):
    """Seconds until the documents were right again, then until each sink was; and how many changed."""

    changed: int
    documents: float
    sinks: dict[str, float]

    @property
    def parts(self) -> dict[str, float]:
        return {"documents": self.documents, **self.sinks}


class Measured(Struct, frozen=True):
    """All reorgs of one depth on one state."""

    store: str
    documents: int
    depth: int
    runs: list[Taken]

    @property
    def medians(self) -> dict[str, float]:
        return {part: statistics.median(run.parts[part] for run in self.runs) for part in self.runs[0].parts}


class State:
    """A store with n documents below finality, an unfinalised tail above, and stages over it."""

    def __init__(self, url: str, into: Sequence[Sink], documents: int, *, floors: bool) -> None:
        self._store = Store(url)
        self._raw = [sink for sink in into if floors and not isinstance(sink, MemorySink)]
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
        self._publishers = [
            Publisher(
                self._store,
                Lease(self._store, f"publish:{sink.name}").acquire(),
                sink,
                projection="referrals",
                chain_id=CHAIN,
            )
            for sink in into
        ]
        self._final = documents // 1000
        for block in range(1, self._final + 1):
            users = range((block - 1) * 1000, block * 1000)
            self._append({block: [(user, user // 3) for user in users]}, final=block)
        self._append(self._tail_of(range(self._final + 1, self._final + TAIL + 1)))
        self.first = self._settle()
        """What the first build and the first publish took."""
        self._send_raw(0)

    def reorg(self, depth: int) -> Taken:
        """Replaces the last blocks by as many others, and waits for all stages."""
        self._turn += 1
        head = self._final + TAIL
        first = head - depth + 1
        with self._store.read() as tx:
            served = Generations(tx, "referrals").served()
            assert served is not None
        with self._store.write() as tx:
            Journal(tx, CHAIN).orphan(first)
        self._append(self._tail_of(range(first, head + 1)))
        taken = self._settle()
        return replace(taken, sinks=taken.sinks | self._send_raw(served.revision))

    def close(self) -> None:
        self._store.close()

    def _settle(self) -> Taken:
        """The look that finds nothing more to do is not counted: then all is right already."""
        started = right = time.perf_counter()
        while not self._runner.step().idle:
            right = time.perf_counter()
        folded, changed, taken = right - started, 0, {}
        for publisher in self._publishers:
            started, changed = time.perf_counter(), 0
            right = started
            while not (done := publisher.step()).idle:
                changed += done.sent
                right = time.perf_counter()
            taken[publisher.sink.name] = right - started
        return Taken(changed, folded, taken)

    def _send_raw(self, since: int) -> dict[str, float]:
        """Seconds for what changed after revision `since`, by the drivers alone, over what they sent then."""
        if not self._raw:
            return {}
        with self._store.read() as tx:
            served = Generations(tx, "referrals").served()
            assert served is not None
            changes = Changes(tx, "referrals").after(since + 1, "", generation=served.id, limit=2**31)
        documents = [(item.key, item.body) for item in changes if item.body is not None]
        taken = {}
        for sink in self._raw:
            floors = raw.floors(sink.name, sink, documents, revision=served.revision)
            lines = floors.again[:1] if since else floors.first
            started = time.perf_counter()
            for line in lines:
                line.run()
            taken[f"{sink.name}, raw"] = time.perf_counter() - started
        return taken

    def _tail_of(self, blocks: range) -> dict[int, list[tuple[int, int]]]:
        """Each block moves twenty of the first users, in every turn to another referrer; on a state of
        any size the same users to the same referrers."""
        return {
            block: [
                ((above * PER_BLOCK + place) % 3000, 5000 + (above * 7 + place + self._turn) % 4000)
                for place in range(PER_BLOCK)
            ]
            for block in blocks
            for above in (block - self._final,)
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


def measure(
    documents: Sequence[int],
    depths: Sequence[int],
    *,
    runs: int,
    store: stores.Kind,
    into: Sequence[sinks.Kind],
    floors: bool,
    mongo: str | None = None,
) -> list[Measured]:
    """Reorgs of each depth on each state, the states in turn: a busy moment meets them all."""
    found = []
    with ExitStack() as stack:
        uri = stack.enter_context(stores.server(store))
        states: dict[int, State] = {}
        for count in documents:
            url = stack.enter_context(stores.empty(uri))
            made = stack.enter_context(sinks.empty(into, Referrals(), mongo=mongo))
            states[count] = State(url, made, count, floors=floors)
            stack.callback(states[count].close)
            _say_first(count, states[count].first)
        for depth in depths:
            taken: dict[int, list[Taken]] = {count: [] for count in states}
            for _ in range(runs):
                for count, state in states.items():
                    taken[count].append(state.reorg(depth))
            found += [Measured(store, count, depth, times) for count, times in taken.items()]
    return found


def table(found: Sequence[Measured]) -> Table:
    """Per depth a line for the documents and one for each sink; the ratio is the last size to the first."""
    by_depth: dict[int, list[Measured]] = {}
    for measured in found:
        by_depth.setdefault(measured.depth, []).append(measured)
    made = Table(title=f"reorg on {found[0].store}, milliseconds, median of {len(found[0].runs)}")
    for name in ("depth", "documents changed", "until right in"):
        made.add_column(name, justify="right")
    for measured in by_depth[found[0].depth]:
        made.add_column(f"of {measured.documents:,}", justify="right")
    made.add_column("ratio", justify="right")
    for depth, of_sizes in by_depth.items():
        changed = " / ".join(
            f"{statistics.median(run.changed for run in measured.runs):,.0f}" for measured in of_sizes
        )
        for part in of_sizes[0].medians:
            medians = [measured.medians[part] for measured in of_sizes]
            cells = [f"{1000 * seconds:.1f}" for seconds in medians]
            made.add_row(str(depth), changed, part, *cells, f"{medians[-1] / medians[0]:.2f}")
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--documents", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--depths", type=int, nargs="+", default=[1, 10, 64])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--store", choices=get_args(stores.Kind), default="sqlite")
    parser.add_argument("--sinks", choices=get_args(sinks.Kind), nargs="+", default=get_args(sinks.Kind))
    parser.add_argument("--mongo", help="URL of the MongoDB to take for the embedded one")
    parser.add_argument("--floors", action="store_true")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    found = measure(
        chosen.documents,
        chosen.depths,
        runs=chosen.runs,
        store=chosen.store,
        into=chosen.sinks,
        floors=chosen.floors,
        mongo=chosen.mongo,
    )
    Console(width=110).print(table(found))
    if chosen.json:
        chosen.json.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1))


def _say_first(count: int, first: Taken) -> None:
    parts = ", ".join(f"{part} {seconds:.1f} s" for part, seconds in first.parts.items())
    Console(stderr=True).print(f"first build and publish of {count:,}: {parts}", highlight=False)


if __name__ == "__main__":
    main()
