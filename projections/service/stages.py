"""The three stages as the loops turn them: each with its name, its lease, and what it must close."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from eventstore.errors import SourceError, StoreError
from eventstore.ingest import Ingested, Ingestor
from eventstore.lease import Lease
from eventstore.records import Watch
from eventstore.request import Request
from eventstore.store import Store
from projections.fold import Projection
from projections.publisher import Published, Publisher
from projections.runner import Folded, Runner
from projections.sinks import Sink

if TYPE_CHECKING:
    from eventstore.sources.rpc import RpcSource


class IngestStage:
    """The ingester of one chain; it closes its source."""

    def __init__(
        self, store: Store, source: RpcSource, *, chain: str, chain_id: int, watches: Sequence[Watch]
    ) -> None:
        self.name = f"ingest {chain}"
        self.chain = chain
        self.lease = Lease(store, f"ingest:{chain_id}")
        self._source = source
        self._ingestor = Ingestor(store, source, self.lease, chain_id=chain_id, watches=watches)

    def open(self) -> None:
        with self._noting():
            self._ingestor.open()

    def step(self) -> Ingested:
        with self._noting():
            return self._ingestor.step()

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Writes down, for `status`, why the source could not be read."""
        try:
            yield
        except SourceError as error:
            self._ingestor.note_failure(str(error))
            raise

    def execute(self, request: Request) -> str:
        """No command asks anything of an ingester."""
        raise StoreError(f"{request.kind} is no request that {self.name} knows.")

    def close(self) -> None:
        self._ingestor.close()
        self._source.close()


class FoldStage:
    """The runner of one projection."""

    def __init__(self, store: Store, projection: Projection) -> None:
        self.name = f"project {projection.name}"
        self.projection = projection
        self.lease = Lease(store, f"project:{projection.name}:{projection.fingerprint[:12]}")
        self.runner = Runner(store, self.lease, projection)

    def open(self) -> None:
        """Nothing: the store is open."""

    def step(self) -> Folded:
        return self.runner.step()

    def execute(self, request: Request) -> str:
        """Does what a command asked for, and says what that was."""
        match request.kind:
            case "rollback":
                to, hold = request.arguments["to"], request.arguments["hold"]
                done = self.runner.rollback(to, hold=hold)
                if done.state == "building":
                    return f"block {to} is below what can be undone: a build from the first block began"
                waits = "and waits there" if hold else "and goes on from there"
                return f"rewound to block {done.block}, {done.changed:,} documents changed, {waits}"
            case "resume":
                self.runner.resume()
                return "goes on"
            case "rebuild":
                if request.arguments["back"]:
                    return f"generation {self.runner.back().id} is taken up again"
                made = self.runner.rebuild(promote=request.arguments["promote"])
                return f"generation {made.id} is being built"
            case "retry":
                return self.runner.retry()
            case "skip":
                return self.runner.skip(**request.arguments)
            case kind:
                raise StoreError(f"{kind} is no request that {self.name} knows.")

    def close(self) -> None:
        """Nothing is held between steps."""


class PublishStage:
    """The publisher of one projection into one sink."""

    def __init__(self, store: Store, projection: Projection, sink: Sink) -> None:
        self.name = f"publish {projection.name}.{sink.name}"
        self.lease = Lease(store, f"publish:{projection.name}.{sink.name}")
        self.publisher = Publisher(
            store,
            self.lease,
            sink,
            projection=projection.name,
            chain_id=projection.chain_id,
        )
        self.sink = sink

    def open(self) -> None:
        self.sink.open()

    def step(self) -> Published:
        return self.publisher.step()

    def execute(self, request: Request) -> str:
        """No command asks anything of a publisher."""
        raise StoreError(f"{request.kind} is no request that {self.name} knows.")

    def close(self) -> None:
        self.sink.close()
