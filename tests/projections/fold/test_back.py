"""Going back to what was served before: only what may differ is looked at, and nothing of it is missed."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import pytest
from msgspec import Struct
from msgspec.structs import replace

from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from projections.fold.generation import Generation, Generations
from projections.fold.operations import Operations
from projections.fold.runner import Folded, Runner
from projections.fold.state import GenerationState
from projections.projectors import Documents, Projector, handles
from projections.publish.publisher import Publisher
from projections.routing.routes import bind
from projections.sinks.memory import MemorySink
from tests.blocks import ALICE
from tests.folding import CHAIN, FLAGSHIP, Bench, registration

BLOCKS = 30


class Choice(Struct, frozen=True):
    """Whom a user named last: two roads come to equal documents often."""

    user: str
    referrer: str


class Choices(Projector):
    document = Choice
    key = "user"

    @handles(str(FLAGSHIP))
    def registered(self, event: Any, choices: Documents[Choice]) -> None:
        choices.put(event.user, Choice(event.user, event.referrer))


class Shop:
    """Old and new code over one store, and a sink. The new code drops the events of every odd block."""

    def __init__(self, store: Store, seed: int, *, finalized: int = BLOCKS - 12) -> None:
        self.bench = Bench(store)
        self._random = Random(seed)
        self._sink = MemorySink()
        lease = Lease(store, "publish").acquire()
        self._publisher = Publisher(store, lease, self._sink, projection="referrals", chain_id=CHAIN)
        projector = Choices()
        (route,) = bind(projector, addresses=[ALICE], events=[FLAGSHIP], roles={}, where="tests")
        own = replace(self.bench.projection, projector=projector, routes={route.kind: route})
        self.old = Runner(store, self.bench.lease, own, batch=7)

        def handle(event: Any, choices: Any) -> None:
            if event.block.number % 2 == 0:
                route.handle(event, choices)

        own = replace(own, fingerprint="new", routes={route.kind: replace(route, handle=handle)})
        self.new = Runner(store, Lease(store, "project:new").acquire(), own, batch=7)
        self.grow(1, BLOCKS, finalized=finalized)
        self.fold(self.old)

    def grow(self, first: int, last: int, *, branch: str = "a", finalized: int | None = None) -> None:
        draw = self._random.randint
        logs = [
            registration(block, 0, draw(1, 9), draw(1, 2), branch=branch) for block in range(first, last + 1)
        ]
        self.bench.append(logs, to=last, branch=branch, finalized=finalized)

    def fold(self, runner: Runner) -> list[Folded]:
        done = [runner.step()]
        while not done[-1].idle:
            done.append(runner.step())
        return done

    def publish(self) -> int:
        """How many documents were sent."""
        sent = 0
        while not (done := self._publisher.step()).idle:
            sent += done.sent
        return sent

    @property
    def served(self) -> Generation:
        with self.bench.store.read() as tx:
            found = Generations(tx, "referrals").served()
        assert found is not None
        return found

    @property
    def converged(self) -> bool:
        """Does the sink hold what is served, and nothing else?"""
        with self.bench.store.read() as tx:
            rows = dict(GenerationState(tx, self.served.id).scan())
        there = {item.key: item.fields for item in self._sink.scan() if item.fields is not None}
        return there == {key: msgspec.json.decode(body) for key, body in rows.items()}


@pytest.mark.parametrize("seed", range(12))
def test_after_going_back_the_sink_holds_what_is_served_again(store: Store, seed: int) -> None:
    """Blocks and a reorg come between: what only the old code changes then, the new one never published."""
    shop, random = Shop(store, seed), Random(seed)
    shop.publish()
    Operations(shop.new).rebuild()
    shop.fold(shop.new)
    shop.publish()
    assert shop.converged
    head = BLOCKS
    if random.random() < 0.5:
        head -= random.randint(1, 10)
        shop.bench.orphan(head + 1)
        shop.grow(head + 1, BLOCKS, branch="b")
    shop.grow(BLOCKS + 1, BLOCKS + 5, branch="b", finalized=BLOCKS + random.randint(0, 5))
    if random.random() < 0.5:
        shop.fold(shop.new)
        shop.publish()
    back = Operations(shop.old).back()
    shop.fold(shop.old)
    assert (shop.served.id, shop.served.block) == (back.id, BLOCKS + 5)
    shop.publish()
    assert shop.converged


def test_going_back_at_once_sends_as_many_documents_as_the_promotion_did(store: Store) -> None:
    shop = Shop(store, 1, finalized=BLOCKS)
    shop.publish()
    Operations(shop.new).rebuild()
    shop.fold(shop.new)
    there = shop.publish()
    Operations(shop.old).back()
    shop.fold(shop.old)
    assert shop.publish() == there > 0


def test_a_document_of_no_change_on_either_side_is_not_looked_at(store: Store) -> None:
    """Planted in what is served, behind the fold's back: a comparison of everything would find it."""
    shop = Shop(store, 1)
    Operations(shop.new).rebuild()
    shop.fold(shop.new)
    with store.write() as tx:
        tx.exec_driver_sql(
            "INSERT INTO documents (generation, key, body) "
            f"SELECT {shop.served.id}, 'planted', body FROM documents LIMIT 1"
        )
    Operations(shop.old).back()
    (promoted,) = [done.promoted for done in shop.fold(shop.old) if done.promoted]
    with store.read() as tx:
        marked = tx.exec_driver_sql("SELECT count(*) FROM changes WHERE key = 'planted'").scalar()
    assert promoted.differing > 0
    assert marked == 0
