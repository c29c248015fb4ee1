"""An estimate names the calls that a sync then makes, within a fifth, for every kind of chain."""

from __future__ import annotations

from random import Random

import pytest

from eventstore.ingest.branch import Follow
from eventstore.ingest.estimate import Estimate, estimate
from eventstore.ingest.ingestor import Ingestor
from eventstore.ingest.window import Window
from eventstore.records import Filter, Watch
from eventstore.sources.rpc.source import RpcSource
from eventstore.sources.simulated.chain import Emission, SimulatedChain
from eventstore.sources.simulated.node import Faults, SimulatedNode
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from tests.blocks import ALICE, BOB, TOPIC

CHAIN = 31_337
WATCHES = (Watch(Filter(ALICE)), Watch(Filter(BOB), 500))


def chain(blocks: int, final: int, *, share: float, most: int) -> SimulatedChain:
    """`share` of the blocks hold up to `most` logs."""
    random, made = Random(blocks), SimulatedChain()
    for _ in range(blocks):
        filled = random.random() < share
        made.mine(
            logs=[
                Emission(random.choice((ALICE, BOB)), (TOPIC,), random.randbytes(4))
                for _ in range(random.randint(1, most) if filled else 0)
            ]
        )
    made.finalize(final)
    return made


def said(store: Store, node: SimulatedNode, follow: Follow = "latest") -> Estimate:
    source = RpcSource(node.url)
    try:
        return estimate(
            store, source, chain_id=CHAIN, watches=WATCHES, follow=follow, window=Window(size=100)
        )
    finally:
        source.close()


def made(store: Store, node: SimulatedNode, follow: Follow = "latest") -> int:
    """The calls that a sync makes, as the node counts them."""
    before = node.calls.total()
    source = RpcSource(node.url)
    lease = Lease(store, f"ingest:{CHAIN}").acquire()
    stage = Ingestor(
        store, source, lease, chain_id=CHAIN, watches=WATCHES, window=Window(size=100), follow=follow
    )
    stage.open()
    while not stage.step().idle:
        pass
    stage.close()
    source.close()
    lease.release()
    return node.calls.total() - before


@pytest.mark.parametrize(
    ("there", "faults"),
    [
        (chain(4_000, 3_990, share=0.3, most=4), Faults()),
        (chain(4_000, 3_990, share=0.01, most=3), Faults()),
        (chain(3_000, 2_900, share=0.9, most=9), Faults()),
        (chain(3_000, 2_900, share=0.0, most=1), Faults()),
        (chain(4_000, 3_950, share=0.1, most=4), Faults(range_cap=50)),
        (
            chain(4_000, 3_950, share=0.1, most=4),
            Faults(range_cap=50, range_cap_text="block range too large"),
        ),
        (chain(300, 0, share=0.3, most=4), Faults()),
    ],
    ids=["plain", "sparse", "dense", "empty", "cap", "cap without a number", "nothing final"],
)
def test_an_estimate_is_within_a_fifth_of_the_calls_then_made(
    sqlite_store: Store, there: SimulatedChain, faults: Faults
) -> None:
    with SimulatedNode(there, faults=faults) as node:
        estimated = said(sqlite_store, node)
        done = made(sqlite_store, node)
    assert 0.8 * done <= estimated.total <= 1.2 * done
    assert estimated.blocks == there.head().number + 1


def test_what_is_there_is_not_counted_again(sqlite_store: Store) -> None:
    there = chain(2_000, 1_990, share=0.2, most=3)
    with SimulatedNode(there) as node:
        made(sqlite_store, node)
        for _ in range(300):
            there.mine(logs=[Emission(ALICE, (TOPIC,), b"")])
        there.finalize(2_280)
        estimated = said(sqlite_store, node)
        done = made(sqlite_store, node)
        assert estimated.blocks == 300
        assert 0.8 * done <= estimated.total <= 1.2 * done
        assert said(sqlite_store, node).blocks == 0


def test_a_chain_that_is_followed_in_its_final_blocks_costs_no_more_than_those(sqlite_store: Store) -> None:
    there = chain(2_000, 1_500, share=0.2, most=3)
    with SimulatedNode(there) as node:
        estimated = said(sqlite_store, node, "finalized")
        done = made(sqlite_store, node, "finalized")
    assert estimated.blocks == 1_501
    assert 0.8 * done <= estimated.total <= 1.2 * done
