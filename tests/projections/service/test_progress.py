"""How far a stage is, how fast, and how long it takes still, as its records tell."""

from __future__ import annotations

from eventstore.ingest.branch import Ingested
from eventstore.records import BlockRange
from eventstore.storage.store import Store
from projections.fold.runner import Folded
from projections.publish.publisher import Published, Publisher
from projections.service.status.sinks import unpublished
from projections.service.terminal.progress import Course, StageProgress, WorkExtent
from projections.sinks.memory import MemorySink
from tests.folding import Bench, registration


def test_blocks_are_counted_from_the_first_that_was_missing() -> None:
    course = Course(100.0, WorkExtent())
    first = course.at(Ingested(1_000_999, 0, fetched=BlockRange(1_000_000, 1_000_099)), 110.0)
    assert first == StageProgress(100, 1_000, 10.0, 90.0)
    assert course.at(Ingested(1_000_999, 0, fetched=BlockRange(1_000_100, 1_000_999)), 120.0).eta == 0
    assert course.at(Ingested(1_000_999, 0), 121.0).done == 1_000


def test_blocks_end_where_the_command_says() -> None:
    course = Course(0.0, WorkExtent(last=299))
    assert course.at(Ingested(9_999, 0, fetched=BlockRange(100, 149)), 5.0) == StageProgress(
        50, 200, 10.0, 15.0
    )


def test_a_stage_that_found_nothing_missing_is_at_its_end() -> None:
    assert Course(0.0, WorkExtent()).at(Ingested(50, 40), 1.0) == StageProgress(0, 0, 0.0, None)


def test_events_of_a_fold_are_those_folded_and_those_left() -> None:
    course = Course(0.0, WorkExtent())
    course.at(Folded("p", "building", events=10, left=40, moved=True), 1.0)
    assert course.at(Folded("p", "building", events=30, left=20, moved=True), 4.0) == StageProgress(
        40, 60, 10.0, 2.0
    )


def test_a_publisher_counts_documents_though_all_are_of_one_revision(sqlite_store: Store) -> None:
    bench = Bench(sqlite_store)
    bench.append([registration(block, 0, block, block + 1) for block in range(1, 31)], to=30)
    bench.fold()
    publisher = Publisher(
        sqlite_store, bench.lease, MemorySink(), projection="referrals", chain_id=1, batch=7
    )
    course = Course(0.0, WorkExtent(waiting=lambda name, above: unpublished(sqlite_store, name, above)))
    positions = []
    for second in range(1, 20):
        record: Published = publisher.step()
        positions.append(course.at(record, float(second)))
        if record.idle:
            break
    assert [(item.done, item.of) for item in positions] == [
        (0, 31), (7, 31), (14, 31), (21, 31), (28, 31), (31, 31), (31, 31),
    ]  # fmt: skip
    assert positions[2].eta == 17 / (14 / 3)
