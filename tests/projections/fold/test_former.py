"""Generations of the same code under a former fingerprint, the hash in another form."""

from __future__ import annotations

from msgspec.structs import replace

from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from projections.fold.generation import Generation, Generations
from projections.fold.operations import Operations
from projections.fold.runner import Runner
from projections.verify.documents import check_documents
from tests.folding import Bench, registration


def served(store: Store) -> Generation:
    with store.read() as tx:
        found = Generations(tx, "referrals").served()
    assert found is not None
    return found


def filled(store: Store) -> Bench:
    bench = Bench(store)
    bench.append([registration(block, 0, block, 0) for block in range(1, 6)], to=5)
    bench.fold()
    return bench


def renewed(bench: Bench, fingerprint: str = "new", *, former: tuple[str, ...] = ("f1",)) -> Runner:
    """A runner of code that hashes the same in another form."""
    own = replace(bench.projection, fingerprint=fingerprint, former=former)
    return Runner(bench.store, Lease(bench.store, f"project:{fingerprint}").acquire(), own)


def test_documents_of_a_former_fingerprint_are_taken_over_without_a_rebuild(store: Store) -> None:
    bench = filled(store)
    before = served(store)
    assert before.fingerprint == "f1"
    runner = renewed(bench)
    assert check_documents(store, runner.projection) == check_documents(store, bench.projection)
    assert runner.step().idle
    assert served(store) == replace(before, fingerprint="new")
    bench.append([registration(6, 0, 6, 0)], to=6)
    assert runner.step().events == 1
    assert served(store).block == 6


def test_without_the_former_fingerprint_they_are_outdated(store: Store) -> None:
    bench = filled(store)
    assert renewed(bench, former=()).step().state == "outdated"
    assert served(store).fingerprint == "f1"


def test_a_build_under_a_former_fingerprint_goes_on(store: Store) -> None:
    bench = filled(store)
    begun = bench.operations.rebuild()
    runner = renewed(bench)
    assert Operations(runner).rebuild().id == begun.id
    while not runner.step().idle:
        pass
    assert (served(store).id, served(store).fingerprint) == (begun.id, "new")


def test_what_was_retired_under_a_former_fingerprint_can_be_taken_up_again(store: Store) -> None:
    bench = filled(store)
    first = served(store)
    other = renewed(bench, "other", former=())
    Operations(other).rebuild()
    while not other.step().idle:
        pass
    assert served(store).fingerprint == "other"
    runner = renewed(bench)
    assert Operations(runner).back().id == first.id
    while not runner.step().idle:
        pass
    assert (served(store).id, served(store).fingerprint) == (first.id, "new")


def test_they_can_be_rolled_back_before_the_first_step(store: Store) -> None:
    bench = filled(store)
    assert Operations(renewed(bench)).rollback(3, hold=True).block == 3
    assert served(store).fingerprint in ("f1", "new")
