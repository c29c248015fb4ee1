"""The kit for people who write projectors: given events, expect documents, whatever happened on the way.

    kit = Kit(Balances)
    kit.emit("Transfer", from_=NOBODY, to=address(1), value=70)
    block = kit.mine()
    assert kit.documents() == {address(1): Holder(address(1), "70", updatedAt=block.timestamp)}
    kit.check()

Nothing is imitated: a store on SQLite, the journal, the runner, the publisher, and the sink in memory. Law:
every road to a history gives the documents of the straight fold of that history.
"""

from __future__ import annotations

import keyword
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import msgspec
from eth_abi.abi import encode
from eth_hash.auto import keccak
from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import Connection
from sqlalchemy.event import listen

from eventstore.journal.coverage import Covered
from eventstore.journal.journal import Journal
from eventstore.journal.progress import SyncProgress
from eventstore.records import BlockRange, CheckedLogs, Filter, Header, Log
from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from projections.decoding.event import Event, Parameter, names, parse
from projections.decoding.meaning import Declaration, Meaning
from projections.errors import ProjectorError
from projections.fold.document_type import Shape
from projections.fold.fold import Projection
from projections.fold.generation import Generation, Generations
from projections.fold.operations import Operations
from projections.fold.runner import BATCH, Runner
from projections.fold.state import GenerationState
from projections.migrate import migrate
from projections.projectors import Projector
from projections.publish.publisher import Publisher
from projections.routing.routes import bind
from projections.routing.ways import Bound, watches, ways
from projections.sinks import Change, Marker
from projections.sinks.memory import MemorySink

CONTRACT = bytes.fromhex("c0" * 20)
"""The address whose logs the kit emits."""

PATIENCE = 100_000
"""Steps after which a fold that does not come to rest is a failure."""

_CHAIN = 31_337
_NAME = "kit"


def address(number: int) -> str:
    """An address that can be typed in a line of a test; `address(0)` is the zero address."""
    return f"0x{number:040x}"


