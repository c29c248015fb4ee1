"""A reorg seen by the runner: one commit leads from the branch that was left to the branch that stands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, text

from eventstore.errors import StoreUnavailable
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from projections.fold.changes import Changed, Changes
from projections.fold.runner import Runner
from tests.folding import Bench, address, registration
from tests.oracle import plain
from tests.projections.fold.test_by_hand import CHAIN, documents, expected, served

OTHER = [(1, 4), (9, 1), (7, 2), (4, 0)]
"""What the other branch holds from block 7 on: of the ten users it knows nothing of 8, and of a ninth."""


@pytest.fixture(params=["the process that built it", "another process"])
def bench(request: pytest.FixtureRequest, store: Store) -> Bench:
    """Ten blocks, the first four final. Another process has no document in memory."""
    made = Bench(store)
    logs = [registration(number, 0, *pair) for number, pair in enumerate(CHAIN, start=1)]
    made.append(logs, to=10, finalized=4)
    made.fold()
    if request.param == "another process":
        made.runner = Runner(store, made.lease, made.projection)
    return made


def reorg(bench: Bench, pairs: list[tuple[int, int]], *, first: int = 7) -> None:
    """Another branch from block `first` on stands in the journal before the runner looks again."""
    bench.orphan(first)
    logs = [registration(n, 0, *pair, branch="b") for n, pair in enumerate(pairs, start=first)]
    bench.append(logs, to=first - 1 + len(pairs), branch="b")


def graph(pairs: list[tuple[int, int]]) -> dict[str, dict[str, Any]]:
    """What these registrations come to, one a block."""
    return plain(
        (address(user), address(referrer), 7, 12 * number)
        for number, (user, referrer) in enumerate(pairs, start=1)
    )


def index(store: Store) -> set[tuple[str, str]]:
    """(direct referrer, user), as `find` is answered."""
    with store.read() as tx:
        rows = tx.execute(
            text("SELECT value, key FROM document_index WHERE generation = :id"), {"id": served(store).id}
        )
        return {(value, key) for value, key in rows}


def sent_after(store: Store, revision: int) -> list[Changed]:
    with store.read() as tx:
        return Changes(tx, "referrals").after(revision + 1, "", generation=served(store).id, limit=100)


def test_one_step_leads_to_the_new_branch(bench: Bench) -> None:
    """Readers and sinks never see the block below the fork, which holds less than either branch."""
    before = served(bench.store)
    reorg(bench, OTHER)
    done = bench.runner.step()
    assert (done.rewound_to, done.block, done.events) == (6, 10, 4)
    after = served(bench.store)
    assert after.revision == before.revision + 1
    wanted = graph(CHAIN[:6] + OTHER)
    assert documents(bench.store) == wanted
    assert index(bench.store) == {
        (document["directReferrer"], key) for key, document in wanted.items() if document["directReferrer"]
    }
    gone = [item.key for item in sent_after(bench.store, before.revision) if item.body is None]
    assert gone == [address(8)]
    assert bench.runner.step().idle


def test_a_branch_that_comes_to_the_same_documents_is_sent_to_no_one(bench: Bench) -> None:
    """Most transactions are mined again; at the same time they change nothing."""
    before = served(bench.store)
    reorg(bench, CHAIN[6:])
    assert bench.runner.step().changed == 0
    after = served(bench.store)
    assert (after.digest, after.revision, after.block) == (before.digest, before.revision, 10)
    assert sent_after(bench.store, before.revision) == []
    reorg(bench, OTHER)  # the before-images are those of the new branch
    bench.fold()
    assert documents(bench.store) == graph(CHAIN[:6] + OTHER)


def test_only_the_documents_that_differ_between_the_branches_are_sent(bench: Bench) -> None:
    before = served(bench.store)
    reorg(bench, [*CHAIN[6:9], (4, 3)])
    bench.fold()
    sent = {item.key for item in sent_after(bench.store, before.revision)}
    assert sent < set(documents(bench.store))
    assert documents(bench.store) == graph([*CHAIN[:9], (4, 3)])


def test_a_branch_that_is_still_to_come_is_waited_for_below_the_fork(bench: Bench) -> None:
    bench.orphan(7)
    done = bench.runner.step()
    assert (done.rewound_to, done.block) == (6, 6)
    assert documents(bench.store) == expected(6)
    bench.append(
        [registration(n, 0, *pair, branch="b") for n, pair in enumerate(OTHER, 7)], to=10, branch="b"
    )
    bench.fold()
    assert documents(bench.store) == graph(CHAIN[:6] + OTHER)


@pytest.mark.parametrize("by_hand", [False, True])
def test_of_a_rewind_whose_commit_fails_nothing_stays_in_memory(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, *, by_hand: bool
) -> None:
    before = served(bench.store)
    commit = Lease.commit

    @contextmanager
    def failing(self: Lease) -> Iterator[Connection]:
        with commit(self) as tx:
            yield tx
            raise StoreUnavailable("The disk is full.")

    if not by_hand:
        reorg(bench, OTHER)
    with monkeypatch.context() as patch:
        patch.setattr(Lease, "commit", failing)
        with pytest.raises(StoreUnavailable):
            bench.operations.rollback(6, hold=False) if by_hand else bench.runner.step()
    assert served(bench.store) == before
    if by_hand:
        reorg(bench, OTHER)
    bench.fold()
    assert documents(bench.store) == graph(CHAIN[:6] + OTHER)


def test_a_new_branch_longer_than_a_batch_is_folded_on_in_the_next_step(bench: Bench) -> None:
    bench.runner = Runner(bench.store, bench.lease, bench.projection, batch=3)
    reorg(bench, OTHER)
    assert [(done.rewound_to, done.block) for done in bench.fold()] == [(6, 8), (None, 10), (None, 10)]
    assert documents(bench.store) == graph(CHAIN[:6] + OTHER)
