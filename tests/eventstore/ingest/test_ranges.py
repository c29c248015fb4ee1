"""What a source would not give: narrowed down to the blocks at fault, written down, asked for again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore.errors import (
    AnswerRefused,
    BlockUnknown,
    RangeTooLarge,
    SourceError,
    SourceUnavailable,
    Throttled,
)
from eventstore.ingest.branch import Ingested
from eventstore.ingest.failed_ranges import FailedRange, FailedRanges, outside
from eventstore.ingest.ingestor import Ingestor
from eventstore.ingest.window import Window
from eventstore.journal.coverage import Coverage
from eventstore.journal.history import Question, ask
from eventstore.records import Answer, BlockRange, Filter, Header, Identity, Log, Query, Watch
from eventstore.sources.simulated.chain import Emission, SimulatedChain
from eventstore.sources.simulated.source import SimulatedSource
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from tests.blocks import ALICE, BOB, TOPIC
from tests.stores import migrated

CHAIN = 31_337
HEAD = 400
FINAL = 380


class Moody:
    """A simulated source that refuses what `mood` says, and counts what it was asked for."""

    def __init__(self, chain: SimulatedChain) -> None:
        self._inner = SimulatedSource(chain)
        self.mood: Callable[[BlockRange | Header], SourceError | None] = lambda _: None
        self.alter: Callable[[Log], Log] = lambda log: log
        self.asked: list[BlockRange | Header] = []
        self.queries: list[Query] = []

    def identity(self) -> Identity:
        return self._inner.identity()

    def head(self) -> Header:
        return self._inner.head()

    def finalized(self) -> Header | None:
        return self._inner.finalized()

    def headers(self, numbers: Sequence[int]) -> list[Header | None]:
        return self._inner.headers(numbers)

    def logs(self, query: Query, where: BlockRange | Header) -> Answer:
        self.asked.append(where)
        self.queries.append(query)
        if (error := self.mood(where)) is not None:
            raise error
        answer = self._inner.logs(query, where)
        return Answer([self.alter(log) for log in answer.logs], answer.last)


def within(first: int, last: int, error: Callable[[], SourceError], *, by_hash: bool = True) -> Any:
    """A mood: every question that touches these blocks ends so; by their hashes they may be had, or not."""

    def mood(where: BlockRange | Header) -> SourceError | None:
        match where:
            case BlockRange():
                hit = where.first <= last and where.last >= first
            case Header():
                hit = by_hash and first <= where.number <= last
        return error() if hit else None

    return mood


@pytest.fixture
def chain() -> SimulatedChain:
    made = SimulatedChain()
    for number in range(1, HEAD + 1):
        made.mine(logs=[Emission(ALICE if number % 2 else BOB, (TOPIC,), bytes([number % 251]))])
    made.finalize(FINAL)
    return made


@pytest.fixture
def source(chain: SimulatedChain) -> Moody:
    return Moody(chain)


def ingestor(store: Store, source: Moody, *, size: int = 64) -> Ingestor:
    lease = Lease(store, f"ingest:{CHAIN}", owner="test||1|a").acquire()
    made = Ingestor(
        store,
        source,
        lease,
        chain_id=CHAIN,
        watches=(Watch(Filter(ALICE)), Watch(Filter(BOB))),
        window=Window(size=size),
    )
    made.open()
    return made


def to_end(stage: Ingestor, *, errors: int = 20) -> list[Ingested]:
    """Steps as a loop does; what may heal is tried again, but not for ever."""
    done: list[Ingested] = []
    while not done or not done[-1].idle:
        try:
            done.append(stage.step())
        except SourceError as error:
            assert error.retry
            errors -= 1
            assert errors > 0, "it comes to no end"
        assert len(done) < 500, "it comes to no end"
    return done


def stored(store: Store) -> list[Log]:
    with store.read() as tx:
        return [item.log for item in ask(tx, CHAIN, Question())]


def failed(store: Store) -> list[FailedRange]:
    with store.read() as tx:
        return FailedRanges(tx, CHAIN).all()


def hurry(store: Store) -> None:
    with store.write() as tx:
        FailedRanges(tx, CHAIN).hurry()


REFUSALS = {
    "too large": lambda: RangeTooLarge("Too much."),
    "not believed": lambda: AnswerRefused("It cannot be."),
    "unknown": lambda: BlockUnknown("Pruned."),
    "timed out": lambda: SourceUnavailable("It took too long."),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_one_block_that_cannot_be_had_is_the_only_gap(
    refusal: str, sqlite_store: Store, chain: SimulatedChain, source: Moody
) -> None:
    source.mood = within(133, 133, REFUSALS[refusal])
    stage = ingestor(sqlite_store, source)
    done = to_end(stage)
    assert stored(sqlite_store) == [log for log in chain.logs_in(0, HEAD) if log.block_number != 133]
    [gap] = failed(sqlite_store)
    assert gap.range.first <= 133 <= gap.range.last
    assert len(gap.range) <= 2
    assert [item.reason for item in done if item.failed] == [gap.reason]
    with sqlite_store.read() as tx:
        assert Coverage(tx, CHAIN).through(Watch(Filter(ALICE))) == gap.range.first - 1


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_block_that_is_refused_by_its_number_is_read_by_its_hash(
    refusal: str, sqlite_store: Store, chain: SimulatedChain, source: Moody
) -> None:
    source.mood = within(133, 133, REFUSALS[refusal], by_hash=False)
    to_end(ingestor(sqlite_store, source))
    assert stored(sqlite_store) == chain.logs_in(0, HEAD)
    assert failed(sqlite_store) == []


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_gap_is_filled_once_the_source_gives_it(
    refusal: str, store: Store, chain: SimulatedChain, source: Moody
) -> None:
    source.mood = within(100, 180, REFUSALS[refusal])
    stage = ingestor(store, source)
    to_end(stage, errors=2000)
    assert failed(store)
    source.mood = lambda _: None
    while failed(store):
        hurry(store)
        to_end(stage)
    assert stored(store) == chain.logs_in(0, HEAD)


def test_a_pruned_beginning_is_not_searched_block_by_block(
    sqlite_store: Store, chain: SimulatedChain, source: Moody
) -> None:
    source.mood = within(0, 300, REFUSALS["unknown"])
    to_end(ingestor(sqlite_store, source))
    assert len(source.asked) < 80
    assert {log.block_number for log in stored(sqlite_store)} >= set(range(FINAL + 1, HEAD + 1))
    [gap] = failed(sqlite_store)
    assert gap.range.first == 0
    assert gap.range.last >= 300


def test_what_is_not_pruned_of_a_failed_range_comes_back_from_its_end(
    sqlite_store: Store, chain: SimulatedChain, source: Moody
) -> None:
    source.mood = within(0, 200, REFUSALS["unknown"])
    stage = ingestor(sqlite_store, source)
    to_end(stage)
    for _ in range(20):
        with sqlite_store.write() as tx:
            tx.exec_driver_sql("UPDATE failures SET retry_at = 0")
        to_end(stage)
    [gap] = failed(sqlite_store)
    assert (gap.range.first, gap.range.last) == (0, 200)
    assert stored(sqlite_store) == chain.logs_in(201, HEAD)


def test_a_failed_range_waits_longer_each_time(store: Store, source: Moody) -> None:
    with store.write() as tx:
        failures = FailedRanges(tx, CHAIN)
        waits = []
        for _ in range(12):
            failures.add(BlockRange(5, 5), "no")
            [item] = failures.all()
            waits.append(round((item.retry_at - item.since) / 1e6))
    assert waits[:4] == [10, 20, 40, 80]
    assert waits[-1] == 3600


def test_what_throttles_is_never_narrowed_nor_given_up(sqlite_store: Store, source: Moody) -> None:
    source.mood = within(0, HEAD, lambda: Throttled("Slowly."))
    stage = ingestor(sqlite_store, source)
    for _ in range(10):
        with pytest.raises(Throttled):
            stage.step()
    assert failed(sqlite_store) == []
    source.mood = lambda _: None
    assert max(len(item) for item in source.asked if isinstance(item, BlockRange)) == 64


def test_ranges_are_asked_for_ahead_and_committed_in_order(
    sqlite_store: Store, chain: SimulatedChain, source: Moody
) -> None:
    stage = ingestor(sqlite_store, source)
    first = stage.step()
    assert first.fetched == BlockRange(0, 63)
    ahead = [item for item in source.asked if isinstance(item, BlockRange)]
    assert len(ahead) >= 4
    assert stored(sqlite_store) == chain.logs_in(0, 63)
    to_end(stage)
    assert stored(sqlite_store) == chain.logs_in(0, HEAD)


def test_more_addresses_than_a_node_takes_are_asked_for_apart(sqlite_store: Store) -> None:
    """By range, by hash, and by force; 500 is fewer than any node is known to refuse."""
    addresses = [number.to_bytes(20, "big") for number in range(1, 1_201)]
    chain = SimulatedChain()
    for number in range(40):
        chain.mine(logs=[Emission(address, (TOPIC,)) for address in addresses[number::40]])
    chain.finalize(30)
    source = Moody(chain)
    lease = Lease(sqlite_store, f"ingest:{CHAIN}").acquire()
    watches = [Watch(Filter(address)) for address in addresses]
    stage = Ingestor(sqlite_store, source, lease, chain_id=CHAIN, watches=watches)
    stage.open()
    to_end(stage)
    assert len(stored(sqlite_store)) == 1_200
    found, _ = stage.resync(BlockRange(0, 30))
    assert found.logs == 900
    assert max(len(query.addresses) for query in source.queries) == 500
    stage.close()


def test_an_altered_log_makes_its_block_orphaned_and_appended_anew(
    store: Store, chain: SimulatedChain, source: Moody
) -> None:
    source.alter = lambda log: msgspec.structs.replace(log, data=b"x") if log.block_number == 77 else log
    stage = ingestor(store, source)
    to_end(stage)
    source.alter = lambda log: log
    found, reached = stage.resync(BlockRange(70, 80))
    assert (found.missing, found.orphaned, found.orphaned_in, reached) == (1, 1, (77,), 80)
    to_end(stage)
    assert stored(store) == chain.logs_in(0, HEAD)
    with store.read() as tx:
        gone = list(ask(tx, CHAIN, Question(orphaned=True)))
    assert [(item.log.block_number, item.log.data) for item in gone] == [(77, b"x")]


def test_a_node_that_contradicts_history_makes_a_gap_until_it_is_fetched_by_force(
    store: Store, chain: SimulatedChain, source: Moody
) -> None:
    """After a reorg below finality the range is fetched again, from a node that alters a log that lives."""
    source.alter = lambda log: msgspec.structs.replace(log, data=b"x") if log.block_number == 77 else log
    stage = ingestor(store, source)
    to_end(stage)
    with store.write() as tx:
        Coverage(tx, CHAIN).void_from(60)
    source.alter = lambda log: log
    done = to_end(stage)
    [reason] = {item.reason for item in done if item.failed}
    assert "lives in the journal with another payload" in reason
    assert "chainfold sync --force" in reason
    at = 0
    while at <= HEAD:
        _, reached = stage.resync(BlockRange(at, HEAD))
        at = reached + 1
    to_end(stage)
    assert stored(store) == chain.logs_in(0, HEAD)
    assert failed(store) == []


RANGES = st.tuples(st.integers(0, 60), st.integers(0, 20)).map(lambda it: BlockRange(it[0], it[0] + it[1]))


@given(script=st.lists(st.tuples(st.booleans(), RANGES), max_size=12))
@settings(max_examples=60, deadline=None)
def test_failed_ranges_stay_disjoint_and_are_what_was_added_and_not_forgotten(
    store_factory: Callable[[], Store], script: list[tuple[bool, BlockRange]]
) -> None:
    blocks: set[int] = set()
    store = store_factory()
    with store.write() as tx:
        failures = FailedRanges(tx, CHAIN)
        for add, part in script:
            if add:
                failures.add(part, "no")
                blocks |= set(range(part.first, part.last + 1))
            else:
                failures.forget(part)
                blocks -= set(range(part.first, part.last + 1))
        listed = [n for item in failures.all() for n in range(item.range.first, item.range.last + 1)]
        assert listed == sorted(blocks)
        for item in failures.all():
            probe = item.probe()
            assert item.range.first <= probe.first <= probe.last <= item.range.last
        free = outside(BlockRange(0, 90), failures.all())
        assert free is not None
        assert not blocks & set(range(free.first, free.last + 1))
        assert free.first == next(n for n in range(91) if n not in blocks)
    store.close()


@pytest.fixture(scope="module")
def store_factory(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Store]:
    numbers = iter(range(10**6))

    def make() -> Store:
        return migrated(tmp_path_factory.mktemp("failures") / f"{next(numbers)}.db")

    return make
