"""The publisher's promises, over the memory sink: the marker is the cursor, and a sink converges."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from sqlalchemy import text

from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from projections.errors import ForeignMarker, MarkerLost
from projections.fold.changes import Changed, Changes
from projections.fold.generation import Generations
from projections.fold.state import GenerationState
from projections.publish.publisher import Published, Publisher
from projections.sinks import Change, Marker
from projections.sinks.memory import MemorySink
from tests.folding import CHAIN, Bench, address, registration


class Wipeable(MemorySink):
    """A memory sink that can lose everything, as a server that was reinstalled."""

    wipe_after_write = False

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[Change] = []

    def wipe(self) -> None:
        self._held.clear()
        self._marker = None

    def write(self, changes: Sequence[Change]) -> int:
        self.sent += changes
        done = super().write(changes)
        if self.wipe_after_write:
            self.wipe_after_write = False
            self.wipe()
        return done


def publisher(store: Store, sink: MemorySink, *, batch: int = 2, name: str = "referrals") -> Publisher:
    lease = Lease(store, f"publish:{name}.{sink.name}", owner="test||1|a").acquire()
    return Publisher(store, lease, sink, projection=name, chain_id=CHAIN, batch=batch)


def to_end(stage: Publisher) -> list[Published]:
    done = []
    while True:
        done.append(stage.step())
        if done[-1].idle:
            return done


def held(sink: MemorySink) -> dict[str, dict[str, object]]:
    return {change.key: change.fields for change in sink.scan() if change.fields is not None}


def folded(store: Store) -> dict[str, dict[str, object]]:
    with store.read() as tx:
        served = Generations(tx, "referrals").served()
        assert served is not None
        return {key: msgspec.json.decode(body) for key, body in GenerationState(tx, served.id).scan()}


@pytest.fixture
def bench(sqlite_store: Store) -> Bench:
    """Four users in a live generation; blocks above 1 can be undone."""
    made = Bench(sqlite_store)
    made.append(
        [registration(1, 0, 1, 2), registration(2, 0, 3, 1), registration(3, 0, 4, 1)], to=3, finalized=1
    )
    made.fold()
    return made


def test_an_empty_sink_is_claimed_and_filled(bench: Bench) -> None:
    sink = MemorySink()
    to_end(publisher(bench.store, sink))
    assert held(sink) == folded(bench.store)
    marker = sink.marker()
    assert marker is not None
    assert (marker.projection, marker.revision, marker.key) == ("referrals", 1, "")


def test_a_sink_that_is_current_gets_no_write(bench: Bench) -> None:
    sink = MemorySink()
    stage = publisher(bench.store, sink)
    to_end(stage)
    before = sink.marker()
    assert stage.step() == Published("referrals", "memory", revision=1)
    assert sink.marker() == before


def test_nothing_is_published_before_a_generation_is_live(sqlite_store: Store) -> None:
    sink = MemorySink()
    assert publisher(sqlite_store, sink).step().idle
    assert sink.marker() is None


def test_a_reorg_reaches_the_sink_removals_included(bench: Bench) -> None:
    sink = MemorySink()
    stage = publisher(bench.store, sink)
    to_end(stage)
    bench.orphan(2)
    bench.append([registration(2, 0, 5, 1, branch="b")], to=3, branch="b")
    bench.fold()
    to_end(stage)
    assert held(sink) == folded(bench.store)
    assert address(3) not in held(sink)
    assert sink.read([address(3)])[address(3)].fields is None


def test_only_the_keys_that_changed_are_sent(bench: Bench) -> None:
    sink = MemorySink()
    stage = publisher(bench.store, sink)
    to_end(stage)
    bench.append([registration(4, 0, 6, 4)], to=4)
    bench.fold()
    assert sum(done.sent for done in to_end(stage)) == 3  # the user, the referrer, the one above


def test_another_process_continues_where_the_marker_stands(bench: Bench) -> None:
    sink = MemorySink()
    first = publisher(bench.store, sink)
    first.step()  # claims
    first.step()  # two of four
    first._lease.release()
    rest = to_end(publisher(bench.store, sink))
    assert sum(done.sent for done in rest) == 2
    assert held(sink) == folded(bench.store)


def test_a_sink_wiped_at_any_moment_is_refilled(bench: Bench) -> None:
    for steps in range(5):
        sink = Wipeable()
        stage = publisher(bench.store, sink)
        for _ in range(steps):
            stage.step()
        sink.wipe()
        to_end(stage)
        assert held(sink) == folded(bench.store)
        stage._lease.release()


def test_a_sink_wiped_between_its_documents_and_its_marker_shows_it(bench: Bench) -> None:
    sink = Wipeable()
    sink.wipe_after_write = True
    stage = publisher(bench.store, sink)
    stage.step()
    with pytest.raises(MarkerLost):
        stage.step()
    to_end(stage)
    assert held(sink) == folded(bench.store)


@pytest.mark.parametrize(
    ("marker", "named"),
    [
        (Marker("other", CHAIN, "referrals", 3, "n"), "another event store"),
        (Marker("", CHAIN, "orders", 3, "n"), "the projection orders"),
        (Marker("", CHAIN, "referrals", 1, "n", sends=9), "was restored"),
    ],
)
def test_a_sink_of_another_lineage_is_refused_until_taken_over(
    bench: Bench, marker: Marker, named: str
) -> None:
    sink = MemorySink()
    theirs = msgspec.structs.replace(marker, store=marker.store or bench.store.identity())
    sink.mark(theirs, old=None)
    sink.write(
        [Change("0xghost", 3, 1, {"address": "0xghost"}), Change(address(1), 500, 1, {"address": "x"})]
    )
    stage = publisher(bench.store, sink)
    with pytest.raises(ForeignMarker, match=named):
        stage.step()
    assert sink.marker() == theirs
    stage.take_over()
    to_end(stage)
    assert held(sink) == folded(bench.store)


def test_every_sink_is_at_its_own_place(bench: Bench) -> None:
    one, two = MemorySink(name="one"), MemorySink(name="two")
    to_end(publisher(bench.store, one))
    bench.append([registration(4, 0, 6, 4)], to=4)
    bench.fold()
    to_end(publisher(bench.store, two))
    assert held(two) == folded(bench.store) != held(one)


def test_a_store_that_was_put_back_is_refused_even_after_it_caught_up(bench: Bench) -> None:
    """Its revisions are numbered as before but mean other documents: only the count of sends tells."""
    sink = MemorySink()
    to_end(publisher(bench.store, sink))
    with bench.store.write() as tx:
        kept = tx.execute(text("SELECT sends, nonce FROM publications")).one()
    bench.append([registration(4, 0, 6, 4)], to=4)
    bench.fold()
    to_end(publisher(bench.store, sink))
    with bench.store.write() as tx:  # as a backup from before that send would have it
        tx.execute(text("UPDATE publications SET sends = :sends, nonce = :nonce"), kept._asdict())
    with pytest.raises(ForeignMarker, match="was restored"):
        publisher(bench.store, sink).step()


def test_a_sink_that_was_put_back_is_caught_up(bench: Bench) -> None:
    sink = MemorySink()
    to_end(publisher(bench.store, sink))
    backup = dict(sink._held), sink.marker()
    bench.append([registration(4, 0, 6, 4)], to=4)
    bench.fold()
    to_end(publisher(bench.store, sink))
    sink._held, sink._marker = backup
    to_end(publisher(bench.store, sink))
    assert held(sink) == folded(bench.store)


def test_what_was_read_ahead_is_read_anew_where_the_documents_moved_meanwhile(bench: Bench) -> None:
    """No document that a reorg took back goes out after it."""
    sink = Wipeable()
    stage = publisher(bench.store, sink)
    stage.step()  # claims
    assert stage.step().sent == 2  # and reads the other two
    bench.orphan(2)
    bench.append([registration(2, 0, 5, 1, branch="b")], to=3, branch="b")
    bench.fold()
    sink.sent.clear()
    to_end(stage)
    assert held(sink) == folded(bench.store)
    assert all(change.revision > 1 for change in sink.sent)


def test_what_was_read_ahead_is_sent_and_read_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    after = Changes.after

    def counted(self: Changes, revision: int, key: str, *, generation: int, limit: int) -> list[Changed]:
        found = after(self, revision, key, generation=generation, limit=limit)
        read.append(len(found))
        return found

    monkeypatch.setattr(Changes, "after", counted)
    sink = MemorySink()
    to_end(publisher(bench.store, sink))
    assert held(sink) == folded(bench.store)
    assert read == [2, 2, 0]  # two of four, the rest, nothing more


def test_what_was_read_ahead_for_a_sink_that_was_wiped_is_not_sent(bench: Bench) -> None:
    sink = Wipeable()
    stage = publisher(bench.store, sink)
    stage.step()
    stage.step()
    sink.wipe()
    to_end(stage)
    assert held(sink) == folded(bench.store)
