"""How a sink is begun in that holds documents already, and no marker: marks of somebody, or evicted keys."""

from __future__ import annotations

import pytest

from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from projections.publish.publisher import Publisher
from projections.sinks import Change
from projections.sinks.memory import MemorySink
from projections.verify.sinks import SinkCheck
from tests.folding import CHAIN, Bench, address, registration


class Cache(MemorySink):
    """A memory sink that evicts keys where `full`, and counts what it is sent."""

    full = True

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[str] = []

    def evicts(self) -> bool:
        return self.full

    def write(self, changes: list[Change]) -> int:  # type: ignore[override]
        self.sent += [change.key for change in changes]
        return super().write(changes)

    def evict(self, *keys: str, marker: bool = True) -> None:
        for key in keys:
            del self._held[key]
        if marker:
            self._marker = None


@pytest.fixture
def bench(sqlite_store: Store) -> Bench:
    """Four users in a live generation; blocks above 1 can be undone."""
    made = Bench(sqlite_store)
    made.append(
        [registration(1, 0, 1, 2), registration(2, 0, 3, 1), registration(3, 0, 4, 1)], to=3, finalized=1
    )
    made.fold()
    return made


def publish(bench: Bench, sink: MemorySink, *, batch: int = 3) -> None:
    lease = Lease(bench.store, "publish:referrals", owner="test||1|a").acquire()
    stage = Publisher(bench.store, lease, sink, projection="referrals", chain_id=CHAIN, batch=batch)
    while not stage.step().idle:
        pass


def differing(bench: Bench, sink: MemorySink, *, expires: bool = False) -> list[str]:
    check = SinkCheck(bench.store, sink, projection="referrals", chain_id=CHAIN, expires=expires)
    return [item.what for item in check.run().check.differences]


def test_documents_with_somebodys_mark_and_no_marker_are_written_over_and_the_rest_removed(
    bench: Bench,
) -> None:
    """Their revisions may be above ours: the guard would keep every one of them as it is."""
    sink = MemorySink()
    odd = {"address": address(3), "level1Count": 77}
    sink.write([Change(address(3), 900, 1, odd), Change("stranger", 3, 1, {"address": "stranger"})])
    publish(bench, sink)
    assert differing(bench, sink) == []
    assert sink.read(["stranger"])["stranger"].fields is None
    marker = sink.marker()
    assert marker is not None
    assert marker.revision == 901


def test_a_marker_that_was_evicted_is_put_back_and_nothing_is_sent_again(bench: Bench) -> None:
    sink = Cache()
    publish(bench, sink)
    before = sink.marker()
    assert before is not None
    bench.append([registration(4, 0, 5, 4)], to=4)
    bench.fold()
    publish(bench, sink)
    sink.evict(address(1))
    sink.sent.clear()
    publish(bench, sink)
    assert set(sink.sent) == {address(5), address(4), address(1)}  # of the newest send it is not known
    assert differing(bench, sink, expires=True) == []


def test_of_evicted_keys_a_document_that_is_older_than_the_marker_told_is_sent(bench: Bench) -> None:
    sink = Cache()
    publish(bench, sink)
    old = sink.read([address(1)])[address(1)]
    for block in (4, 5):
        bench.append([registration(block, 0, block + 1, 4)], to=block)
        bench.fold()
        publish(bench, sink)
    sink.evict(address(1))
    sink._held[address(1)] = old  # an older copy of the server came back without its marker
    publish(bench, sink)
    assert differing(bench, sink, expires=True) == []


@pytest.mark.parametrize("full", [True, False])
def test_a_cache_that_was_wiped_is_filled(bench: Bench, full: bool) -> None:
    sink = Cache()
    sink.full = full
    publish(bench, sink)
    sink.evict(*[change.key for change in sink.scan()])
    publish(bench, sink)
    assert differing(bench, sink) == []


def test_a_sink_that_evicts_nothing_and_lost_its_marker_gets_everything(bench: Bench) -> None:
    sink = Cache()
    sink.full = False
    publish(bench, sink)
    sink.evict(address(1))
    publish(bench, sink)
    assert differing(bench, sink) == []
