"""A journal of random legal logs, and everything that is made of it, on every database and in every sink.

Each number of a log is drawn over all that a chain may give, each text is any bytes; one event has two
layouts of `indexed`, one is anonymous, some logs belong to neither. Examples share the stores: each has a
chain and a projection of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

from eth_abi.abi import encode
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import text

from eventstore.journal.coverage import Covered
from eventstore.journal.journal import Journal
from eventstore.journal.tail import Tail
from eventstore.records import BlockRange, Filter, Header, Log
from eventstore.storage.lease import Lease
from eventstore.storage.legal import MOST
from eventstore.storage.store import Store
from projections.decoding.event import parse
from projections.fold.changes import Changes
from projections.fold.fold import Projection
from projections.fold.generation import Generation, Generations
from projections.fold.operations import Operations
from projections.fold.runner import Runner
from projections.fold.state import GenerationState
from projections.projectors import Counts, Documents, Follows, Projector, handles
from projections.publish.current import as_change
from projections.publish.publisher import Publisher
from projections.publish.set_aside import Aside
from projections.service.config.loader import load
from projections.service.runtime.wiring import Plan
from projections.sinks import Sink
from projections.sinks.memory import MemorySink
from projections.sinks.mongo.sink import MongoSink
from projections.sinks.redis.sink import RedisSink
from projections.verify.invariants import violations
from projections.verify.sinks import SinkCheck
from tests.servers.mongo import Mongo

CONTRACT = b"\xc0" * 20
NAMED = "Named(string name, uint256 wide, int64 small, string[] tags)"
MOVED = "Moved(address indexed from, address indexed to, uint256 value)"
MOVED_TOO = "Moved(address indexed from, address indexed to, uint256 indexed value)"
WHISPER = "Whisper(bytes32 indexed about, string said) anonymous"


class Thing(Struct, frozen=True):
    """What was said of a name, or held by an address."""

    key: str
    text: str = ""
    raw: str = ""
    tags: list[str] = []
    told: dict[str, int] = {}
    wide: str = "0"
    small: int = 0
    rate: float = 0.0
    log: int = 0
    seenAt: int | None = None
    updatedAt: int = 0


INVARIANTS = (Follows("raw", link="text", takes="raw"), Counts("log", of="text"))
"""Not kept by these documents: both databases must find the same that break them."""


class Things(Projector):
    """Puts what the chain says under the key that it says."""

    document = Thing
    key = "key"
    index = ("text", "small")
    touched = "updatedAt"
    dates = ("seenAt", "updatedAt")

    @handles("Named(string name, uint256 wide, int64 small, string[] tags)")
    def named(self, event: Any, things: Documents[Thing]) -> None:
        same = things.find("text", event.name)
        thing = things.get(event.name) or Thing(event.name)
        things.put(
            event.name,
            replace(
                thing,
                text=event.name,
                tags=[*thing.tags[-2:], *event.tags],
                told=dict.fromkeys(event.tags, event.log_index),
                wide=str(event.wide),
                small=event.small,
                rate=float(event.small) / 3,
                log=event.log_index,
                seenAt=event.small + len(same),
            ),
        )

    @handles("Moved(address indexed from, address indexed to, uint256 value)")
    def moved(self, event: Any, things: Documents[Thing]) -> None:
        if event.value % 7 == 3:
            things.delete(event.from_)
        for key, sign in ((event.from_, -1), (event.to, 1)):
            thing = things.get(key) or Thing(key)
            held = int(thing.wide) + sign * event.value
            things.put(key, replace(thing, wide=str(held), log=event.log_index))

    @handles("Whisper(bytes32 indexed about, bytes said)")
    def whispered(self, event: Any, things: Documents[Thing]) -> None:
        key = event.said.decode("utf-8", "surrogateescape")
        thing = things.get(key) or Thing(key)
        things.put(key, replace(thing, raw=event.said.hex(), text=event.about.hex()))


# --- what is drawn ---


class Block(Struct, frozen=True):
    header: Header
    logs: list[Log]


class Story(Struct, frozen=True):
    """The blocks of a chain, how they arrive, and from which on they are taken off the chain once."""

    blocks: list[Block]
    together: int
    orphaned: int | None
    final: int


def named(*names: bytes, tags: Sequence[bytes] = ()) -> Story:
    """One block in which these names are given, one after the other, the last with these tags."""
    own = sha256(b"block").digest()
    logs = [
        Log(
            5,
            index,
            CONTRACT,
            (parse(NAMED).topic0,),
            encode(
                ["bytes", "uint256", "int64", "bytes[]"],
                [name, index, index, tags if index == len(names) - 1 else []],
            ),
            bytes(32),
            index,
            own,
        )
        for index, name in enumerate(names)
    ]
    return Story([Block(Header(5, own, bytes(32), 60), logs)], 1, None, -1)


def wide(*edges: int, most: int = MOST) -> st.SearchStrategy[int]:
    """A number of the wire: small, at an edge of some column, or anything."""
    return st.integers(0, 9) | st.sampled_from([*edges, most]) | st.integers(0, most)


EDGES = (2**31 - 1, 2**31, 0xFFFFFFE2, 2**32, 2**53, 253_402_300_800)
ODD = [b"", b"\0", b"a\0b", b"\xff", b"\xed\xa0\x80", b"\xf4\x8f\xbf\xbf", b"a/b", b"stats", b"\xef\xbf\xbd"]
LONG = [b"x" * 1024, b"y" * 1025]
texts = st.sampled_from([*ODD, *LONG]) | st.binary(max_size=8) | st.text(max_size=6).map(str.encode)
addresses = st.integers(0, 3).map(lambda number: number.to_bytes(32, "big"))
values = st.integers(0, 2**256 - 1) | st.sampled_from([0, 3, 2**63, 2**256 - 1])


def word(number: int) -> bytes:
    return (number % 2**256).to_bytes(32, "big")


SEED = (
    (parse(NAMED).topic0,),
    encode(["string", "uint256", "int64", "string[]"], ["seed", 1, 1, []]),
)


@st.composite
def contents(draw: Any) -> tuple[tuple[bytes, ...], bytes]:
    """Topics and data."""
    match draw(st.integers(0, 5)):
        case 0 | 1:
            given = [draw(texts), draw(values), draw(st.integers(-(2**63), 2**63 - 1))]
            tags = draw(st.lists(texts, max_size=2))
            return (parse(NAMED).topic0,), encode(["bytes", "uint256", "int64", "bytes[]"], [*given, tags])
        case 2:
            return (parse(MOVED).topic0, draw(addresses), draw(addresses)), word(draw(values))
        case 3:
            return (parse(MOVED).topic0, draw(addresses), draw(addresses), word(draw(values))), b""
        case 4:
            return (draw(st.binary(min_size=32, max_size=32)),), encode(["bytes"], [draw(texts)])
    topics = draw(st.lists(st.binary(min_size=32, max_size=32), max_size=4))
    known = draw(st.sampled_from([[], [parse(NAMED).topic0]]))
    return tuple([*known, *topics][:4]), draw(st.binary(max_size=100))


@st.composite
def stories(draw: Any) -> Story:
    numbers = sorted(draw(st.sets(wide(*EDGES), min_size=1, max_size=5)))
    blocks = []
    for number in numbers:
        own = sha256(b"block %d" % number).digest()
        header = Header(number, own, sha256(own).digest(), draw(wide(*EDGES)))
        logs = []
        for index in sorted(draw(st.sets(wide(*EDGES), min_size=1, max_size=4))):
            topics, data = draw(contents()) if blocks or logs else SEED  # a first build must not be empty
            tx = draw(st.binary(min_size=32, max_size=32))
            logs.append(Log(number, index, CONTRACT, topics, data, tx, draw(wide(*EDGES)), own))
        blocks.append(Block(header, logs))
    place = st.integers(0, len(blocks) - 1)
    final = draw(st.integers(-1, len(blocks) - 1))
    return Story(blocks, draw(st.integers(1, 3)), draw(st.none() | place), final)


# --- what is made of it ---


class Outcome(Struct, frozen=True):
    """The served documents' bodies, their digest and index, the events that were passed over, and which
    documents the database itself finds to break an invariant."""

    documents: dict[str, bytes]
    index: list[tuple[str, str, str]]
    digest: bytes
    dead: list[tuple[int, int, str]]
    broken: list[tuple[str, str]]


_CONFIG = f"""
[store]
url = "sqlite://"
[chains.any]
rpc = "http://127.0.0.1:9"
chain_id = 7
[contracts.things]
chain = "any"
address = "0x{CONTRACT.hex()}"
events = ["{NAMED}", "{MOVED}", "{MOVED_TOO}", "{WHISPER}"]
[projections.things]
projector = "tests.properties.everywhere:Things"
contract = "things"
poison = "quarantine"
"""


def projection_of(folder: Path) -> Projection:
    """The projection as the configuration binds it."""
    path = folder / "chainfold.toml"
    path.write_text(_CONFIG.replace("sqlite://", f"sqlite:///{folder / 'unused.db'}"))
    plan = Plan(load(path))
    try:
        return plan.projections["things"]
    finally:
        plan.close()


_NUMBERS = count(1)


class World:
    """One example in one store: its own chain, its own projection."""

    def __init__(self, store: Store, projection: Projection) -> None:
        self.store = store
        number = next(_NUMBERS)
        self.projection = replace(projection, name=f"things{number}", chain_id=MOST - number)
        self.lease = Lease(store, f"project:{self.projection.name}").acquire()

    def play(self, story: Story) -> None:
        """Appends and folds, block after block, with what the story takes off the chain in between."""
        runner = Runner(self.store, self.lease, self.projection, batch=3)
        for start in range(0, len(story.blocks), story.together):
            end = min(start + story.together, len(story.blocks))
            self._append(story.blocks[start:end], final=story.final if story.final < end else -1, of=story)
            self._flow(runner)
            if story.orphaned is not None and start <= story.orphaned < end:
                with self.store.write() as tx:
                    Journal(tx, self.projection.chain_id).orphan(story.blocks[story.orphaned].header.number)
                self._flow(runner)
                self._append(story.blocks[story.orphaned : end], final=-1, of=story)
                self._flow(runner)

    def rebuild(self) -> None:
        """Builds everything again from the first block, and puts it in the old one's place."""
        runner = Runner(self.store, self.lease, self.projection, batch=5)
        Operations(runner).rebuild()
        self._flow(runner)

    def mend(self, keys: Sequence[str]) -> None:
        """What `verify sinks --repair` does with the keys that differ."""
        Operations(Runner(self.store, self.lease, self.projection)).republish(keys)

    def outcome(self) -> Outcome:
        with self.store.read() as tx:
            served = self.served(tx)
            state = GenerationState(tx, served.id)
            rows = tx.execute(
                text("SELECT name, value, key FROM document_index WHERE generation = :id"), {"id": served.id}
            )
            return Outcome(
                dict(state.scan(2)),
                sorted((name, value, key) for name, value, key in rows),
                served.digest,
                [(item.block, item.log_index, item.reason) for item in state.dead_letters()],
                sorted(violations(tx, served.id, INVARIANTS)),
            )

    def served(self, tx: Any) -> Generation:
        found = Generations(tx, self.projection.name).served()
        assert found is not None
        return found

    def publish(self, sink: Sink, *, batch: int) -> None:
        lease = Lease(self.store, f"publish:{self.projection.name}.{sink.name}").acquire()
        own = self.projection
        publisher = Publisher(
            self.store, lease, sink, projection=own.name, chain_id=own.chain_id, batch=batch
        )
        for _ in range(1_000):
            if publisher.step().idle:
                lease.release()
                return
        raise AssertionError(f"The publisher into {sink.name} does not come to rest.")

    def check(self, sink: Sink) -> list[Any]:
        """What `verify sinks` finds."""
        own = self.projection
        check = SinkCheck(self.store, sink, projection=own.name, chain_id=own.chain_id, expires=False)
        return list(check.run().check.differences)

    def set_aside(self, sink: Sink) -> dict[str, str]:
        """By key what the sink did not take, and why: what `failures list` shows."""
        with self.store.read() as tx:
            return {item.key: item.reason for item in Aside(tx, self.projection.name, sink.name).listed()}

    def wanted(self, sink: Sink) -> dict[str, Any]:
        """What the sink must hold of each document, as it would hold it."""
        with self.store.read() as tx:
            served = self.served(tx)
            changed = Changes(tx, self.projection.name).after(0, None, generation=served.id, limit=10_000)
        changes = [as_change(item, served.block) for item in changed]
        return {item.key: sink.as_held(item).fields for item in changes if item.fields is not None}

    def _append(self, blocks: Sequence[Block], *, final: int, of: Story) -> None:
        chain, last = self.projection.chain_id, blocks[-1].header.number
        with self.store.write() as tx:
            Journal(tx, chain).append(
                [log for block in blocks for log in block.logs],
                {block.header.number: block.header for block in blocks},
                [Covered(Filter(CONTRACT), BlockRange(0, last))],
            )
            if final >= 0:
                Tail(tx, chain).finalize(of.blocks[final].header)
            tx.execute(
                text(
                    "INSERT INTO progress VALUES (:chain, :head, 0, NULL) "
                    "ON CONFLICT (chain_id) DO UPDATE SET head = excluded.head"
                ),
                {"chain": chain, "head": last},
            )

    def _flow(self, runner: Runner) -> None:
        for _ in range(1_000):
            done = runner.step()
            assert done.error is None, done
            if done.idle:
                return
        raise AssertionError("The projection does not come to rest.")


