"""One store of the kit with all that flows through it, and how two outcomes are compared."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy.event import listen

from eventstore.journal.coverage import Covered
from eventstore.journal.journal import Journal
from eventstore.journal.progress import SyncProgress
from eventstore.records import BlockRange, CheckedLogs, Filter, Header, Log
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from projections.decoding.event import Event, names
from projections.decoding.meaning import Declaration, Meaning
from projections.errors import ProjectorError
from projections.fold.fold import Projection
from projections.fold.generation import Generation, Generations
from projections.fold.operations import Operations
from projections.fold.runner import Runner
from projections.fold.state import GenerationState
from projections.migrate import migrate
from projections.projectors import Projector
from projections.publish.publisher import Publisher
from projections.routing.routes import bind
from projections.routing.ways import Bound, watches, ways
from projections.testing.crash import Crash, Fuse, MortalLease, MortalSink

CONTRACT = bytes.fromhex("c0" * 20)
"""The address whose logs the kit emits."""

PATIENCE = 100_000
"""Steps after which a fold that does not come to rest is a failure."""

CHAIN = 31_337
NAME = "kit"


class MinedBlock(Struct, frozen=True):
    header: Header
    logs: list[Log]


class RiverOutcome(Struct, frozen=True):
    """What a river came to: the bodies in the sink, and in the store, with what the store says of them."""

    published: dict[str, bytes]
    documents: dict[str, bytes] | None = None
    digest: bytes = b""
    halted: str | None = None
    passed_over: tuple[str, ...] = ()

    @property
    def promotable(self) -> bool:
        """May a rebuild take over? One that halts, or comes out empty, may not."""
        return self.halted is None and bool(self.documents)


class River:
    """A store of its own, the runner and publisher of what would be one process, and a sink beside it.

    It begins with an empty block 0, already live.
    """

    def __init__(
        self,
        projector: type[Projector],
        events: Sequence[Event],
        roles: Mapping[str, str],
        *,
        poison: Literal["halt", "quarantine"],
        batch: int,
    ) -> None:
        self._binding = (projector, events, roles)
        self._poison = poison
        self._batch = batch
        self._folder = Path(tempfile.mkdtemp(prefix="chainfold-kit-"))
        (self._folder / "store.db").write_bytes(_empty_store())
        self.store = _opened(self._folder / "store.db")
        self.fuse = Fuse()
        self.sink = MortalSink(self.fuse)
        try:
            self.start()
            self._write([], through=0)
            self.flow()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> River:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.store.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """What a process does first: a projector, a runner and a publisher that remember nothing."""
        projection = self._projection()
        self.runner = Runner(self.store, self._lease("project"), projection, batch=self._batch)
        self.operations = Operations(self.runner)
        self._publisher = Publisher(
            self.store, self._lease("publish"), self.sink, projection=NAME, chain_id=CHAIN
        )

    def deliver(self, blocks: Sequence[MinedBlock]) -> None:
        """Appends blocks to the journal; what lives there already is subtracted, as everywhere."""
        if blocks:
            self._write(blocks, through=blocks[-1].header.number)

    def orphan(self, first: int) -> None:
        """Takes the blocks from `first` on off the chain."""
        with self.store.write() as tx:
            Journal(tx, CHAIN).orphan(first)

    def flow(self) -> None:
        """Turns the runner, then the publisher, until both rest."""
        steps: list[Callable[[], Any]] = [self.runner.step, self._publisher.step]
        for step in steps:
            if all(not step().idle for _ in range(PATIENCE)):
                raise AssertionError(f"The projection does not come to rest within {PATIENCE:,} steps.")

    def outcome(self, *, built: bool = False) -> RiverOutcome:
        """What is served and published; with `built`, what the unfinished build holds."""
        with self.store.read() as tx:
            generations = Generations(tx, NAME)
            found = generations.building() if built else generations.served()
            assert isinstance(found, Generation)
            state = GenerationState(tx, found.id)
            documents = dict(state.scan())
            letters = state.dead_letters()
        return RiverOutcome(
            {
                change.key: msgspec.json.encode(change.fields)
                for change in sorted(self.sink.scan(), key=lambda change: change.key)
                if change.fields is not None
            },
            documents,
            found.digest,
            found.error,
            tuple(f"block {item.block}, log {item.log_index}: {item.reason}" for item in letters),
        )

    def _write(self, blocks: Sequence[MinedBlock], *, through: int) -> None:
        logs = CheckedLogs([log for block in blocks for log in block.logs])
        headers = {block.header.number: block.header for block in blocks}
        with self.store.write() as tx:
            covered = [Covered(Filter(CONTRACT), BlockRange(0, through))]
            Journal(tx, CHAIN).append(logs, headers, covered)
            SyncProgress(tx, CHAIN).synced(through, at=0)

    def _projection(self) -> Projection:
        kind, events, roles = self._binding
        projector = kind()
        routes = bind(projector, addresses=[CONTRACT], events=events, roles=roles, where=kind.__name__)
        if not routes:
            raise ProjectorError(
                f"None of the events {names(events)} fits a handler of {kind.__name__}.",
                hint="Map the contract's parameter names with roles = {...}.",
            )
        bound = [Bound(route, Declaration(NAME, CONTRACT, route.decoder.event)) for route in routes]
        meaning = Meaning(Declaration(NAME, CONTRACT, event) for event in events)
        return Projection(
            NAME,
            CHAIN,
            projector,
            ways(meaning, bound, where=kind.__name__),
            watches(bound),
            fingerprint=kind.__name__,
            poison=self._poison,
        )

    def _lease(self, name: str) -> Lease:
        return MortalLease(self.store, f"{name}:{NAME}", self.fuse).acquire()


def _opened(path: Path) -> Store:
    """A store that does not wait for the disk: what dies here is the process, never the machine."""
    store = Store(f"sqlite:///{path}")
    listen(store.engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = OFF"))
    return store


@cache
def _empty_store() -> bytes:
    """A migrated store, as a file's bytes: migrating takes longer than most folds."""
    with tempfile.TemporaryDirectory(prefix="chainfold-kit-") as folder:
        path = Path(folder) / "store.db"
        store = _opened(path)
        migrate(store)
        store.close()
        return path.read_bytes()


