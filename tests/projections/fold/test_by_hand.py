"""What is asked of a projection by hand: rollback, hold, rebuild, going back, skip, retry, any past block."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from eventstore.errors import StoreError
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from projections.errors import GenerationRefused, ProjectorError
from projections.fold.changes import Changes
from projections.fold.generation import Generation, Generations
from projections.fold.operations import Operations
from projections.fold.replay import Replay, undone
from projections.fold.runner import Folded, Runner
from projections.fold.state import GenerationState
from projections.service.records.requests import Request, Requests, Resume, Rollback
from projections.service.records.results import Result, RolledBack
from projections.service.runtime.asking import ask
from projections.service.runtime.worker import Worker
from tests.folding import Bench, address, registration
from tests.oracle import plain
from tests.properties.test_fold import fresh

CHAIN = [(1, 2), (3, 1), (4, 1), (5, 3), (1, 6), (3, 0), (7, 7), (2, 1), (8, 5), (4, 8)]


def served(store: Store) -> Generation:
    with store.read() as tx:
        found = Generations(tx, "referrals").served()
    assert found is not None
    return found


def documents(store: Store) -> dict[str, dict[str, Any]]:
    with store.read() as tx:
        rows = dict(GenerationState(tx, served(store).id).scan())
    return {
        key: {name: value for name, value in msgspec.json.decode(body).items() if name != "updatedAt"}
        for key, body in rows.items()
    }


def expected(upto: int) -> dict[str, dict[str, Any]]:
    return plain(
        (address(user), address(referrer), 7, 12 * number)
        for number, (user, referrer) in enumerate(CHAIN[:upto], start=1)
    )


@pytest.fixture
def bench(store: Store) -> Bench:
    """Ten blocks with a registration each; the first four are final."""
    made = Bench(store)
    logs = [registration(number, 0, *pair) for number, pair in enumerate(CHAIN, start=1)]
    made.append(logs, to=10, finalized=4)
    made.fold()
    return made


def test_a_rollback_replays_to_the_same_digest(bench: Bench) -> None:
    before = served(bench.store)
    assert bench.operations.rollback(6, hold=False).block == 6
    assert documents(bench.store) == expected(6)
    bench.fold()
    assert served(bench.store).digest == before.digest


def test_a_held_rollback_waits_until_it_is_resumed(bench: Bench) -> None:
    bench.operations.rollback(6, hold=True)
    bench.fold()
    assert (served(bench.store).block, documents(bench.store)) == (6, expected(6))
    bench.operations.resume()
    bench.fold()
    assert documents(bench.store) == expected(10)


def test_a_rollback_below_what_can_be_undone_is_a_build_that_waits_there(bench: Bench) -> None:
    assert bench.operations.rollback(2, hold=True).state == "building"
    bench.fold()
    assert (served(bench.store).block, documents(bench.store)) == (2, expected(2))
    bench.operations.resume()
    bench.fold()
    assert documents(bench.store) == expected(10)


def test_a_build_that_shall_wait_is_ready_and_then_promoted(bench: Bench) -> None:
    first = served(bench.store)
    bench.operations.rebuild(promote=False)
    assert bench.fold()[-1].state == "ready"
    assert served(bench.store).id == first.id
    bench.operations.rebuild()
    bench.fold()
    assert (served(bench.store).id, served(bench.store).digest) == (first.id + 1, first.digest)


def test_a_build_that_shall_wait_is_refused_while_what_is_served_is_stale(bench: Bench) -> None:
    bench.orphan(2)  # below what can be undone
    assert bench.runner.step().state == "stale"
    with pytest.raises(ProjectorError, match="stale"):
        bench.operations.rebuild(promote=False)


def test_an_equal_build_gives_no_key_a_new_revision(bench: Bench) -> None:
    bench.operations.rebuild()
    (promoted,) = [done.promoted for done in bench.fold() if done.promoted]
    assert promoted.differing == 0


def other(bench: Bench) -> Runner:
    """A process that runs other code: it drops every second event."""
    projection = replace(bench.projection, fingerprint="f2", poison="quarantine")
    route = next(iter(projection.routes.values()))

    def handle(event: Any, users: Any) -> None:
        if event.block.number % 2:
            raise ValueError(event.user)
        route.handle(event, users)

    projection = replace(projection, routes={route.kind: replace(route, handle=handle)})
    return Runner(bench.store, Lease(bench.store, "project:referrals:f2").acquire(), projection)


def rest(runner: Runner) -> list[Folded]:
    done = []
    while True:
        done.append(runner.step())
        if done[-1].idle:
            return done


def test_old_code_stands_still_once_other_code_is_promoted(bench: Bench) -> None:
    new = other(bench)
    assert rest(new)[-1].state == "outdated"
    Operations(new).rebuild()
    bench.append([registration(11, 0, 9, 1)], to=11)
    bench.fold()
    assert served(bench.store).block == 11  # the old code keeps following while the new one builds
    rest(new)
    assert served(bench.store).fingerprint == "f2"
    assert bench.fold()[-1].state == "outdated"


def test_promoting_back_sends_only_what_differs(bench: Bench) -> None:
    before = served(bench.store)
    new = other(bench)
    Operations(new).rebuild()
    (there,) = [done.promoted for done in rest(new) if done.promoted]
    bench.append([registration(11, 0, 9, 8)], to=11)
    bench.operations.back()
    (again,) = [done.promoted for done in bench.fold() if done.promoted]
    assert served(bench.store).id == before.id
    assert 0 < again.differing <= there.differing + 3
    assert documents(bench.store)[address(9)]["directReferrer"] == address(8)


def test_a_promotion_gives_a_revision_to_exactly_the_keys_that_differ(bench: Bench) -> None:
    old = documents(bench.store)
    new = other(bench)
    Operations(new).rebuild()
    (promoted,) = [done.promoted for done in rest(new) if done.promoted]
    differing = {
        key for key in old | documents(bench.store) if old.get(key) != documents(bench.store).get(key)
    }
    with bench.store.read() as tx:
        sent = Changes(tx, "referrals").after(promoted.revision, "", generation=promoted.generation, limit=99)
    # updatedAt may differ where nothing else does: a document that another event made the same
    assert differing <= {item.key for item in sent}
    assert len(sent) == promoted.differing


def test_going_back_without_a_retired_generation_is_refused(bench: Bench) -> None:
    with pytest.raises(ProjectorError, match="chainfold rebuild referrals"):
        bench.operations.back()


def test_an_empty_build_is_not_promoted(bench: Bench) -> None:
    projection = replace(bench.projection, fingerprint="f3")
    route = next(iter(projection.routes.values()))
    projection = replace(projection, routes={route.kind: replace(route, handle=lambda event, users: None)})
    empty = Runner(bench.store, Lease(bench.store, "project:referrals:f3").acquire(), projection)
    Operations(empty).rebuild()
    assert "came out empty" in str(rest(empty)[-1].error)
    assert served(bench.store).fingerprint == "f1"
    assert GenerationRefused.retry is False


class Poisoned(Bench):
    """A projection whose handler raises on user 5 until it is mended."""

    def __init__(self, store: Store, **options: Any) -> None:
        super().__init__(store, **options)
        self.mended = False
        route = next(iter(self.projection.routes.values()))

        def handle(event: Any, users: Any) -> None:
            if event.user == address(5) and not self.mended:
                users.put(event.user, users.get(address(1)).__class__(event.user))
                raise ValueError("five is too many")
            route.handle(event, users)

        self.projection = replace(self.projection, routes={route.kind: replace(route, handle=handle)})
        self.runner = Runner(store, self.lease, self.projection, batch=3)
        logs = [registration(number, 0, *pair) for number, pair in enumerate(CHAIN, start=1)]
        self.append(logs, to=10, finalized=1)


def test_a_poison_event_halts_the_projection_at_the_block_before(store: Store) -> None:
    bench = Poisoned(store)
    last = bench.fold()[-1]
    assert last.block == 3
    assert "block 4, log 0" in str(last.error)
    assert "five is too many" in str(last.error)


def test_a_halted_projection_goes_on_once_its_code_is_mended(store: Store) -> None:
    bench = Poisoned(store)
    bench.fold()
    bench.mended = True
    bench.fold()
    assert documents(store) == expected(10)


def test_a_quarantine_passes_the_event_over_and_keeps_what_it_was(store: Store) -> None:
    bench = Poisoned(store, poison="quarantine")
    bench.fold()
    with store.read() as tx:
        (letter,) = GenerationState(tx, served(store).id).dead_letters()
    assert (letter.block, letter.log_index, letter.reason) == (4, 0, "ValueError: five is too many")
    assert "in handle" in letter.stack
    assert documents(store)[address(5)]["directReferrer"] is None  # named later, as a referrer


def test_a_retry_after_the_mend_gives_the_digest_of_a_clean_build(store: Store) -> None:
    bench = Poisoned(store, poison="quarantine")
    bench.fold()
    bench.mended = True
    bench.operations.retry()
    bench.fold()
    mended = served(store).digest
    bench.operations.rebuild()
    bench.fold()
    assert served(store).digest == mended
    assert documents(store) == expected(10)
    with store.read() as tx:
        assert GenerationState(tx, served(store).id).dead_letters() == []


def test_a_decision_to_skip_is_honoured_by_every_rebuild(store: Store) -> None:
    bench = Poisoned(store)
    bench.fold()
    bench.operations.skip(block=4, log_index=0, reason="five is nobody")
    bench.fold()
    first = documents(store)
    assert served(store).block == 10
    bench.operations.rebuild()
    bench.fold()
    assert documents(store) == first


class FoldStage:
    """A runner as the service turns it."""

    name = "project referrals"

    def __init__(self, bench: Bench) -> None:
        self.lease = Lease(bench.store, "project:referrals", owner=bench.lease.owner)
        self.runner = Runner(bench.store, self.lease, bench.projection)
        self.operations = Operations(self.runner)

    def open(self) -> None:
        """Nothing to open."""

    def step(self) -> Folded:
        return self.runner.step()

    def execute(self, request: Request) -> Result:
        match request.operation:
            case Rollback(to):
                done = self.operations.rollback(to, hold=True)
                return RolledBack(done.block, changed=0, held=True, building=False)
            case _:
                raise StoreError("no such thing")

    def close(self) -> None:
        """Nothing to close."""


@pytest.fixture
def service(bench: Bench) -> Iterator[Worker]:
    """A worker that holds the projection's lease and turns it."""
    stop = threading.Event()
    worker = Worker(FoldStage(bench), Requests(bench.store), lambda event: None, stop, poll=0.05)
    worker.start()
    yield worker
    stop.set()
    worker.wake()
    worker.join(timeout=20)
    assert worker.crash is None


