"""A document that a sink refuses is set aside by name, keeps no other out, and arrives when it can."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from sqlalchemy import text

from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from projections.errors import MarkerLost, SinkUnavailable
from projections.fold.generation import Generations
from projections.publish.publications import Publications
from projections.publish.publisher import Published, Publisher
from projections.publish.set_aside import Aside, SetAside, sinks_with
from projections.service.status.sinks import sink_status
from projections.sinks import Change, Marker
from projections.sinks.memory import MemorySink
from projections.verify.sinks import Sample, SinkCheck
from tests.folding import CHAIN, Bench, address, registration

BAD, OTHER = address(3), address(4)


class Sink(MemorySink):
    """A memory sink that refuses these keys, can be put back, and can take nothing at all."""

    def __init__(self) -> None:
        super().__init__(refuses=lambda change: "it is too odd" if change.key in self.bad else None)
        self.bad: set[str] = set()
        self.down = False
        self.dies_after_write = False
        self.sent: list[str] = []

    def write(self, changes: Sequence[Change]) -> int:
        if self.down:
            raise SinkUnavailable("It is read-only.")
        self.sent += [change.key for change in changes]
        try:
            return super().write(changes)
        finally:
            if self.dies_after_write:
                self.dies_after_write = False
                raise SinkUnavailable("It died.")

    def kept(self) -> tuple[dict[str, Change], Marker | None]:
        """A backup of it."""
        return dict(self._held), self._marker

    def put_back(self, kept: tuple[dict[str, Change], Marker | None]) -> None:
        self._held, self._marker = dict(kept[0]), kept[1]


@pytest.fixture
def bench(store: Store) -> Bench:
    """Four users in a live generation; blocks above 1 can be undone."""
    made = Bench(store)
    made.append(
        [registration(1, 0, 1, 2), registration(2, 0, 3, 1), registration(3, 0, 4, 1)], to=3, finalized=1
    )
    made.fold()
    return made


@pytest.fixture
def sink() -> Sink:
    made = Sink()
    made.bad = {BAD}
    return made


def publisher(store: Store, sink: MemorySink, *, batch: int = 2) -> Publisher:
    """The publisher of a process that has just begun."""
    lease = Lease(store, f"publish:referrals.{sink.name}", owner="test||1|a").acquire()
    return Publisher(store, lease, sink, projection="referrals", chain_id=CHAIN, batch=batch)


def to_end(stage: Publisher) -> list[Published]:
    done = []
    while True:
        done.append(stage.step())
        if done[-1].idle:
            return done


def aside(store: Store) -> list[SetAside]:
    with store.read() as tx:
        return Aside(tx, "referrals", "memory").listed()


def names(store: Store) -> list[str]:
    return [item.key for item in aside(store)]


def hurry(store: Store) -> None:
    """The time of everything that stands aside has come."""
    with store.write() as tx:
        tx.execute(text("UPDATE set_aside SET next_at = 0"))


def there(sink: Sink) -> set[str]:
    return {change.key for change in sink.scan() if change.fields is not None}


def checked(bench: Bench, sink: Sink, *, sample: Sample | None = None) -> list[tuple[str, str]]:
    check = SinkCheck(bench.store, sink, projection="referrals", chain_id=CHAIN, expires=False, sample=sample)
    return [(item.what, item.detail) for item in check.run().check.differences]


def change_again(bench: Bench) -> None:
    """An event that changes the document of BAD, and no other's but the referrer's."""
    bench.append([registration(4, 0, 5, 3)], to=4)
    bench.fold()


@pytest.mark.parametrize("batch", [1, 2, 50])
def test_one_that_is_refused_keeps_no_other_out_and_the_marker_goes_on(
    bench: Bench, sink: Sink, batch: int
) -> None:
    done = to_end(publisher(bench.store, sink, batch=batch))
    assert there(sink) == {address(1), address(2), OTHER}
    [item] = aside(bench.store)
    assert (item.key, item.revision, item.reason, item.attempts) == (BAD, 1, "it is too odd", 1)
    assert item.first_at == item.tried_at < item.next_at
    marker = sink.marker()
    assert marker is not None
    assert (marker.revision, marker.key) == (1, "")
    assert sum(step.refused for step in done) == 1
    assert (done[-1].aside, done[-1].reason) == (1, f"{BAD}: it is too odd")


def test_a_sink_that_takes_all_writes_nothing_down(bench: Bench, sink: Sink) -> None:
    sink.bad = set()
    assert {(step.aside, step.reason) for step in to_end(publisher(bench.store, sink))} == {(0, None)}
    with bench.store.read() as tx:
        assert tx.execute(text("SELECT count(*) FROM set_aside")).scalar_one() == 0


def test_it_waits_longer_each_time_and_arrives_without_a_command(bench: Bench, sink: Sink) -> None:
    stage = publisher(bench.store, sink)
    to_end(stage)
    pauses = [aside(bench.store)[0].next_at - aside(bench.store)[0].tried_at]
    for _ in range(8):
        assert stage.step().idle  # its time has not come
        hurry(bench.store)
        assert [step.tried for step in to_end(stage)] == [True, False]
        pauses.append(aside(bench.store)[0].next_at - aside(bench.store)[0].tried_at)
    assert [pause / 1e6 for pause in pauses] == [10, 20, 40, 80, 160, 320, 600, 600, 600]
    assert aside(bench.store)[0].attempts == 9
    sink.bad = set()
    hurry(bench.store)
    assert to_end(stage)[0].written == 1
    assert names(bench.store) == []
    assert there(sink) == {address(n) for n in (1, 2, 3, 4)}
    assert checked(bench, sink) == []


def test_a_process_that_begins_tries_what_stands_aside(bench: Bench, sink: Sink) -> None:
    """So does every `sync`: no process waits for a pause that another began."""
    to_end(publisher(bench.store, sink))
    sink.bad = set()
    sink.sent.clear()
    to_end(publisher(bench.store, sink))
    assert sink.sent == [BAD]
    assert BAD in there(sink)


def test_it_is_tried_when_its_document_changes(bench: Bench, sink: Sink) -> None:
    stage = publisher(bench.store, sink)
    to_end(stage)
    change_again(bench)
    to_end(stage)
    [item] = aside(bench.store)
    assert (item.revision, item.attempts) == (2, 2)
    sink.bad = set()
    bench.append([registration(5, 0, 6, 3)], to=5)
    bench.fold()
    to_end(stage)
    assert names(bench.store) == []
    assert checked(bench, sink) == []


def test_what_was_refused_is_never_older_in_the_sink_than_it_is_claimed_without_being_listed(
    bench: Bench, sink: Sink
) -> None:
    sink.bad = set()
    stage = publisher(bench.store, sink)
    to_end(stage)
    sink.bad = {BAD}
    change_again(bench)
    to_end(stage)
    assert sink.read([BAD])[BAD].revision == 1
    assert names(bench.store) == [BAD]
    assert [what for what, said in checked(bench, sink) if "is set aside since 20" in said] == [BAD]


def test_a_removal_that_is_refused_stands_aside_too(bench: Bench, sink: Sink) -> None:
    sink.bad = set()
    stage = publisher(bench.store, sink)
    to_end(stage)
    sink.bad = {BAD}
    bench.orphan(2)
    bench.append([], to=3, branch="b")
    bench.fold()
    to_end(stage)
    assert names(bench.store) == [BAD]
    sink.bad = set()
    hurry(bench.store)
    to_end(stage)
    assert names(bench.store) == []
    assert sink.read([BAD])[BAD].fields is None


def test_who_dies_between_the_write_and_the_note_writes_it_down_the_next_time(
    bench: Bench, sink: Sink
) -> None:
    stage = publisher(bench.store, sink)
    stage.step()
    sink.dies_after_write = True
    with pytest.raises(SinkUnavailable, match="died"):
        stage.step()
    marker = sink.marker()
    assert marker is not None
    assert (marker.revision, marker.key) == (0, "")
    to_end(publisher(bench.store, sink))
    assert names(bench.store) == [BAD]


def test_a_sink_that_is_wiped_begins_again(bench: Bench, sink: Sink) -> None:
    to_end(publisher(bench.store, sink))
    sink.put_back(({}, None))
    sink.bad = {OTHER}
    to_end(publisher(bench.store, sink))
    assert [(item.key, item.attempts) for item in aside(bench.store)] == [(OTHER, 1)]
    assert BAD in there(sink)


@pytest.mark.parametrize("refused_then", [True, False])
def test_a_sink_that_is_put_back_to_before_it_took_the_document_gets_it(
    bench: Bench, sink: Sink, refused_then: bool
) -> None:
    """Its marker tells of revisions above the document's, and the document is not in it."""
    stage = publisher(bench.store, sink)
    to_end(stage)
    kept = sink.kept()
    sink.bad = set()
    hurry(bench.store)
    to_end(stage)
    assert names(bench.store) == []
    sink.put_back(kept)
    sink.bad = {BAD} if refused_then else set()
    to_end(stage)
    assert names(bench.store) == ([BAD] if refused_then else [])
    assert (BAD in there(sink)) is not refused_then