def moved(blocks: Sequence[MinedBlock]) -> list[MinedBlock]:
    """The same events on another branch: each one block later, after a block that is empty."""
    first = blocks[0].header
    moved = [MinedBlock(_other(first, first.number), [])]
    for block in blocks:
        header = _other(block.header, block.header.number + 1)
        logs = [replace(log, block_number=header.number, block_hash=header.hash) for log in block.logs]
        moved.append(MinedBlock(header, logs))
    return moved


def _other(header: Header, number: int) -> Header:
    """A header of another branch; the runner does not look at parents."""
    later = header.timestamp + 12 * (number - header.number)
    return Header(number, sha256(b"other" + header.hash + bytes([number % 2])).digest(), bytes(32), later)


def played(script: Sequence[Callable[[River], None]], river: River) -> bool:
    """Plays a script; where the process dies, the next one goes on. True if it died."""
    died = False
    for act in script:
        try:
            act(river)
        except Crash:
            died = True
            river.start()
            act(river)
    return died


def assert_same(found: RiverOutcome, wanted: RiverOutcome, when: str) -> None:
    """Fails with the first key and field that differ."""
    _assert_same_bodies(found.published, wanted.documents or {}, f"{when}, published")
    if found.documents is None:
        return
    _assert_same_bodies(found.documents, wanted.documents or {}, when)
    for name in ("halted", "passed_over"):
        mine, theirs = getattr(found, name), getattr(wanted, name)
        if mine != theirs:
            raise AssertionError(
                f"{when}: {name.replace('_', ' ')} is {mine!r}; the straight fold gives {theirs!r}; {_CAUSES}"
            )
    if found.digest != wanted.digest:
        raise AssertionError(
            f"{when}: the documents are equal, the digest kept up with them is not: one of them was "
            f"changed after it was put; {_CAUSES}"
        )


def _assert_same_bodies(found: Mapping[str, bytes], wanted: Mapping[str, bytes], when: str) -> None:
    for key in sorted(found.keys() | wanted.keys()):
        if found.get(key) == wanted.get(key):
            continue
        if key not in found:
            raise AssertionError(f"{when}: {key} is missing; {_CAUSES}")
        if key not in wanted:
            raise AssertionError(f"{when}: {key} is there, in the straight fold it is not; {_CAUSES}")
        mine, theirs = msgspec.json.decode(found[key]), msgspec.json.decode(wanted[key])
        field = next(name for name in mine if mine[name] != theirs[name])
        raise AssertionError(
            f"{when}: {key} has {field} = {mine[field]!r}; the straight fold gives {theirs[field]!r}; "
            f"{_CAUSES}"
        )


_CAUSES = "does the projector keep something on itself or in its module, or read a clock or a random number?"
