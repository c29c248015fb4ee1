"""The ingester over a scripted chain: after everything that it did, the journal ends as the chain is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore.errors import Fenced, LeaseHeld, SourceError, WrongChain
from eventstore.ingest.branch import Ingested
from eventstore.ingest.ingestor import Ingestor
from eventstore.ingest.window import Window
from eventstore.journal.coverage import Coverage
from eventstore.journal.history import Question, ask
from eventstore.journal.integrity import check_digests
from eventstore.journal.journal import Journal
from eventstore.records import Filter, Log, Watch
from eventstore.sources.rpc.source import RpcSource
from eventstore.sources.simulated.chain import Emission, SimulatedChain
from eventstore.sources.simulated.node import Faults, SimulatedNode
from eventstore.sources.simulated.source import SimulatedSource
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from tests.blocks import ALICE, BOB, TOPIC
from tests.stores import migrated

CHAIN = 31_337


def ingestor(store: Store, chain: SimulatedChain, *watches: Watch, size: int = 4) -> Ingestor:
    lease = Lease(store, f"ingest:{CHAIN}", owner="test||1|a").acquire()
    made = Ingestor(
        store,
        SimulatedSource(chain),
        lease,
        chain_id=CHAIN,
        watches=watches or (Watch(Filter(ALICE)), Watch(Filter(BOB))),
        window=Window(size=size),
    )
    made.open()
    return made


def step(stage: Ingestor) -> Ingested | None:
    """One step as a loop does it: None for an error that may heal (the chain moved under it)."""
    try:
        return stage.step()
    except SourceError as error:
        assert error.retry
        return None


def to_end(stage: Ingestor) -> list[Ingested]:
    done = []
    for _ in range(500):
        stepped = step(stage)
        if stepped is not None:
            done.append(stepped)
            if stepped.idle:
                return done
    raise AssertionError("the ingester does not come to rest")


def canonical(store: Store) -> list[Log]:
    with store.read() as tx:
        return [item.log for item in ask(tx, CHAIN, Question())]


def on_chain(chain: SimulatedChain, *addresses: bytes) -> list[Log]:
    wanted = addresses or (ALICE, BOB)
    return [log for log in chain.logs_in(0, chain.head().number) if log.address in wanted]


def emission(address: bytes, data: bytes = b"") -> Emission:
    return Emission(address, (TOPIC,), data)


@pytest.fixture
def chain() -> SimulatedChain:
    """Twenty blocks with a log each, the first twelve final."""
    made = SimulatedChain()
    for number in range(1, 21):
        made.mine(logs=[emission(ALICE if number % 2 else BOB, bytes([number]))])
    made.finalize(12)
    return made


def test_the_journal_ends_as_the_chain_is(store: Store, chain: SimulatedChain) -> None:
    to_end(ingestor(store, chain))
    assert canonical(store) == on_chain(chain)


def test_a_second_look_writes_nothing(sqlite_store: Store, chain: SimulatedChain) -> None:
    stage = ingestor(sqlite_store, chain)
    to_end(stage)
    with sqlite_store.read() as tx:
        before = Journal(tx, CHAIN).head()
    assert [done.fetched for done in to_end(stage)] == [None]
    with sqlite_store.read() as tx:
        assert Journal(tx, CHAIN).head() == before


def test_the_finalised_part_goes_by_ranges_and_the_rest_block_by_block(
    sqlite_store: Store, chain: SimulatedChain
) -> None:
    fetched = [done.fetched for done in to_end(ingestor(sqlite_store, chain)) if done.fetched]
    assert [(item.first, item.last) for item in fetched][-1] == (13, 20)
    assert fetched[0].first == 0
    assert [item.last for item in fetched][-2] == 12


def test_a_reorg_is_one_orphaned_entry_and_says_how_deep(store: Store, chain: SimulatedChain) -> None:
    stage = ingestor(store, chain)
    to_end(stage)
    chain.reorg(5, logs=[[emission(ALICE, b"new")], [], [], [], [], []])
    first = stage.step()
    assert (first.rewound_to, first.depth, first.orphaned, first.below_finality) == (15, 5, 5, False)
    to_end(stage)
    assert canonical(store) == on_chain(chain)
    with store.read() as tx:
        gone = list(ask(tx, CHAIN, Question(orphaned=True)))
    assert [item.log.data for item in gone] == [bytes([n]) for n in range(16, 21)]


def test_a_branch_that_comes_back_lives_again(sqlite_store: Store, chain: SimulatedChain) -> None:
    stage = ingestor(sqlite_store, chain)
    to_end(stage)
    tip = chain.head().hash
    chain.reorg(3)
    to_end(stage)
    chain.switch(tip)
    to_end(stage)
    assert canonical(sqlite_store) == on_chain(chain)


def test_a_reorg_below_finality_is_followed_and_says_so(sqlite_store: Store, chain: SimulatedChain) -> None:
    stage = ingestor(sqlite_store, chain)
    to_end(stage)
    chain.reorg(12, logs=[[emission(ALICE, b"deep")]] + [[]] * 12)
    done = to_end(stage)
    assert any(item.below_finality for item in done)
    assert canonical(sqlite_store) == on_chain(chain)


def test_a_reorg_while_nobody_looked_is_found_on_return(sqlite_store: Store, chain: SimulatedChain) -> None:
    to_end(ingestor(sqlite_store, chain))
    chain.reorg(4)
    for number in range(60):
        chain.mine(logs=[emission(BOB, bytes([number]))])
    chain.finalize(70)
    to_end(ingestor(sqlite_store, chain))
    assert canonical(sqlite_store) == on_chain(chain)


@pytest.mark.parametrize("lag", [1, 8, 9, 20])
def test_a_node_that_lags_below_what_was_final_causes_no_rewind(
    store: Store, chain: SimulatedChain, lag: int
) -> None:
    """Its head is below all that is kept of the tail; nothing competes with what is known."""
    chain.mine(20, logs=[emission(ALICE)])
    chain.finalize(38)
    to_end(ingestor(store, chain))
    with SimulatedNode(chain, faults=Faults(lag=lag)) as node:
        source = RpcSource(node.url)
        lease = Lease(store, f"ingest:{CHAIN}", owner="test||1|a").acquire()
        stage = Ingestor(
            store, source, lease, chain_id=CHAIN, watches=[Watch(Filter(ALICE)), Watch(Filter(BOB))]
        )
        stage.open()
        assert all(done.rewound_to is None for done in to_end(stage))
        stage.close()
        source.close()
    assert canonical(store) == on_chain(chain)


def test_a_shorter_chain_that_competes_below_what_was_final_is_followed(
    sqlite_store: Store, chain: SimulatedChain
) -> None:
    to_end(ingestor(sqlite_store, chain))
    chain.reorg(15, logs=[[emission(BOB, b"deep")], [], []])
    done = to_end(ingestor(sqlite_store, chain))
    assert any(item.below_finality for item in done)
    assert canonical(sqlite_store) == on_chain(chain)


def test_a_contract_added_late_is_backfilled_without_disturbing_the_rest(
    store: Store, chain: SimulatedChain
) -> None:
    to_end(ingestor(store, chain, Watch(Filter(ALICE))))
    assert canonical(store) == on_chain(chain, ALICE)
    to_end(ingestor(store, chain, Watch(Filter(ALICE)), Watch(Filter(BOB))))
    assert canonical(store) == on_chain(chain)


def test_a_contract_that_ended_is_fetched_to_its_last_block(
    sqlite_store: Store, chain: SimulatedChain
) -> None:
    stage = ingestor(sqlite_store, chain, Watch(Filter(ALICE), 3, 15), Watch(Filter(BOB), 14))
    to_end(stage)
    wanted = [
        log
        for log in on_chain(chain)
        if (3 <= log.block_number <= 15 if log.address == ALICE else log.block_number >= 14)
    ]
    assert canonical(sqlite_store) == wanted


def test_a_chain_without_finality_is_read_block_by_block(sqlite_store: Store) -> None:
    chain = SimulatedChain()
    chain.mine(logs=[emission(ALICE)])
    chain.mine(50)
    to_end(ingestor(sqlite_store, chain))
    assert canonical(sqlite_store) == on_chain(chain)


def test_another_chain_id_is_refused(sqlite_store: Store) -> None:
    with pytest.raises(WrongChain, match="chain 5, the configuration says 31337"):
        ingestor(sqlite_store, SimulatedChain(chain_id=5))


def test_another_genesis_under_the_same_id_is_refused(sqlite_store: Store, chain: SimulatedChain) -> None:
    ingestor(sqlite_store, chain)
    with pytest.raises(WrongChain, match="begins with block"):
        ingestor(sqlite_store, SimulatedChain(seed=9))


def test_a_zombie_writes_nothing(store: Store, chain: SimulatedChain) -> None:
    zombie = ingestor(store, chain)
    zombie.step()
    ingestor(store, chain)  # the same process takes the lease again: a new epoch
    with pytest.raises(Fenced, match="no longer holds the lease"):
        to_end(zombie)


def test_a_lease_that_is_held_is_not_taken(store: Store) -> None:
    holder = Lease(store, "x", owner="elsewhere||1|a").acquire()
    with pytest.raises(LeaseHeld, match="process 1 on elsewhere"):
        Lease(store, "x", owner="here||2|b").acquire()
    holder.release()
    assert Lease(store, "x", owner="here||2|b").acquire().epoch == 2


def test_a_lease_that_ran_out_is_taken_and_its_former_holder_fenced(store: Store) -> None:
    holder = Lease(store, "x", owner="elsewhere||1|a", ttl=-1).acquire()
    Lease(store, "x", owner="here||2|b").acquire()
    with pytest.raises(Fenced):
        holder.renew()


STEP = st.one_of(
    st.tuples(st.just("mine"), st.lists(st.sampled_from([ALICE, BOB]), max_size=3)),
    st.tuples(st.just("reorg"), st.integers(1, 12)),
    st.tuples(st.just("back"), st.integers(0, 5)),
    st.tuples(st.just("finalize"), st.integers(0, 6)),
    st.tuples(st.just("step"), st.integers(1, 4)),
    st.tuples(st.just("restart"), st.none()),
)


@given(script=st.lists(STEP, max_size=25))
@settings(max_examples=80, deadline=None)
def test_whatever_the_chain_does_between_any_two_steps_the_journal_ends_as_the_chain_is(
    tmp_path_factory: pytest.TempPathFactory, script: list[tuple[str, Any]]
) -> None:
    """Reorgs of any depth, also below finality, A to B to A, and restarts, between single steps.

    In the end the chain is longer than ever: one that became shorter is not told from a node that lags.
    """
    for store in fresh(tmp_path_factory.mktemp("ingest")):
        chain = SimulatedChain()
        chain.mine(3, logs=[emission(ALICE)])
        stage = ingestor(store, chain)
        tips: list[bytes] = []
        longest = 0
        for count, (verb, what) in enumerate(script):
            head = chain.head().number
            longest = max(longest, head)
            if verb == "mine":
                chain.mine(logs=[emission(address, bytes([count])) for address in what])
            elif verb == "reorg" and head > 1:
                tips.append(chain.head().hash)
                depth = min(what, head - 1)
                chain.reorg(depth, logs=[[emission(BOB, bytes([count]))]] + [[]] * (depth - 1))
            elif verb == "back" and tips:
                chain.switch(tips[what % len(tips)])
            elif verb == "finalize":
                final = chain.finalized()
                chain.finalize(max(head - what, final.number if final else 0))
            elif verb == "step":
                for _ in range(what):
                    step(stage)
            elif verb == "restart":
                stage.close()
                stage = ingestor(store, chain)
        chain.mine(max(1, longest + 1 - chain.head().number))
        to_end(stage)
        stage.close()
        assert canonical(store) == on_chain(chain)
        with store.read() as tx:
            assert check_digests(tx, CHAIN) == []
            coverage = Coverage(tx, CHAIN)
            assert coverage.through(Watch(Filter(ALICE))) == chain.head().number


def fresh(folder: Path) -> Iterator[Store]:
    store = migrated(folder / "store.db")
    yield store
    store.close()