def test_a_promotion_sends_what_stands_aside_as_it_is_then(bench: Bench, sink: Sink) -> None:
    stage = publisher(bench.store, sink)
    to_end(stage)
    bench.orphan(1)
    bench.append([registration(1, 0, 9, 8, branch="b")], to=3, branch="b")
    bench.operations.rebuild(promote=True)
    bench.fold()
    to_end(stage)
    sink.bad = set()
    hurry(bench.store)
    to_end(stage)
    assert names(bench.store) == []
    assert checked(bench, sink) == []


def test_a_take_over_sends_all_and_writes_down_what_is_refused(bench: Bench, sink: Sink) -> None:
    sink.mark(Marker("another", CHAIN, "referrals", 7, "n"), old=None)
    stage = publisher(bench.store, sink)
    stage.take_over()
    to_end(stage)
    assert [(item.key, item.revision) for item in aside(bench.store)] == [(BAD, 8)]
    assert there(sink) == {address(1), address(2), OTHER}


def test_what_changed_above_the_marker_is_sent_in_its_turn(bench: Bench, sink: Sink) -> None:
    stage = publisher(bench.store, sink, batch=1)
    to_end(stage)
    change_again(bench)
    hurry(bench.store)
    sink.bad = set()
    sink.sent.clear()
    to_end(stage)
    assert sink.sent.count(BAD) == 1


