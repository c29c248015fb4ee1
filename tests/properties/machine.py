"""A small world of real parts, in which anything may happen between, and within, any two steps.

The chain is simulated, the store is SQLite or PostgreSQL, the sink is in memory; ingester, runner and
publisher are the ones that ship. A schedule is a list of verbs with whole numbers, so that a part of a
schedule is one too. Law: whenever all has caught up, documents, digest, sink and history are what the oracle
says of the chain.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from msgspec.structs import replace
from sqlalchemy import Connection, event, text

from eventstore.errors import ChainfoldError, Fenced, SourceError, StoreUnavailable
from eventstore.ingest.ingestor import Ingestor
from eventstore.ingest.window import Window
from eventstore.journal.coverage import Coverage
from eventstore.journal.history import Question, ask
from eventstore.journal.integrity import check_digests
from eventstore.journal.tail import Tail
from eventstore.records import Answer, BlockRange, Filter, Header, Identity, Log, Query, Watch
from eventstore.sources.simulated.chain import Emission, SimulatedChain
from eventstore.sources.simulated.source import SimulatedSource
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from projections.errors import ForeignMarker, ProjectorError, SinkUnavailable
from projections.fold.document_type import weight
from projections.fold.fold import Projection
from projections.fold.generation import Generation, Generations
from projections.fold.operations import Operations
from projections.fold.runner import Runner
from projections.fold.state import GenerationState
from projections.projectors import Documents, Projector, handles
from projections.projectors.referrals import Referrals
from projections.publish.publisher import Publisher
from projections.routing.routes import Route, bind
from projections.sinks import Change, Marker
from projections.sinks.memory import MemorySink
from tests.blocks import ALICE, BOB, TOPIC
from tests.folding import FLAGSHIP, address
from tests.oracle import folded
from tests.properties.grounds import Ground, Grounds

CHAIN = 31_337
NAME = "referrals"
CAROL = bytes([0xCA]) * 20
"""A contract that no projection here reads: its logs must disturb nothing."""

BOBS_START = 3
PATIENCE = 400
"""Steps after which a stage should have come to rest."""

HISTORY = {
    "entries": "entry",
    "blocks": "number, entry",
    "logs": "block_number, log_index, entry",
    "orphans": "block_number, entry",
    "entry_kinds": "kind, entry",
    "log_kinds": "kind",
}


class Crash(Exception):
    """The process died here: all that it held in memory is gone."""


class Violation(AssertionError):
    """A law does not hold."""


class Record(Protocol):
    """What a step returns."""

    @property
    def idle(self) -> bool: ...


# --- verbs ---

VERBS: dict[str, tuple[int, dict[str, tuple[int, int]]]] = {}
"""By name: how often a random schedule takes it, and the range of each argument."""


def verb(weight: int, **ranges: tuple[int, int]) -> Callable[[Any], Any]:
    """A method of the world that schedules may call, with whole numbers within these ranges."""

    def keep(method: Any) -> Any:
        VERBS[method.__name__] = weight, ranges
        return method

    return keep


# --- the parts, with a boundary wherever a process may die or be overtaken ---


class WatchedStore(Store):
    """A store in which something may happen before each snapshot. It need not survive a power cut."""

    def __init__(self, url: str, world: World) -> None:
        super().__init__(url)
        self._world = world
        if self.sqlite:
            event.listen(self.engine, "connect", lambda made, _: made.execute("PRAGMA synchronous=OFF"))

    @contextmanager
    def read(self) -> Iterator[Connection]:
        self._world.boundary(StoreUnavailable)
        with super().read() as tx:
            yield tx


class WatchedLease(Lease):
    """A lease that anybody may take over at once, and whose commits may fail before, within, and after."""

    def __init__(self, world: World, name: str, owner: str) -> None:
        super().__init__(world.store, name, ttl=-1, owner=owner)
        self._world = world

    @contextmanager
    def commit(self) -> Iterator[Connection]:
        self._world.boundary(StoreUnavailable)
        with super().commit() as tx:
            yield tx
            self._world.boundary(StoreUnavailable, alone=False)
        if self._world.holders[self.name] is not self:
            raise Violation(f"a zombie committed under the lease {self.name}")
        self._world.boundary(StoreUnavailable)


class Inline(Executor):
    """Does at once, in order, what a pool would do some time: so that a schedule can be repeated."""

    def submit(self, act: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(act(*arguments, **named))
        except Exception as error:  # noqa: BLE001 - it is raised where the result is asked for
            done.set_exception(error)
        return done


class WatchedSource:
    """A simulated source whose chain may move between any two questions, and which may lie about logs."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._inner = SimulatedSource(world.chain)

    def identity(self) -> Identity:
        return self._inner.identity()

    def head(self) -> Header:
        self._world.boundary(SourceError)
        return self._inner.head()

    def finalized(self) -> Header | None:
        self._world.boundary(SourceError)
        return self._inner.finalized()

    def headers(self, numbers: Sequence[int]) -> list[Header | None]:
        self._world.boundary(SourceError)
        return self._inner.headers(numbers)

    def logs(self, query: Query, where: BlockRange | Header) -> Answer:
        self._world.boundary(SourceError)
        answer = self._inner.logs(query, where)
        return Answer(self._world.told(answer.logs), answer.last)


