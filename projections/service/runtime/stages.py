"""The stages as the loops turn them: each with its name, its lease, and what it must close."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

import msgspec

from eventstore.errors import SourceError, StoreUnavailable
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
from projections.service.records.requests import (
    Rebuild,
    Repair,
    Republish,
    Request,
    Requests,
    ResendNotifications,
    Resume,
    ResyncBlocks,
    Retreat,
    Retry,
    RetryDocuments,
    Rollback,
    Skip,
)
from projections.service.records.results import (
    BuildStarted,
    DocumentsRetried,
    NotificationsDue,
    RangesDue,
    Repaired,
    Result,
    Resumed,
    RolledBack,
)
from projections.service.runtime.asking import unknown
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

    def execute(self, request: Request) -> Result:
        """Does what a command asked for."""
        match request.operation:
            case ResyncBlocks() as asked:
                return self._resync(request, asked)
            case Retry():
                return RangesDue(self._ingestor.retry_failed())
            case Repair(blocks):
                return self._repair(blocks)
            case Retreat():
                self.open()
                return persist(self, self._ingestor.retreat, silent)
            case other:
                raise unknown(self, other)

    def _resync(self, request: Request, asked: ResyncBlocks) -> Resynced:
        """Part by part; a holder that dies half-way leaves the rest, and the report so far, to the next."""
        first, last, addresses = asked.first, asked.last, asked.addresses
        chosen = [w for w in self._watches if addresses is None or w.filter.address.hex() in addresses]
        self.open()
        head = self._source.head().number
        last = head if last is None else min(last, head)
        found = msgspec.json.decode(request.detail or b"{}", type=Resynced)
        at = first + (request.done or 0)
        while at <= last:
            rest = BlockRange(at, last)
            part, reached = persist(self, partial(self._ingestor.resync, rest, chosen), silent)
            found, at = found + part, reached + 1
            detail = msgspec.json.encode(found).decode()
            self._requests.advance(request, done=at - first, total=last - first + 1, detail=detail)
        return found

    def _repair(self, blocks: Sequence[tuple[int, str]]) -> Repaired:
        """Puts blocks, each with the hash that was proved, right from their receipts."""
        self.open()
        said = []
        for number, block_hash in blocks:
            act = partial(repair, self.lease, self._source, number, bytes.fromhex(block_hash))
            said.append(persist(self, partial(act, chain_id=self._chain_id, watches=self._watches), silent))
        return Repaired(said)

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

    def execute(self, request: Request) -> Result:
        """Does what a command asked for."""
        match request.operation:
            case Rollback(to, hold):
                done = self.operations.rollback(to, hold=hold)
                return RolledBack(done.block, done.changed, hold, done.state == "building")
            case Resume():
                self.operations.resume()
                return Resumed()
            case Rebuild(promote, back):
                made = self.operations.back() if back else self.operations.rebuild(promote=promote)
                return BuildStarted(made.id, back)
            case Retry():
                return self.operations.retry()
            case Republish(keys, above):
                return self.operations.republish(keys, above=above)
            case Skip(block, log_index, reason):
                return self.operations.skip(block=block, log_index=log_index, reason=reason)
            case other:
                raise unknown(self, other)

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

    def execute(self, request: Request) -> Result:
        """Does what a command asked for."""
        if isinstance(request.operation, RetryDocuments):
            return DocumentsRetried(self.publisher.again())
        raise unknown(self, request.operation)

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

    def execute(self, request: Request) -> Result:
        """Does what a command asked for."""
        match request.operation:
            case ResendNotifications(replay, number):
                return NotificationsDue(self._courier.again(replay=replay, number=number))
            case other:
                raise unknown(self, other)

    def close(self) -> None:
        self._courier.close()
