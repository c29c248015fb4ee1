"""What `status` says of a projection that is being built, waits, or stands still."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from projections.fold.fold import Projection
from projections.fold.generation import lease_of
from projections.fold.operations import Operations
from projections.fold.runner import Runner
from projections.service.status.projections import projection_status
from projections.service.status.records import ProjectionStatus
from tests.folding import Bench, registration


@pytest.fixture
def bench(store: Store) -> Bench:
    """Twenty blocks with a registration each, none of them folded."""
    made = Bench(store)
    made.append([registration(block, 0, block, block + 1) for block in range(1, 21)], to=20)
    made.runner = Runner(
        store, made.lease, made.projection, batch=7, commit_every=0
    )  # what is reported is committed
    return made


def lease(bench: Bench, own: Projection) -> Lease:
    """What a process of this code works under, held."""
    return Lease(bench.store, lease_of(own.name, own.fingerprint)).acquire()


def fold(runner: Runner) -> None:
    while not runner.step().idle:
        pass


def standing(bench: Bench, own: Projection | None = None) -> ProjectionStatus:
    return projection_status(bench.store, own or bench.projection, head=20)


def test_of_a_projection_that_is_served_and_nothing_else_there_is_nothing_to_tell(bench: Bench) -> None:
    bench.fold()
    assert (standing(bench).standing, standing(bench).build) == (None, None)


def test_a_first_build_says_how_far_it_is(bench: Bench) -> None:
    bench.runner.step()
    bench.runner.step()
    assert standing(bench).standing == "generation 1 is being built: 30.0% (6 of 20 events)"
    assert standing(bench).state == "building"


def test_a_build_of_the_same_code_lets_what_is_served_follow(bench: Bench) -> None:
    bench.fold()
    bench.operations.rebuild()
    found = standing(bench)
    assert found.standing == "generation 1 is served, generation 2 is being built: 0.0% (0 of 20 events)"
    assert not found.stands_still


def test_orphaned_events_are_not_among_those_to_be_folded(bench: Bench) -> None:
    bench.orphan(19)
    bench.append([registration(19, 0, 1, 2, branch="b")], to=20, branch="b")
    bench.runner.step()
    assert (found := standing(bench).build) is not None
    assert (found.events, found.of) == (0, 19)


def test_a_finished_build_that_shall_wait_says_so(bench: Bench) -> None:
    bench.fold()
    bench.operations.rebuild(promote=False)
    bench.fold()
    assert (
        standing(bench).standing == "generation 1 is served, generation 2 is built and waits to be promoted"
    )


def test_what_other_code_built_stands_still_where_no_process_of_it_is_at_work(bench: Bench) -> None:
    old = lease(bench, bench.projection)
    fold(Runner(bench.store, old, bench.projection))
    new = replace(bench.projection, fingerprint="new")
    assert not standing(bench, new).stands_still
    old.release()
    assert standing(bench, new).standing == (
        "generation 1 is served as it is and stands still at block 20, "
        "for it was built by other code, and no process runs that code"
    )


def test_a_build_that_halts_says_so_and_is_an_error(bench: Bench) -> None:
    bench.fold()
    (route,) = bench.projection.routes.values()

    def handle(event: Any, users: Any) -> None:
        if event.block.number == 11:
            raise ValueError("eleven is too many")
        route.handle(event, users)

    own = replace(bench.projection, fingerprint="new", routes={route.kind: replace(route, handle=handle)})
    new = Runner(bench.store, lease(bench, own), own, batch=7)
    Operations(new).rebuild()
    fold(new)
    found = standing(bench, own)
    assert found.build is not None
    assert found.build.state == "halted"
    assert "generation 2 does not get on: 50.0% (10 of 20 events)" in str(found.standing)
    assert "eleven is too many" in str(found.error)
