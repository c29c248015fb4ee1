"""Following a chain costs what docs/operations.md says that it costs, by mode, and no more."""

from __future__ import annotations

import re
from random import Random

import pytest

from eventstore.ingest.branch import Follow
from eventstore.ingest.ingestor import Ingestor
from eventstore.records import Filter, Watch
from eventstore.sources.rpc.source import RpcSource
from eventstore.sources.simulated.chain import Emission, SimulatedChain
from eventstore.sources.simulated.node import SimulatedNode
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from tests.blocks import ALICE, TOPIC
from tests.places import DOCS

pytestmark = pytest.mark.long

CHAIN = 31_337
BLOCKS_PER_POLL = 8
"""Blocks of 0.25 s within a poll of 2 s."""
POLLS = 90
"""Three minutes of the chain: the hour is twenty times that."""
HOURS = 3_600 / (2 * POLLS)

PAGE = DOCS / "operations.md"


def calls_an_hour(store: Store, follow: Follow, *, share: float) -> float:
    """Calls in an hour of following, `share` of the blocks holding a log of ours."""
    random, chain = Random(1), SimulatedChain()
    chain.mine(400)
    chain.finalize(336)
    with SimulatedNode(chain) as node:
        source = RpcSource(node.url)
        lease = Lease(store, f"ingest:{CHAIN}").acquire()
        stage = Ingestor(store, source, lease, chain_id=CHAIN, watches=[Watch(Filter(ALICE))], follow=follow)
        stage.open()
        while not stage.step().idle:
            pass
        before = node.calls.total()
        for _ in range(POLLS):
            for _ in range(BLOCKS_PER_POLL):
                chain.mine(logs=[Emission(ALICE, (TOPIC,))] if random.random() < share else [])
            chain.finalize(chain.head().number - 64)
            while not stage.step().idle:
                pass
        after = node.calls.total()
        stage.close()
        source.close()
    return (after - before) * HOURS


@pytest.mark.parametrize("follow", ["latest", "finalized"])
@pytest.mark.parametrize("share", [0.0, 0.2])
def test_an_hour_of_a_chain_of_quarter_second_blocks_costs_no_more_than_is_documented(
    sqlite_store: Store, follow: Follow, share: float
) -> None:
    promised = re.search(rf'`follow = "{follow}"`[^|]*\|\s*([\d,]+)', PAGE.read_text())
    assert promised, f"docs/operations.md promises nothing for {follow}"
    most = int(promised.group(1).replace(",", ""))
    made = calls_an_hour(sqlite_store, follow, share=share)
    assert made <= most
    assert made >= most / 4, "a promise that is far too wide says nothing"