def test_many_that_stand_aside_are_tried_part_by_part(
    bench: Bench, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.publish.publisher.AGAIN", 2)
    sink.bad = {address(n) for n in (1, 2, 3, 4)}
    stage = publisher(bench.store, sink)
    to_end(stage)
    assert len(names(bench.store)) == 4
    hurry(bench.store)
    sink.bad = {BAD}
    assert [step.sent for step in to_end(stage)] == [2, 2, 0]
    assert names(bench.store) == [BAD]


def test_a_command_tries_all_of_them_at_once(bench: Bench, sink: Sink) -> None:
    sink.bad = {BAD, OTHER}
    stage = publisher(bench.store, sink)
    to_end(stage)
    sink.bad = {OTHER}
    assert stage.again() == "2 documents were tried again, 1 stand aside"
    assert names(bench.store) == [OTHER]


def test_verify_names_what_stands_aside_within_its_sample(bench: Bench, sink: Sink) -> None:
    to_end(publisher(bench.store, sink))
    [(what, said)] = checked(bench, sink)
    assert what == BAD
    assert said.endswith("Z: it is too odd")
    assert checked(bench, sink, sample=Sample(share=1.0)) == [(what, said)]
    assert checked(bench, sink, sample=Sample(share=0.0)) == []


def test_the_status_says_how_many_and_which(bench: Bench, sink: Sink) -> None:
    to_end(publisher(bench.store, sink))
    found = sink_status(bench.store, "referrals", CHAIN, sink)
    assert (found.state, found.set_aside, [item.key for item in found.aside]) == ("current", 1, [BAD])
    assert found.error is not None
    assert f"1 documents are set aside, e.g. {BAD}: it is too odd" in found.error
    with bench.store.read() as tx:
        assert sinks_with(tx, "referrals") == ["memory"]


def test_a_sink_that_takes_nothing_says_why_until_it_does(bench: Bench, sink: Sink) -> None:
    """Also where its marker can be read, and to who looks from another process."""
    sink.down = True
    stage = publisher(bench.store, sink)
    stage.step()
    with pytest.raises(SinkUnavailable):
        stage.step()
    found = sink_status(bench.store, "referrals", CHAIN, sink)
    assert (found.state, found.error) == ("behind", "It is read-only.")
    sink.down = False
    sink.bad = set()
    to_end(publisher(bench.store, sink))  # a process that did not see it fail
    assert sink_status(bench.store, "referrals", CHAIN, sink).error is None


def test_a_marker_that_was_lost_is_no_trouble_of_the_sink(bench: Bench, sink: Sink) -> None:
    stage = publisher(bench.store, sink)
    to_end(stage)
    change_again(bench)
    mark: Callable[..., None] = sink.mark

    def lost(new: Marker, *, old: Marker | None) -> None:
        sink.mark = mark  # type: ignore[method-assign]
        raise MarkerLost("Somebody was faster.")

    sink.mark = lost  # type: ignore[method-assign]
    with pytest.raises(MarkerLost):
        stage.step()
    with bench.store.read() as tx:
        assert Publications(tx, "referrals", "memory").known().error is None
        served = Generations(tx, "referrals").served()
    assert served is not None
    to_end(stage)
    assert sink_status(bench.store, "referrals", CHAIN, sink).revision == served.revision