class FrailSink(MemorySink):
    """A memory sink that may fail at each write, in the midst of one, and lose everything at any time."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def wipe(self) -> None:
        with self._lock:
            self._held.clear()
            self._marker = None

    def marker(self) -> Marker | None:
        self._world.boundary(SinkUnavailable)
        return super().marker()

    def mark(self, new: Marker, *, old: Marker | None) -> None:
        self._world.boundary(SinkUnavailable)
        super().mark(new, old=old)
        self._world.boundary(SinkUnavailable)

    def write(self, changes: Sequence[Change]) -> int:
        half = len(changes) // 2
        self._world.boundary(SinkUnavailable)
        done = super().write(changes[:half])
        self._world.boundary(SinkUnavailable)
        done += super().write(changes[half:])
        self._world.boundary(SinkUnavailable)
        return done


class Hand:
    """One process that works at one stage: the stage and the lease it was hired with."""

    def __init__(
        self, role: str, lease: WatchedLease, stage: Ingestor | Runner | Publisher, *, contracts: int
    ) -> None:
        self.role = role
        self.contracts = contracts  # how many its configuration names
        self.lease = lease
        self.stage = stage

    def close(self) -> None:
        if isinstance(self.stage, Ingestor):
            self.stage.close()


class Tally(msgspec.Struct, frozen=True):
    """How often an address was registered: unlike a graph of edges, it forgives no event folded twice."""

    address: str
    times: int = 0


class Tallies(Projector):
    """Counts registrations."""

    document = Tally
    key = "address"

    @handles("ReferralRegistered(address indexed user, address indexed referrer, uint256 timestamp)")
    def registered(self, event: Any, tallies: Documents[Tally]) -> None:
        found = tallies.get(event.user) or Tally(event.user)
        tallies.put(found.address, replace(found, times=found.times + 1))


def tallied(events: Sequence[tuple[str, str | None, int, int]]) -> dict[str, dict[str, Any]]:
    """What `Tallies` must come to, by counting."""
    return {
        user: {"address": user, "times": times}
        for user, times in Counter(event[0] for event in events).items()
    }


def projection(code: int, projector: Projector, **options: Any) -> Projection:
    """What version `code` of the configuration reads: Alice's registrations, from version 1 on Bob's
    as well, who names the referrer first."""
    routes: list[Route] = bind(projector, addresses=[ALICE], events=[FLAGSHIP], roles={}, where="tests")
    watches = [Watch(Filter(ALICE, FLAGSHIP.topic0))]
    if code:
        (bobs,) = bind(projector, addresses=[BOB], events=[FLAGSHIP], roles={}, where="tests")
        plainly = bobs.handle

        def swapped(registered: Any, users: Any) -> None:
            plainly(replace(registered, user=registered.referrer, referrer=registered.user), users)

        routes.append(replace(bobs, handle=swapped))
        watches.append(Watch(Filter(BOB), BOBS_START))
    return Projection(
        NAME,
        CHAIN,
        projector,
        {route.kind: route for route in routes},
        tuple(watches),
        fingerprint=f"f{code}",
        **options,
    )


ROLES = ("ingest", "fold0", "fold1", "publish")
TROUBLES = (
    *("fail", "fail", "fail", "crash", "takeover", "ingest", "fold", "publish", "mine", "reorg"),
    *("upheaval", "upheaval", "wipe"),
)
"""What may happen at a boundary: an error that leaves the process alive, its death, another instance that
takes the lease over and works, another stage's step, a move of the chain (that the ingester sees at once,
in an upheaval), a wipe of the sink."""


class World:
    """The chain, the store, the sink, and who works on them."""

    def __init__(self, ground: Ground, *, style: int = 0) -> None:
        self._ground = ground
        self._options: dict[str, Any] = {
            "follow": "finalized" if style % 4 == 3 else "latest",
            "undo": ("finality", "forever", 2, "finality", "finality")[style % 5],
        }
        self._batch = (1, 3, 20)[style % 3]
        self._tallies = style % 7 in (2, 5)
        self.chain = SimulatedChain(chain_id=CHAIN)
        self.chain.finalize(0)
        self.sink = FrailSink(self)
        self.holders: dict[str, WatchedLease] = {}
        self._hired = 0
        self._emitted = 0
        self._tips: list[bytes] = []
        self._troubles: list[tuple[int, str]] = []
        self._within = 0
        self._at_work = "ingest"
        self._watches: list[Watch] = [Watch(Filter(ALICE, FLAGSHIP.topic0))]
        self._hands: dict[str, Hand] = {}
        self._zombies: list[Hand] = []
        self._seen: dict[str, dict[tuple[Any, ...], tuple[Any, ...]]] = {}
        self._kept: dict[str, dict[tuple[Any, ...], tuple[Any, ...]]] | None = None
        self._unclaimed = False
        self._lie: tuple[str, int] | None = None
        self._lied = False
        self.store = WatchedStore(ground.url, self)
        self._mine(2, 1)

    def close(self) -> None:
        for hand in [*self._hands.values(), *self._zombies]:
            hand.close()
        self.store.close()
        self._ground.clear()

    def do(self, name: str, **arguments: int) -> None:
        """One line of a schedule."""
        getattr(self, name)(**arguments)

    # --- what the chain does ---

    @verb(8, n=(1, 3), seed=(0, 999))
    def mine(self, n: int, seed: int) -> None:
        self._mine(n, seed)

    @verb(5, depth=(1, 12), seed=(0, 999))
    def reorg(self, depth: int, seed: int) -> None:
        """Of any depth, also below finality; the new branch is longer, equal or shorter."""
        self._reorg(depth, seed)

    @verb(4, depth=(1, 14), left=(0, 13), seed=(0, 999))
    def fall_back(self, depth: int, left: int, seed: int) -> None:
        """The chain becomes shorter, also below finality, and all is looked at before it grows again: with
        another branch, with blocks that hold nothing in the place of those that left, or with none."""
        depth = min(depth, self.chain.head().number)
        if depth:
            self._tips.append(self.chain.head().hash)
            logs = [self._logs(seed + number) if seed % 3 else [] for number in range(min(left, depth - 1))]
            self.chain.reorg(depth, logs=logs)
        self.settle(short=1)

    @verb(2, which=(0, 5))
    def switch(self, which: int) -> None:
        """A branch that was left becomes canonical again."""
        if self._tips:
            tip = self.chain.head().hash
            self.chain.switch(self._tips[which % len(self._tips)])
            self._tips.append(tip)

    @verb(5, behind=(0, 8))
    def finalise(self, behind: int) -> None:
        self.chain.finalize(max(0, self.chain.head().number - behind))

    # --- what the stages do ---

    @verb(10, n=(1, 4))
    def ingest(self, n: int) -> None:
        self._turn("ingest", n)

    @verb(12, code=(0, 3), n=(1, 4))
    def fold(self, code: int, n: int) -> None:
        """Mostly by the version that is served, now and then by the other, side by side."""
        self._turn(f"fold{self._code() if code else 1 - self._code()}", n)

    @verb(10, n=(1, 4))
    def publish(self, n: int) -> None:
        self._turn("publish", n)

    # --- what goes wrong ---

    @verb(14, after=(0, 9), what=(0, len(TROUBLES) - 1))
    def trouble(self, after: int, what: int) -> None:
        """At the `after`-th boundary from now on. Two may be under way."""
        if len(self._troubles) < 2:
            self._troubles.append((after, TROUBLES[what]))

    @verb(2, what=(0, 1), which=(0, 9))
    def lie(self, what: int, which: int) -> None:
        """From now on the node leaves out, or alters, one log of each ten, until somebody looks."""
        self._lie = ("withhold", "alter")[what], which

    @verb(1)
    def repent(self) -> None:
        """The node tells the truth again."""
        self._lie = None

    def told(self, logs: list[Log]) -> list[Log]:
        """What the node says where these are on its chain."""
        if self._lie is None or not logs:
            return logs
        what, which = self._lie
        told = []
        for log in logs:
            if log.tx_hash[0] % 10 != which or log.block_number == 0:
                told.append(log)
                continue
            self._lied = True
            if what == "alter":
                told.append(msgspec.structs.replace(log, data=bytes(32)))
        return told

    @verb(3, who=(0, 3))
    def pause(self, who: int) -> None:
        """A process sleeps, and another takes its lease over."""
        role = ROLES[who]
        if role in self._hands:
            self._zombies.append(self._hands.pop(role))
            self._hire(role)
            for tired in self._zombies[:-3]:
                tired.close()
            self._zombies = self._zombies[-3:]

    @verb(5, who=(0, 2))
    def wake(self, who: int) -> None:
        """The sleeper wakes as a zombie, and does not know it."""
        if self._zombies:
            self._step(self._zombies[who % len(self._zombies)])

    @verb(2, who=(0, 2))
    def return_(self, who: int) -> None:
        """The sleeper wakes, and takes its lease back before it does anything."""
        if self._zombies:
            hand = self._zombies.pop(who % len(self._zombies))
            if (present := self._hands.pop(hand.role, None)) is not None:
                self._zombies.append(present)
            hand.lease.acquire()
            self.holders[hand.lease.name] = hand.lease
            self._hands[hand.role] = hand

    @verb(2)
    def wipe(self) -> None:
        self.sink.wipe()

    @verb(2)
    def backup(self) -> None:
        """A copy of the store is laid aside."""
        self._look_at_history()
        self.store.close()
        self._ground.lay_aside()
        self._kept = {name: dict(rows) for name, rows in self._seen.items()}

    @verb(1)
    def restore(self) -> None:
        """All processes end, and the copy takes the store's place: the sink may be ahead of it now."""
        if self._kept is None:
            return
        self._look_at_history()
        for hand in [*self._hands.values(), *self._zombies]:
            hand.close()
        self._hands, self._zombies = {}, []
        self.store.close()
        self._ground.put_back()
        self._seen = {name: dict(rows) for name, rows in self._kept.items()}
        with self._quiet():
            self.store = WatchedStore(self._ground.url, self)
            marker, served = self.sink.marker(), self.served()
            self._unclaimed = marker is not None
            with self.store.read() as tx:
                sends = tx.execute(text("SELECT max(sends) FROM publications")).scalar() or 0
            if served is not None and marker is not None and marker.sends > sends:
                try:
                    self._hand("publish").stage.step()  # type: ignore[union-attr]
                except ForeignMarker:
                    return
                raise Violation("a sink that is ahead of a restored store was not refused")

    # --- what people do ---

    @verb(2, what=(0, 2))
    def watch(self, what: int) -> None:
        """A contract is added late, or Alice's other topics: the ingester comes up with more to fetch."""
        late = (Watch(Filter(BOB), BOBS_START), Watch(Filter(CAROL)), Watch(Filter(ALICE)))[what]
        if late not in self._watches:
            self._watches.append(late)
            self._hire("ingest")

    @verb(3, first=(0, 30), length=(1, 40))
    def resync(self, first: int, length: int) -> None:
        """Blocks are fetched again by force, also those that are there."""
        hand = self._hand("ingest")
        at, last = first, min(first + length - 1, self.chain.head().number)
        for _ in range(PATIENCE):
            if at > last or self._hands.get("ingest") is not hand:
                return
            asked = BlockRange(at, last)
            assert isinstance(hand.stage, Ingestor)
            done = self._try(hand, lambda asked=asked, stage=hand.stage: stage.resync(asked))
            if done is None and not self._within:
                return
            at = at if done is None else done[1] + 1
        raise Violation("a resync does not end")

    @verb(2, back=(0, 8), hold=(0, 1))
    def roll_back(self, back: int, hold: int) -> None:
        served = self.served()
        if served is not None:
            to = max(-1, served.block - back)
            self._by_hand(lambda operations: operations.rollback(to, hold=bool(hold)))

    @verb(2)
    def resume(self) -> None:
        self._by_hand(lambda operations: operations.resume())

    @verb(3, other=(0, 1), promote=(0, 1))
    def rebuild(self, other: int, promote: int) -> None:
        """By the version that is served, or by the other one."""
        self._by_hand(lambda operations: operations.rebuild(promote=bool(promote)), other=bool(other))

    @verb(2)
    def back(self) -> None:
        """What was served before becomes so again."""
        self._by_hand(lambda operations: operations.back(), other=True)

    # --- what must hold ---

    @verb(2, short=(0, 1))
    def settle(self, short: int) -> None:
        """All stages catch up, and then the laws are checked. `short`: the chain stands where it is,
        however low; else it has grown above all that was ever final first."""
        self._troubles.clear()
        self._lie = None
        with self._quiet():
            self._catch_up(grown=not short)
            self.check()

    def finish(self) -> None:
        """`settle`, and a fresh build must come to the same digest."""
        self.settle(short=0)
        with self._quiet():
            before = self.served()
            assert before is not None
            Operations(self._runner(self._code())).rebuild()
            self._rest(f"fold{self._code()}")
            after = self.served()
            assert after is not None
            if after.id == before.id or after.digest != before.digest:
                raise Violation("a fresh rebuild has another digest")
            self._rest("publish")
            self.check()

    def check(self) -> None:
        """The laws, of a world that has caught up."""
        served = self.served()
        if served is None:
            raise Violation("all has caught up, and nothing is served")
        head = self.chain.head().number
        with self.store.read() as tx:
            finalized = Tail(tx, CHAIN).finalized()
            if broken := check_digests(tx, CHAIN):
                raise Violation(f"the journal's digests do not hold: {broken}")
            living = [item.log for item in ask(tx, CHAIN, Question())]
            for item in self._watches:
                if Coverage(tx, CHAIN).through(item) < head:
                    raise Violation(f"{item} is not covered to the head {head}")
            rows = dict(GenerationState(tx, served.id).scan())
        there = self.chain.logs_in(0, head)
        _same(
            "canonical logs", [log for log in living if self._wanted(log)], list(filter(self._wanted, there))
        )
        if strange := set(living) - set(there):  # a query for several filters may bring more than each wants
            raise Violation(f"these live in the journal and are not on the chain: {strange}")
        reach = finalized if self._options["follow"] == "finalized" else head
        if served.block < reach or served.state != "live":  # above: the chain became shorter, nothing moved
            raise Violation(f"{served} has not caught up to block {reach}")
        documents = {key: msgspec.json.decode(body) for key, body in rows.items()}
        oracle = tallied if self._tallies else folded
        _same("documents", documents, oracle(self._events(served)))
        digest = sum(weight(key, body) for key, body in rows.items()) % 2**256
        if (served.documents, served.digest) != (len(rows), digest.to_bytes(32, "big")):
            raise Violation("the digest or the count beside the cursor is not that of the documents")
        held = {change.key: change.fields for change in self.sink.scan() if change.fields is not None}
        _same("the sink", held, documents)
        self._look_at_history()

    def served(self) -> Generation | None:
        with self._quiet(), self.store.read() as tx:
            return Generations(tx, NAME).served()

    def boundary(self, failure: type[ChainfoldError], *, alone: bool = True) -> None:
        """A place where a process may die or be overtaken. `alone`: nothing of it is open here."""
        if self._within:
            return
        due = [what for left, what in self._troubles if left <= 0]
        self._troubles = [(left - 1, what) for left, what in self._troubles if left > 0]
        for what in due:
            with self._quiet():
                self._befall(what, failure, alone=alone)

    # --- within ---

    def _befall(self, what: str, failure: type[ChainfoldError], *, alone: bool) -> None:
        role = self._at_work
        match what:
            case "fail":
                raise _failed(failure)
            case "crash":
                raise Crash
            case _ if not alone:
                return
            case "takeover":
                if role in self._hands:
                    self._zombies.append(self._hands.pop(role))
                self._hire(role)
                for _ in range(2):
                    self._step(self._hand(role))
            case "upheaval" if role != "ingest":
                self._reorg(3, self._emitted)
                for _ in range(3):
                    self._step(self._hand("ingest"))
            case "ingest" | "publish" | "fold":
                other = f"fold{self._code()}" if what == "fold" else what
                for _ in range(3):
                    if other != role:
                        self._step(self._hand(other))
            case "mine":
                self._mine(1, self._emitted)
            case "reorg":
                self._reorg(2, self._emitted)
            case "wipe":
                self.sink.wipe()
        self._at_work = role

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """Nothing interferes with what is done in here."""
        self._within += 1
        try:
            yield
        finally:
            self._within -= 1

    def _turn(self, role: str, n: int) -> None:
        for _ in range(n):
            self._step(self._hand(role))

    def _step(self, hand: Hand) -> Record | None:
        """One step as a loop does it; None where it failed in a way that may heal."""
        if self._unclaimed and hand.role == "publish":
            self._try(hand, self._claim_again)
            if self._unclaimed:  # it died on the way, or nothing is served yet: it is refused until then
                return None
        done = self._try(hand, hand.stage.step)
        if done is not None and getattr(done, "error", None) is not None:
            raise Violation(f"{hand.role} halted: {done.error}")
        if isinstance(hand.stage, Runner) and done is not None and done.rewound_to is not None:
            self._check_rewind(int(hand.role[-1]), done.rewound_to)
        return done  # type: ignore[no-any-return]

    def _try(self, hand: Hand, act: Callable[[], Any]) -> Any:
        self._at_work = hand.role
        try:
            return act()
        except Crash:
            hand.close()
            if self._hands.get(hand.role) is hand:
                del self._hands[hand.role]
            elif hand in self._zombies:
                self._zombies.remove(hand)
        except Fenced:
            if self.holders[hand.lease.name] is not hand.lease and self._hands.get(hand.role) is hand:
                del self._hands[hand.role]
                self._zombies.append(hand)
        except ChainfoldError as error:
            if not error.retry:
                raise
        return None

    def _claim_again(self) -> None:
        publisher = self._hand("publish").stage
        assert isinstance(publisher, Publisher)
        if self.served() is not None:
            publisher.take_over()
            self._unclaimed = False

    def _by_hand(self, act: Callable[[Operations], object], *, other: bool = False) -> None:
        code = 1 - self._code() if other else self._code()
        hand = self._hand(f"fold{code}")

        def ask() -> None:
            assert isinstance(hand.stage, Runner)
            with suppress(ProjectorError):  # nothing to go back to, or nothing of this version is served
                act(Operations(hand.stage))

        self._try(hand, ask)

    def _hand(self, role: str) -> Hand:
        if role not in self._hands:
            self._hire(role)
        return self._hands[role]

    def _hire(self, role: str) -> None:
        """A new process takes the role over from its holder."""
        if (old := self._hands.pop(role, None)) is not None:
            old.close()
        self._hired += 1
        name = {
            "ingest": f"ingest:{CHAIN}",
            "fold0": f"project:{NAME}:f0",
            "fold1": f"project:{NAME}:f1",
            "publish": f"publish:{NAME}.memory",
        }[role]
        with self._quiet():
            lease = WatchedLease(self, name, f"h||{self._hired}|x")
            lease.acquire()
            self.holders[name] = lease
            stage: Ingestor | Runner | Publisher
            match role:
                case "ingest":
                    stage = Ingestor(
                        self.store,
                        WatchedSource(self),
                        lease,
                        chain_id=CHAIN,
                        watches=self._watches,
                        window=Window(size=4),
                        workers=Inline(),
                    )
                    stage.open()
                case "publish":
                    stage = Publisher(
                        self.store,
                        lease,
                        self.sink,
                        projection=NAME,
                        chain_id=CHAIN,
                        batch=1 + self._batch % 4,
                    )
                case _:
                    projector = Tallies() if self._tallies else Referrals()
                    own = projection(int(role[-1]), projector, **self._options)
                    stage = Runner(self.store, lease, own, batch=self._batch)
        self._hands[role] = Hand(role, lease, stage, contracts=len(self._watches))

    def _runner(self, code: int) -> Runner:
        stage = self._hand(f"fold{code}").stage
        assert isinstance(stage, Runner)
        return stage

    def _code(self) -> int:
        """The version that is served, 0 before any is."""
        served = self.served()
        return 0 if served is None else int(served.fingerprint[-1])

    # --- the chain's script ---

    def _mine(self, n: int, seed: int) -> None:
        for number in range(n):
            self.chain.mine(logs=self._logs(seed + number))

    def _reorg(self, depth: int, seed: int) -> None:
        depth = min(depth, self.chain.head().number)
        if depth:
            self._tips.append(self.chain.head().hash)
            length = max(0, depth + seed % 3 - 1)
            self.chain.reorg(depth, logs=[self._logs(seed + number) for number in range(length)])

    def _logs(self, seed: int) -> list[Emission]:
        made = []
        for number in range(seed % 4):
            self._emitted += 1
            pick = seed // 4 + 7 * self._emitted + number
            user, referrer = 1 + pick % 6, (pick // 6 + self._emitted) % 7
            where = (ALICE, ALICE, BOB, CAROL)[(pick + number) % 4]
            topic = TOPIC if pick % 5 == 0 else FLAGSHIP.topic0
            referrer = max(1, referrer) if where == BOB else referrer
            topics = (topic, user.to_bytes(32, "big"), referrer.to_bytes(32, "big"))
            made.append(Emission(where, topics, self._emitted.to_bytes(32, "big")))
        return made

    def _wanted(self, log: Any) -> bool:
        return any(
            item.filter.matches(log) and log.block_number >= item.first_block for item in self._watches
        )

    def _events(self, served: Generation) -> list[tuple[str, str | None, int, int]]:
        """What the oracle gets: the registrations on the chain, as the served version reads them."""
        told: list[tuple[str, str | None, int, int]] = []
        for log in self.chain.logs_in(0, served.block):
            header = self.chain.header(log.block_number)
            assert header is not None
            if log.topics[0] != FLAGSHIP.topic0:
                continue
            user, referrer = (address(int.from_bytes(topic, "big")) for topic in log.topics[1:])
            at = int.from_bytes(log.data, "big")
            if log.address == ALICE:
                told.append((user, referrer, at, header.timestamp))
            elif log.address == BOB and served.fingerprint == "f1" and log.block_number >= BOBS_START:
                told.append((referrer, user, at, header.timestamp))
        return told

    # --- looking ---

    def _catch_up(self, *, grown: bool) -> None:
        for role in ROLES:
            hand = self._hands.get(role)
            if hand is None:
                continue
            outdated = role == "ingest" and hand.contracts < len(self._watches)
            if outdated or self.holders[hand.lease.name] is not hand.lease:
                self._hire(role)
        if grown:
            with self.store.read() as tx:
                finalized = Tail(tx, CHAIN).finalized()
            self._mine(max(1, finalized + 1 - self.chain.head().number), 3)
        if self._lied:  # a block that contradicts history stands until it is fetched by force
            self.resync(0, self.chain.head().number + 1)
        self._rest("ingest")
        self._word_of_the_operator()
        code = self._code()
        if code:
            self.watch(0)
            self._rest("ingest")
        if self._lied:  # what an answer leaves out does not show in it: it is fetched again
            self.resync(0, self.chain.head().number + 1)
            self._rest("ingest")
        Operations(self._runner(code)).resume()
        self._rest(f"fold{code}")
        served = self.served()
        if served is None or served.state == "stale":  # its build has to wait
            Operations(self._runner(code)).rebuild()
            self._rest(f"fold{code}")
        self._rest("publish")

    def _word_of_the_operator(self) -> None:
        """A head that is an ancestor of ours competes with nothing: a person has to decide."""
        with self.store.read() as tx:
            known = Tail(tx, CHAIN).headers()
        head = self.chain.head()
        if not known or known[-1].number <= head.number:
            return
        stage = self._hand("ingest").stage
        assert isinstance(stage, Ingestor)
        done = stage.retreat().done
        if done is None or done.rewound_to is None or done.rewound_to > head.number:
            raise Violation(f"the chain moved back to {head.number}, and what was followed is {done}")
        self._rest("ingest")

    def _rest(self, role: str) -> None:
        for _ in range(PATIENCE):
            done = self._step(self._hand(role))
            if done is not None and done.idle:
                return
        raise Violation(f"{role} does not come to rest")

    def _check_rewind(self, code: int, to: int) -> None:
        """Only a change of the projection's own logs moves it backwards, and only so far."""
        kinds = [ALICE + FLAGSHIP.topic0] + ([BOB + FLAGSHIP.topic0] if code else [])
        with self._quiet(), self.store.read() as tx:
            found = tx.execute(
                text(
                    "SELECT e.entry, e.first_block, k.address, k.topic0 FROM entry_kinds e "
                    "JOIN log_kinds k ON k.kind = e.kind"
                )
            ).all()
        touched = {block for _, block, contract, topic in found if contract + topic in kinds}
        if to + 1 not in touched:
            raise Violation(f"rewound to {to}, but none of its own logs changed above")

    def _look_at_history(self) -> None:
        """All that was ever seen in history is still there, unchanged."""
        with self._quiet(), self.store.read() as tx:
            for table, key in HISTORY.items():
                width = key.count(",") + 1
                rows = tx.exec_driver_sql(f"SELECT {key}, * FROM {table}").all()
                now = {tuple(row[:width]): tuple(row[width:]) for row in rows}
                for known, row in self._seen.get(table, {}).items():
                    if now.get(known) != row:
                        raise Violation(f"history changed: {table} {known}")
                self._seen[table] = now


def _failed(failure: type[ChainfoldError]) -> ChainfoldError:
    error = failure("It failed, as it should.")
    error.retry = True
    return error


def _same(what: str, found: Any, wanted: Any) -> None:
    if found != wanted:
        if isinstance(found, list):  # of logs
            found, wanted = (
                {(log.block_number, log.log_index): log.block_hash.hex()[:8] for log in side}
                for side in (found, wanted)
            )
        if isinstance(found, dict):
            keys = [key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key)]
            found, wanted = ({key: side.get(key) for key in sorted(keys)} for side in (found, wanted))
        raise Violation(f"{what}: found\n  {found}\nbut it should be\n  {wanted}")


def machine(grounds: Grounds) -> type[RuleBasedStateMachine]:
    """The state machine whose rules are the world's verbs; each run gets a place of its own."""
    runs = iter(range(10**9))

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.world = World(grounds.fresh(), style=next(runs))
            self._failed = False

        def teardown(self) -> None:
            try:
                if not self._failed:
                    self.world.finish()
            finally:
                self.world.close()

    for name, (_, ranges) in VERBS.items():
        setattr(Machine, name, _rule(name, ranges))
    return Machine


def _rule(name: str, ranges: dict[str, tuple[int, int]]) -> Any:
    def play(self: Any, **arguments: int) -> None:
        try:
            self.world.do(name, **arguments)
        except BaseException:
            self._failed = True
            raise

    play.__name__ = name
    return rule(**{key: st.integers(*span) for key, span in ranges.items()})(play)