class Kit:
    """A chain that you script, and what a projector makes of it.

    `events` are the contract's declarations (absent: those of the projector's own handlers), `roles` map
    a handler's parameter to the contract's name for it, as in the configuration. The chain starts with
    block 0, which is empty; blocks are 12 seconds apart.
    """

    def __init__(
        self,
        projector: type[Projector],
        *,
        events: Sequence[str] = (),
        roles: Mapping[str, str] | None = None,
        poison: Literal["halt", "quarantine"] = "halt",
    ) -> None:
        projector.check()
        self._projector = projector
        self._events = [parse(signature) for signature in events or projector.handlers().values()]
        self._roles = dict(roles or {})
        self._poison = poison
        self._chain = SimulatedChain(chain_id=_CHAIN)
        self._waiting = 0
        self._live = self._river()
        self._delivered = 0
        self._closed = weakref.finalize(self, self._live.close)

    def __enter__(self) -> Kit:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Removes the kit's store; so does the end of the kit itself."""
        self._closed()

    # --- given ---

    def emit(self, event: str, **values: Any) -> None:
        """Queues a log for the next block. The parameters are the contract's, those that are keywords
        of Python with a trailing underscore: `kit.emit("Transfer", from_=..., to=..., value=...)`. For a
        `string` one may give bytes, which need be no UTF-8."""
        named = [item for item in self._events if item.name == event]
        if not named:
            raise ProjectorError(f"No event {event} is declared.", hint=f"Declared: {names(self._events)}.")
        fitting = [item for item in named if values.keys() == {_spelled(part) for part in item.parameters}]
        declared = (fitting or named)[0]
        topics, data = _encoded(declared, values)
        self._chain.emit(CONTRACT, topics, data)
        self._waiting += 1

    def mine(self, blocks: int = 1) -> Header:
        """Adds blocks, of which the first holds what was emitted; returns the last one's header."""
        self._chain.mine(blocks)
        self._waiting = 0
        return self._chain.head()

    def reorg(self, depth: int = 1) -> None:
        """Takes the last `depth` blocks off the chain, after they were folded. What is emitted and mined
        next stands in their place."""
        self._settle()
        fork = self._chain.reorg(depth, logs=[])
        self._live.orphan(fork.common.number + 1)
        self._delivered = fork.common.number

    # --- expect ---

    def documents(self) -> dict[str, Any]:
        """Every document by its key, as the sink shows them. What still waits is mined first.

        Fails where the projection halted, with the event that halted it.
        """
        outcome = self._settle()
        if outcome.halted is not None:
            raise AssertionError(f"{self._projector.__name__} halted: {outcome.halted}")
        _same(_Outcome(outcome.published), outcome, "the sink")
        decode = Shape(self._projector).decode
        return {key: decode(body) for key, body in outcome.published.items()}

    def problems(self) -> list[str]:
        """What halted the projection, or each event that the quarantine passed over, and why."""
        outcome = self._settle()
        return [*outcome.passed_over, *([] if outcome.halted is None else [outcome.halted])]

    # --- whatever happens ---

    def check(self) -> None:
        """Every check below over the chain as it stands; fails with the first document that differs.

        A projector that keeps something on itself, or reads a clock or a random number, is found here.
        """
        self.check_twice()
        self.check_rebuilt()
        self.check_reorgs()
        self.check_crashes()

    def check_twice(self) -> None:
        """Each block delivered twice, then all of them again, then folded again after rollbacks."""
        history = self._history()
        wanted = self._straight(history)
        with self._river() as river:
            for block in history:
                river.deliver([block])
                river.deliver([block])
                river.flow()
            _same(river.outcome(), wanted, "after each block was delivered twice")
            river.deliver(history)
            river.flow()
            _same(river.outcome(), wanted, "after everything was delivered again")
            if wanted.halted is None:
                for block_number in (len(history) // 2, 0):
                    river.operations.rollback(block_number, hold=False)
                    river.flow()
                    _same(river.outcome(), wanted, f"after a rollback to block {block_number}")

    def check_rebuilt(self) -> None:
        """Built again from the first block, beside the live documents and then in their place."""
        history = self._history()
        wanted = self._straight(history)
        with self._river() as river:
            river.deliver(history)
            river.flow()
            river.operations.rebuild(promote=False)
            river.flow()
            _same(replace(river.outcome(built=True), published=wanted.published), wanted, "in a rebuild")
            if wanted.promotable:
                river.operations.rebuild()
                river.flow()
                _same(river.outcome(), wanted, "after a rebuild took over")

    def check_reorgs(self) -> None:
        """At every depth: the last blocks gone; others in their place; and the first ones back again."""
        history = self._history()
        wanted = self._straight(history)
        stood: list[_Outcome] = []
        with self._river() as river:
            stood.append(river.outcome())
            for block in history:
                river.deliver([block])
                river.flow()
                stood.append(river.outcome())
            _same(stood[-1], wanted, "folded block by block")
            for depth in range(1, len(history) + 1):
                kept = history[: len(history) - depth]
                others = _moved(history[len(kept) :])
                river.orphan(len(kept) + 1)
                river.flow()
                _same(river.outcome(), stood[len(kept)], f"after a reorg took the last {depth} blocks")
                river.deliver(others)
                river.flow()
                straight = self._straight([*kept, *others])
                _same(river.outcome(), straight, f"after a reorg of depth {depth} to other blocks")
                river.orphan(len(kept) + 1)
                river.deliver(history[len(kept) :])
                river.flow()
                _same(river.outcome(), wanted, f"after a reorg of depth {depth} and back again")

    def check_crashes(self) -> None:
        """Through a sync, a reorg and a rebuild, once for each place where the process can die: before
        and after every commit, and before, within and after every write to the sink."""
        history = self._history()
        wanted = self._straight(history)
        batch = max(2, sum(len(block.logs) for block in history) // 3)
        half = len(history) // 2

        def begin(river: _River) -> None:
            river.deliver(history[:half])
            river.flow()

        def go_on(river: _River) -> None:
            river.deliver(history)
            river.flow()

        def reorganise(river: _River) -> None:
            river.orphan(half + 1)
            river.flow()

        def rebuild(river: _River) -> None:
            river.operations.rebuild()
            river.flow()

        script = [begin, go_on, reorganise, go_on, *([rebuild] if wanted.promotable else [])]
        place, died = 0, True
        while died:
            with self._river(batch=batch) as river:
                river.fuse.arm(place)
                died = _played(script, river)
                _same(river.outcome(), wanted, f"after a crash {river.fuse.where}" if died else "in batches")
            place += 1

    # --- within ---

    def _settle(self) -> _Outcome:
        if self._waiting:
            self.mine()
        self._live.deliver(self._history()[self._delivered :])
        self._delivered = self._chain.head().number
        self._live.flow()
        return self._live.outcome()

    def _history(self) -> list[_Block]:
        """The canonical blocks from block 1 on."""
        if self._waiting:
            self.mine()
        head = self._chain.head().number
        logs: dict[int, list[Log]] = {}
        for log in self._chain.logs_in(1, head):
            logs.setdefault(log.block_number, []).append(log)
        found = []
        for number in range(1, head + 1):
            header = self._chain.header(number)
            assert header is not None
            found.append(_Block(header, logs.get(number, [])))
        return found

    def _straight(self, history: Sequence[_Block]) -> _Outcome:
        """What the plain fold of a history comes to."""
        with self._river() as river:
            river.deliver(history)
            river.flow()
            outcome = river.outcome()
        _same(_Outcome(outcome.published), outcome, "the sink")
        return outcome

    def _river(self, *, batch: int = BATCH) -> _River:
        return _River(self._projector, self._events, self._roles, poison=self._poison, batch=batch)


# --- one store, and what flows through it ---


class _Block(Struct, frozen=True):
    header: Header
    logs: list[Log]


class _Outcome(Struct, frozen=True):
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


class _River:
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
        self.fuse = _Fuse()
        self.sink = _Sink(self.fuse)
        try:
            self.start()
            self._write([], through=0)
            self.flow()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> _River:
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
            self.store, self._lease("publish"), self.sink, projection=_NAME, chain_id=_CHAIN
        )

    def deliver(self, blocks: Sequence[_Block]) -> None:
        """Appends blocks to the journal; what lives there already is subtracted, as everywhere."""
        if blocks:
            self._write(blocks, through=blocks[-1].header.number)

    def orphan(self, first: int) -> None:
        """Takes the blocks from `first` on off the chain."""
        with self.store.write() as tx:
            Journal(tx, _CHAIN).orphan(first)

    def flow(self) -> None:
        """Turns the runner, then the publisher, until both rest."""
        steps: list[Callable[[], Any]] = [self.runner.step, self._publisher.step]
        for step in steps:
            if all(not step().idle for _ in range(PATIENCE)):
                raise AssertionError(f"The projection does not come to rest within {PATIENCE:,} steps.")

    def outcome(self, *, built: bool = False) -> _Outcome:
        """What is served and published; with `built`, what the unfinished build holds."""
        with self.store.read() as tx:
            generations = Generations(tx, _NAME)
            found = generations.building() if built else generations.served()
            assert isinstance(found, Generation)
            state = GenerationState(tx, found.id)
            documents = dict(state.scan())
            letters = state.dead_letters()
        return _Outcome(
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

    def _write(self, blocks: Sequence[_Block], *, through: int) -> None:
        logs = CheckedLogs([log for block in blocks for log in block.logs])
        headers = {block.header.number: block.header for block in blocks}
        with self.store.write() as tx:
            covered = [Covered(Filter(CONTRACT), BlockRange(0, through))]
            Journal(tx, _CHAIN).append(logs, headers, covered)
            SyncProgress(tx, _CHAIN).synced(through, at=0)

    def _projection(self) -> Projection:
        kind, events, roles = self._binding
        projector = kind()
        routes = bind(projector, addresses=[CONTRACT], events=events, roles=roles, where=kind.__name__)
        if not routes:
            raise ProjectorError(
                f"None of the events {names(events)} fits a handler of {kind.__name__}.",
                hint="Map the contract's parameter names with roles = {...}.",
            )
        bound = [Bound(route, Declaration(_NAME, CONTRACT, route.decoder.event)) for route in routes]
        meaning = Meaning(Declaration(_NAME, CONTRACT, event) for event in events)
        return Projection(
            _NAME,
            _CHAIN,
            projector,
            ways(meaning, bound, where=kind.__name__),
            watches(bound),
            fingerprint=kind.__name__,
            poison=self._poison,
        )

    def _lease(self, name: str) -> Lease:
        return _Lease(self.store, f"{name}:{_NAME}", self.fuse).acquire()


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


def _moved(blocks: Sequence[_Block]) -> list[_Block]:
    """The same events on another branch: each one block later, after a block that is empty."""
    first = blocks[0].header
    moved = [_Block(_other(first, first.number), [])]
    for block in blocks:
        header = _other(block.header, block.header.number + 1)
        logs = [replace(log, block_number=header.number, block_hash=header.hash) for log in block.logs]
        moved.append(_Block(header, logs))
    return moved


def _other(header: Header, number: int) -> Header:
    """A header of another branch; the runner does not look at parents."""
    later = header.timestamp + 12 * (number - header.number)
    return Header(number, sha256(b"other" + header.hash + bytes([number % 2])).digest(), bytes(32), later)


# --- dying ---


class _Crash(BaseException):
    """The process is gone. No handler of errors sees it."""


class _Fuse:
    """Counts the places where a process can die, and lets it die at one of them."""

    def __init__(self) -> None:
        self._left: int | None = None
        self.where = ""

    def arm(self, place: int) -> None:
        self._left = place

    def passes(self, where: str) -> None:
        """Called at each place; raises at the one that was chosen, and nowhere after it."""
        if self._left is None:
            return
        self._left -= 1
        if self._left < 0:
            self._left, self.where = None, where
            raise _Crash(where)


class _Lease(Lease):
    """The lease of a process that may die before or after a commit, and of the one after it."""

    def __init__(self, store: Store, name: str, fuse: _Fuse) -> None:
        super().__init__(store, name, owner="kit||0|0")
        self._fuse = fuse

    @contextmanager
    def commit(self) -> Iterator[Connection]:
        with super().commit() as tx:
            yield tx
            self._fuse.passes(f"before a commit of {self.name}")
        self._fuse.passes(f"after a commit of {self.name}")

    def renew(self) -> None:
        """Writes nothing that a crash could lose."""
        with super().commit():
            pass


class _Sink(MemorySink):
    """The sink in memory, which outlives the process that dies while it writes."""

    def __init__(self, fuse: _Fuse) -> None:
        super().__init__()
        self._fuse = fuse

    def write(self, changes: Sequence[Change]) -> int:
        self._fuse.passes("before a write to the sink")
        half = len(changes) // 2
        written = super().write(changes[:half])
        self._fuse.passes("within a write to the sink")
        written += super().write(changes[half:])
        self._fuse.passes("after a write to the sink")
        return written

    def mark(self, new: Marker, *, old: Marker | None) -> None:
        self._fuse.passes("before the sink's marker was set")
        super().mark(new, old=old)
        self._fuse.passes("after the sink's marker was set")


def _played(script: Sequence[Callable[[_River], None]], river: _River) -> bool:
    """Plays a script; where the process dies, the next one goes on. True if it died."""
    died = False
    for act in script:
        try:
            act(river)
        except _Crash:
            died = True
            river.start()
            act(river)
    return died


# --- comparing ---


def _same(found: _Outcome, wanted: _Outcome, when: str) -> None:
    """Fails with the first key and field that differ."""
    _same_bodies(found.published, wanted.documents or {}, f"{when}, published")
    if found.documents is None:
        return
    _same_bodies(found.documents, wanted.documents or {}, when)
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


def _same_bodies(found: Mapping[str, bytes], wanted: Mapping[str, bytes], when: str) -> None:
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


# --- encoding ---


def _encoded(event: Event, values: Mapping[str, Any]) -> tuple[list[bytes], bytes]:
    """The topics and data of a log."""
    spelled = {_spelled(item): item for item in event.parameters}
    wrong = sorted(spelled.keys() ^ values.keys())
    if wrong:
        raise ProjectorError(
            f"{event.name} was emitted {'with' if wrong[0] in values else 'without'} {wrong[0]}.",
            hint=f"Its parameters are {', '.join(spelled) or 'none'}.",
        )
    topics = [] if event.anonymous else [event.topic0]
    kinds, body = [], []
    for name, item in spelled.items():
        try:
            if item.indexed:
                topics.append(_topic(item, values[name]))
            else:
                raw = isinstance(values[name], bytes) and item.type == "string"  # text that may be none
                encode(["bytes" if raw else item.type], [values[name]])
                kinds.append("bytes" if raw else item.type)
                body.append(values[name])
        except Exception as error:
            raise ProjectorError(
                f"{event.name}.{name} = {values[name]!r} cannot be encoded as {item.type}: {error}"
            ) from error
    return topics, encode(kinds, body)


def _spelled(item: Parameter) -> str:
    return item.name + "_" if keyword.iskeyword(item.name) else item.name


def _topic(item: Parameter, value: Any) -> bytes:
    """One word; of what does not fit one its hash, which may be given instead of the value."""
    if item.type == "string" and isinstance(value, str):
        return bytes(keccak(value.encode()))
    if item.type == "bytes":
        return bytes(keccak(value))
    if item.type.endswith((")", "]", "string")):
        if not (isinstance(value, bytes) and len(value) == 32):
            raise ValueError("of an indexed array or tuple a log holds the hash: give its 32 bytes")
        return value
    return encode([item.type], [value])