WENT_BACK = RolledBack(7, changed=0, held=True, building=False)


def test_a_request_is_executed_by_whoever_holds_the_lease(bench: Bench, service: Worker) -> None:
    asker = FoldStage(bench)
    asker.lease = Lease(bench.store, "project:referrals", owner="elsewhere||1|x")
    assert ask(asker, Requests(bench.store), Rollback(7, hold=True)) == WENT_BACK
    assert served(bench.store).hold == 7


def test_a_request_that_fails_tells_the_command_why(bench: Bench, service: Worker) -> None:
    asker = FoldStage(bench)
    asker.lease = Lease(bench.store, "project:referrals", owner="elsewhere||1|x")
    with pytest.raises(StoreError, match="no such thing"):
        ask(asker, Requests(bench.store), Resume())


def test_with_no_holder_the_command_does_it_itself(bench: Bench) -> None:
    bench.lease.release()
    assert ask(FoldStage(bench), Requests(bench.store), Rollback(7, hold=True)) == WENT_BACK


PAIR = st.tuples(st.integers(0, 6), st.integers(0, 6))


@given(
    blocks=st.lists(st.lists(PAIR, max_size=3), min_size=1, max_size=10),
    finalized=st.integers(0, 10),
    asked=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 9)), min_size=1, max_size=6),
)
@settings(max_examples=40, deadline=None)
def test_any_past_block_shows_the_fold_up_to_it(
    tmp_path_factory: pytest.TempPathFactory,
    blocks: list[list[tuple[int, int]]],
    finalized: int,
    asked: list[tuple[int, int]],
) -> None:
    """Within undo by the before-images, below it by a replay: both are the oracle's fold."""
    chain = {0: [(8, 9)]} | dict(enumerate(blocks, start=1))
    for store in fresh(tmp_path_factory.mktemp("past")):
        bench = Bench(store)
        logs = [
            registration(number, index, *pair)
            for number, pairs in chain.items()
            for index, pair in enumerate(pairs)
        ]
        bench.append(logs, to=len(blocks), finalized=min(finalized, len(blocks)))
        bench.fold()
        for block, user in asked:
            at = min(block, len(blocks))
            wanted = plain(
                (address(u), address(r), 7, 12 * n) for n in range(at + 1) for u, r in chain[n]
            ).get(address(user))
            known, body = undone(store, bench.projection, address(user), at)
            past, touches = Replay(store, bench.projection).to(at, watch=address(user))
            replayed = past.get(address(user))
            found = None if replayed is None else msgspec.to_builtins(replayed)
            if known:
                assert (None if body is None else msgspec.json.decode(body)) == found
            else:
                assert at < served(store).floor
            stamp = None if found is None else found.pop("updatedAt")
            assert found == wanted
            if touches:
                assert stamp == 12 * touches[-1].log.block_number
