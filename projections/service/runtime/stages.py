"""The stages as the loops turn them: each with its name, its lease, and what it must close."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

import msgspec

from eventstore.errors import SourceError, StoreError, StoreUnavailable
from eventstore.ingest.branch import Follow, Ingested
from eventstore.ingest.estimate import Estimate, estimate
from eventstore.ingest.ingestor import Ingestor
from eventstore.ingest.resync import Resynced
from eventstore.ingest.window import Window
from eventstore.proof.repair import repair
from eventstore.records import BlockRange, Watch
from eventstore.sources import Node
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from projections.errors import SinkError
from projections.fold.documents import ROOM
from projections.fold.fold import Projection
from projections.fold.generation import lease_of
from projections.fold.operations import Operations
from projections.fold.runner import Folded, Runner
from projections.fold.uncommitted import COMMIT_EVERY
from projections.publish.publisher import Published, Publisher
from projections.service.records.calls import add_calls
from projections.service.records.requests import Request, Requests
from projections.service.runtime.loops import Failed, Stepped, persist
from projections.sinks import Sink
from projections.webhooks.courier import Courier, Delivered
from projections.webhooks.post import Target

TALLY = 10.0
"""Seconds between two notes of how many calls were made."""


def silent(_event: Stepped | Failed) -> None:
    """What a command asked for answers when it is done."""


class IngestStage:
    """The ingester of one chain: it finds the first block of those in `auto`, and closes its source."""

    def __init__(
        self,
        store: Store,
        source: Node,
        *,
        chain: str,
        chain_id: int,
        watches: Sequence[Watch],
        follow: Follow = "latest",
        auto: frozenset[bytes] = frozenset(),
        window: Window | None = None,
    ) -> None:
        self.name = f"ingest {chain}"
        self.chain = chain
        self.lease = Lease(store, f"ingest:{chain_id}")
        self._source = source
        self._watches = watches
        self._auto = auto
        self._chain_id = chain_id
        self._follow: Follow = follow
        self._requests = Requests(store)
        self._tallied: Counter[str] = Counter()
        self._tallied_at = time.monotonic()
        self._ingestor = Ingestor(
            store, source, self.lease, chain_id=chain_id, watches=watches, window=window, follow=follow
        )

    def open(self) -> None:
        with self._noting():
            self._ingestor.open()
            for watch in self._watches:
                if watch.filter.address in self._auto:
                    self._ingestor.begin(watch.filter, self._source.has_code)

    def step(self) -> Ingested:
        with self._noting():
            done = self._ingestor.step()
        if time.monotonic() - self._tallied_at > TALLY:
            self._tally()
        return done

    def _tally(self) -> None:
        """Writes down the calls made since last time, for `status`."""
        made = Counter(self._source.requests)
        new = made - self._tallied
        if new:
            with self.lease.store.write() as tx:
                add_calls(tx, self._chain_id, new)
        self._tallied, self._tallied_at = made, time.monotonic()

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Writes down, for `status`, why the source could not be read."""
        try:
            yield
        except SourceError as error:
            self._ingestor.note_failure(str(error))
            raise

    def estimate(self) -> tuple[Estimate, int]:
        """What a sync would ask the node for, and how many calls it took to find out."""
        found = estimate(
            self.lease.store,
            self._source,
            chain_id=self._chain_id,
            watches=self._watches,
            follow=self._follow,
        )
        return found, self._source.requests.total()

    def execute(self, request: Request) -> str:
        """Does what a command asked for, and says what that was."""
        match request.kind:
            case "resync":
                return str(self._resync(request))
            case "retry":
                return f"{self._ingestor.retry_failed():,} failed ranges are due now"
            case "repair":
                return self._repair(request.arguments["blocks"])
            case "retreat":
                return self._retreat()
            case kind:
                raise StoreError(f"{kind} is no request that {self.name} knows.")

    def _retreat(self) -> str:
        """Goes back to the head of a chain that moved back, at the operator's word."""
        self.open()
        found = persist(self, self._ingestor.retreat, silent)
        if found.done is None:
            return f"the node's head is block {found.head:,}, ours {found.known:,}: there is no way back"
        return (
            f"went back from block {found.known:,} to {found.done.rewound_to:,}, {found.done.orphaned:,} "
            "logs left the chain; the next sync or the running service folds and publishes up to the head, "
            f"block {found.head:,}"
        )

    def _resync(self, request: Request) -> Resynced:
        """Part by part; a holder that dies half-way leaves the rest, and the report so far, to the next."""
        first, last, addresses = (request.arguments[key] for key in ("first", "last", "addresses"))
        chosen = [w for w in self._watches if addresses is None or w.filter.address.hex() in addresses]
        self.open()
        head = self._source.head().number
        last = head if last is None else min(last, head)
        found = msgspec.json.decode(request.detail or b"{}", type=Resynced)
        at = first + (request.done or 0)
        while at <= last:
            asked = BlockRange(at, last)
            part, reached = persist(self, partial(self._ingestor.resync, asked, chosen), silent)
            found, at = found + part, reached + 1
            detail = msgspec.json.encode(found).decode()
            self._requests.advance(request, done=at - first, total=last - first + 1, detail=detail)
        return found

    def _repair(self, blocks: Sequence[tuple[int, str]]) -> str:
        """Puts blocks, each with the hash that was proved, right from their receipts."""
        self.open()
        said = []
        for number, block_hash in blocks:
            act = partial(repair, self.lease, self._source, number, bytes.fromhex(block_hash))
            said.append(persist(self, partial(act, chain_id=self._chain_id, watches=self._watches), silent))
        return "; ".join(said)

    def close(self) -> None:
        with suppress(StoreUnavailable):  # counts are not worth an error of their own
            self._tally()
        self._ingestor.close()
        self._source.close()


