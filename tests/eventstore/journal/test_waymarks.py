"""The headers below finality by which a chain that moved back is known, and the heights that go with it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from eventstore.ingest.failed_ranges import FailedRanges
from eventstore.ingest.ingestor import Ingestor
from eventstore.journal.tail import Tail
from eventstore.journal.waymarks import DENSE, MOST, Waymarks, thinned
from eventstore.records import BlockRange, Filter, Watch
from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.source import SimulatedSource
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from tests.blocks import ALICE

CHAIN = 31_337


@given(st.lists(st.integers(0, 2**40), unique=True, min_size=1, max_size=300))
def test_what_is_thinned_keeps_the_newest_and_one_of_each_part_of_what_lies_below(numbers: list[int]) -> None:
    ordered = sorted(numbers, reverse=True)
    kept = thinned(ordered)
    assert set(range(ordered[0] - DENSE + 1, ordered[0] + 1)) & set(numbers) <= kept
    for number in numbers:
        distance = ordered[0] - number
        assert any(abs(other - number) <= max(1, 2 * distance // DENSE) for other in kept)


def test_a_long_chain_keeps_few() -> None:
    kept = thinned(range(10_000_000, 0, -1000))
    assert len(kept) < MOST // 2


class Place:
    """An ingester on a chain without a single log: what is known of it are its headers."""

    def __init__(self, store: Store, *, blocks: int, final: int) -> None:
        self.store = store
        self.chain = SimulatedChain(chain_id=CHAIN)
        self.chain.mine(blocks)
        self.chain.finalize(final)
        lease = Lease(store, f"ingest:{CHAIN}").acquire()
        self.stage = Ingestor(
            store, SimulatedSource(self.chain), lease, chain_id=CHAIN, watches=[Watch(Filter(ALICE))]
        )
        self.stage.open()

    def sync(self) -> list[int]:
        """Steps to the end; the blocks to which it went back."""
        back = []
        while True:
            done = self.stage.step()
            if done.rewound_to is not None:
                back.append(done.rewound_to)
            if done.idle:
                return back

    def known(self) -> tuple[int, int]:
        """Our newest block, and the newest that is final."""
        with self.store.read() as tx:
            tail = Tail(tx, CHAIN)
            return tail.headers()[-1].number, tail.finalized()


@pytest.fixture
def place(store: Store) -> Iterator[Place]:
    made = Place(store, blocks=100, final=90)
    made.sync()
    yield made
    made.stage.close()


@pytest.mark.parametrize("fork", [30, 60, 88])
def test_a_shorter_branch_that_holds_nothing_of_ours_is_followed_as_soon_as_it_shows_one_header(
    place: Place, fork: int
) -> None:
    place.chain.reorg(100 - fork, logs=[[]])
    back = place.sync()
    head = fork + 1
    assert back == [fork]
    assert place.known() == (head, head)


def test_where_the_chain_forked_below_what_is_kept_it_shows_as_soon_as_it_has_grown(place: Place) -> None:
    """Nothing that we know competes with it before: it looks like a node that lags, and that is said."""
    place.chain.reorg(90, logs=[[]])
    assert place.sync() == []
    assert place.stage.step().behind == 100
    place.chain.mine(20)
    assert place.sync() == [-1]
    assert place.known() == (31, 31)


def test_a_lower_head_of_our_own_chain_moves_nothing_until_somebody_says_so(place: Place) -> None:
    place.chain.reorg(20, logs=[])
    assert place.sync() == []
    assert place.known() == (100, 90)
    done = place.stage.retreat()
    assert (done.head, done.known, done.done and done.done.rewound_to) == (80, 100, 80)
    assert place.sync() == []
    assert place.known() == (80, 80)
    assert place.stage.retreat().done is None


def test_what_failed_above_the_block_that_stands_is_no_gap_any_more(place: Place) -> None:
    with place.store.write() as tx:
        FailedRanges(tx, CHAIN).add(BlockRange(55, 70), "No endpoint gave it.")
        FailedRanges(tx, CHAIN).add(BlockRange(95, 96), "No endpoint gave it.")
    place.chain.reorg(40, logs=[[]])
    place.sync()
    with place.store.read() as tx:
        assert FailedRanges(tx, CHAIN).all() == []


def test_a_finality_that_outlived_its_branch_in_a_store_of_before_is_settled(place: Place) -> None:
    with place.store.write() as tx:
        tx.execute(text("UPDATE finality SET number = 5000"))
    place.sync()
    assert place.known() == (100, 90)


def test_final_headers_that_do_not_link_are_not_kept(place: Place) -> None:
    """The chain moved between the questions: a header that is not an ancestor of the final block misleads."""
    with place.store.write() as tx:
        Waymarks(tx, CHAIN).cut_above(-1)
    place.chain.reorg(50)
    final = place.known()[1]
    with place.store.read() as tx:
        [anchor, *_] = Tail(tx, CHAIN).headers()
    assert anchor.number == final
    assert place.stage._branch.tracker.ancestors(anchor, range(final - 4, final)) == []