@contextmanager
def opened(*sinks: Sink) -> Iterator[None]:
    with ExitStack() as stack:
        for sink in sinks:
            sink.open()
            stack.callback(sink.close)
        yield


def sinks_of(name: str, mongo: Mongo, redis_url: str) -> list[Any]:
    """One sink of each kind, empty."""
    fields = Thing.__struct_fields__
    return [
        MemorySink(),
        MongoSink(
            mongo.url,
            database=mongo.database,
            collection=f"things_{uuid4().hex}",
            key="key",
            fields=fields,
            dates=frozenset(Things.dates),
            indexes=("text",),
        ),
        RedisSink(
            redis_url,
            key=f"{uuid4().hex}:{{key}}",
            key_field="key",
            fields=fields,
            ttl=None,
            projection=name,
        ),
    ]


# --- what must hold ---


def same_on_all(worlds: Sequence[World], story: Story) -> None:
    """The same documents, index, digest and dead letters in each world, live and rebuilt."""
    outcomes = []
    for world in worlds:
        world.play(story)
        outcomes.append(world.outcome())
        world.rebuild()
        outcomes.append(world.outcome())
    assert all(outcome == outcomes[0] for outcome in outcomes), outcomes


def held_by(world: World, sinks: Sequence[Sink], *, batch: int) -> None:
    """Every sink holds every document, as it holds such values, but for those that are named as set aside."""
    with opened(*sinks):
        for sink in sinks:
            world.publish(sink, batch=batch)
            wanted = world.wanted(sink)
            aside = world.set_aside(sink)
            found = {key: change.fields for key, change in sink.read(list(wanted)).items()}
            expected = {key: fields for key, fields in wanted.items() if key not in aside}
            assert {key: fields for key, fields in found.items() if key not in aside} == expected, sink.name
            assert all(aside.values()), "each has its reason"
            assert aside.keys() <= {key for key in wanted if _is_refused(sink, wanted[key])}
            assert {item.what for item in world.check(sink)} <= aside.keys()


def _is_refused(sink: Sink, fields: dict[str, Any]) -> bool:
    """Is it a document that this sink cannot hold? MongoDB's names of fields hold no NUL."""
    return sink.name == "mongo" and any("\0" in name for name in fields["told"])