class FoldStage:
    """The runner of one projection."""

    def __init__(
        self, store: Store, projection: Projection, *, room: int = ROOM, commit_every: float = COMMIT_EVERY
    ) -> None:
        self.name = f"project {projection.name}"
        self.projection = projection
        self.lease = Lease(store, lease_of(projection.name, projection.fingerprint))
        self.runner = Runner(store, self.lease, projection, room=room, commit_every=commit_every)
        self.operations = Operations(self.runner)

    def open(self) -> None:
        """Nothing: the store is open."""

    def step(self) -> Folded:
        return self.runner.step()

    def execute(self, request: Request) -> str:
        """Does what a command asked for, and says what that was."""
        match request.kind:
            case "rollback":
                to, hold = request.arguments["to"], request.arguments["hold"]
                done = self.operations.rollback(to, hold=hold)
                if done.state == "building":
                    return f"block {to} is below what can be undone: a build from the first block began"
                waits = "and waits there" if hold else "and goes on from there"
                return f"rewound to block {done.block}, {done.changed:,} documents changed, {waits}"
            case "resume":
                self.operations.resume()
                return "goes on"
            case "rebuild":
                if request.arguments["back"]:
                    return f"generation {self.operations.back().id} is taken up again"
                made = self.operations.rebuild(promote=request.arguments["promote"])
                return f"generation {made.id} is being built"
            case "retry":
                retried = self.operations.retry()
                if retried.first is None:
                    return "nothing was passed over; an event that halts is tried at every step"
                return f"{retried.events:,} events are folded again, from block {retried.first} on"
            case "mend":
                sent = self.operations.republish(request.arguments["keys"], above=request.arguments["above"])
                if sent.revision is None:
                    return "nothing is served yet"
                return f"{sent.keys:,} keys are sent again, as revision {sent.revision}"
            case "skip":
                skipped = self.operations.skip(**request.arguments)
                return f"log {skipped.log_index} of block {skipped.block} is passed over from now on"
            case kind:
                raise StoreError(f"{kind} is no request that {self.name} knows.")

    def close(self) -> None:
        """Nothing is held between steps."""


class PublishStage:
    """The publisher of one projection into one sink; a sink that writes to SQL itself shares its `lease`."""

    def __init__(
        self, store: Store, projection: Projection, sink: Sink, *, lease: Lease | None = None
    ) -> None:
        self.name = f"publish {projection.name}.{sink.name}"
        self.projection = projection.name
        self.chain_id = projection.chain_id
        self.lease = lease or Lease(store, f"publish:{projection.name}.{sink.name}")
        self.publisher = Publisher(
            store,
            self.lease,
            sink,
            projection=projection.name,
            chain_id=projection.chain_id,
        )
        self.sink = sink

    def open(self) -> None:
        try:
            self.sink.open()
        except SinkError as error:
            self.publisher.note(error)
            raise

    def step(self) -> Published:
        return self.publisher.step()

    def execute(self, request: Request) -> str:
        """Does what a command asked for, and says what came of it."""
        if request.kind == "again":
            return self.publisher.again()
        raise StoreError(f"{request.kind} is no request that {self.name} knows.")

    def close(self) -> None:
        self.sink.close()


class DeliverStage:
    """The courier of one webhook of one projection."""

    def __init__(self, store: Store, target: Target, *, projection: str, rule: str) -> None:
        self.name = f"deliver {projection}.{rule}"
        self.projection = projection
        self.rule = rule
        self.lease = Lease(store, f"deliver:{projection}.{rule}")
        self._courier = Courier(self.lease, target, projection=projection, rule=rule)

    def open(self) -> None:
        """Nothing: connections are made as they are wanted."""

    def step(self) -> Delivered:
        return self._courier.step()

    def execute(self, request: Request) -> str:
        """Does what a command asked for, and says how many it concerned."""
        if request.kind != "again":
            raise StoreError(f"{request.kind} is no request that {self.name} knows.")
        return str(self._courier.again(**request.arguments))

    def close(self) -> None:
        self._courier.close()
