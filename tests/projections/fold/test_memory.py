"""What there is no room for is read again: the documents are the same, however little memory there is."""

from __future__ import annotations

from random import Random

import pytest

from eventstore.storage.store import Store
from projections.errors import ConfigurationError
from projections.fold.generation import Generations
from projections.fold.runner import Runner
from projections.service.config.fold import folding
from projections.service.config.tables import FoldTable
from tests.folding import Bench, registration


@pytest.mark.parametrize("commit_every", [0.0, 3600.0])
@pytest.mark.parametrize("room", [1, 20_000])
def test_a_build_in_too_little_memory_makes_the_same_documents(
    store: Store, room: int, commit_every: float
) -> None:
    random = Random(5)
    bench = Bench(store)
    logs = [
        registration(block, index, random.randint(0, 40), random.randint(0, 40))
        for block in range(1, 61)
        for index in range(3)
    ]
    bench.append(logs, to=60, finalized=50)
    bench.fold()
    bench.runner = Runner(store, bench.lease, bench.projection, batch=7, room=room, commit_every=commit_every)
    with store.read() as tx:
        before = Generations(tx, "referrals").served()
    bench.operations.rebuild()
    bench.fold()
    with store.read() as tx:
        after = Generations(tx, "referrals").served()
    assert before is not None
    assert after is not None
    assert after.id != before.id
    assert (after.digest, after.documents) == (before.digest, before.documents)


@pytest.mark.parametrize("text", ["much", "512", "1TB", "64MB"])
def test_memory_that_is_no_amount_or_too_little_is_refused_by_its_key(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"fold\.memory"):
        folding(FoldTable(memory=text), lambda said, where: 1.0)


def test_projections_share_the_memory() -> None:
    chosen = folding(FoldTable(), lambda said, where: 30.0)
    assert chosen.room(2, sqlite=True) == chosen.room(1, sqlite=True) // 2
