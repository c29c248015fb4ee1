"""The journal's promises, on SQLite and on PostgreSQL."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import MetaData, text

from eventstore.errors import HistoryConflict, StoreError
from eventstore.journal.coverage import Coverage, Covered
from eventstore.journal.history import Question, ask
from eventstore.journal.integrity import check_digests
from eventstore.journal.journal import Journal
from eventstore.records import Appended, BlockRange, Filter, Log, Orphaned, Watch
from eventstore.storage import schema
from eventstore.storage.store import Store
from projections import schema as read_schema
from tests.blocks import ALICE, BOB, header, headers_of, log

CHAIN = 1


def append(
    store: Store, logs: list[Log], branch: str = "a", covered: list[Covered] | None = None
) -> Appended | None:
    with store.write() as tx:
        return Journal(tx, CHAIN).append(logs, headers_of(logs, branch), covered or [])


def orphan(store: Store, first: int, last: int | None = None) -> Orphaned | None:
    with store.write() as tx:
        return Journal(tx, CHAIN).orphan(first, last)


def canonical(store: Store, *filters: Filter) -> list[tuple[int, int, bytes]]:
    with store.read() as tx:
        journal = Journal(tx, CHAIN)
        kinds = journal.kinds(filters or [Filter(ALICE), Filter(BOB)])
        page = journal.read(kinds, after=-1, to=1000, limit=1000)
        return [(item.block_number, item.log_index, item.data) for item in page.logs]


def test_the_migrations_make_exactly_the_tables_that_the_code_names(store: Store) -> None:
    both = MetaData()
    for source in (schema.metadata, read_schema.metadata):
        for table in source.tables.values():
            table.to_metadata(both)
    with store.read() as tx:
        context = MigrationContext.configure(tx, opts={"compare_type": False})
        differences = [
            item
            for item in compare_metadata(context, both)
            if "alembic_version" not in str(item) and "generations_one_live" not in str(item)
        ]
    assert differences == []


def test_entries_are_numbered_from_one_without_holes(store: Store) -> None:
    assert append(store, [log(1)]) == Appended(1, 1, 1, 1)
    assert append(store, [log(2), log(3)]) == Appended(2, 2, 3, 2)
    assert orphan(store, 3) == Orphaned(3, 3, 3, 1)


def test_what_was_appended_is_read_back_in_chain_order(store: Store) -> None:
    append(store, [log(5, 1, data=b"b"), log(6, 0, data=b"c")])
    append(store, [log(5, 0, address=BOB, data=b"a")])
    assert canonical(store) == [(5, 0, b"a"), (5, 1, b"b"), (6, 0, b"c")]


def test_a_log_keeps_its_topics_and_its_data(store: Store) -> None:
    topics = (b"\x01" * 32, b"\x02" * 32, b"\x03" * 32, b"\x04" * 32)
    append(store, [log(1, 0, topics=topics, data=b"\x00\xff"), log(1, 1, topics=())])
    with store.read() as tx:
        found = list(ask(tx, CHAIN, Question()))
    assert [item.log for item in found] == [
        log(1, 0, topics=topics, data=b"\x00\xff"),
        log(1, 1, topics=()),
    ]


def test_an_append_that_is_repeated_adds_nothing(store: Store) -> None:
    append(store, [log(1), log(2)])
    assert append(store, [log(1), log(2)]) is None
    assert append(store, [log(2), log(3)]) == Appended(2, 3, 3, 1)


def test_more_logs_than_one_statement_carries_are_all_kept(store: Store) -> None:
    """SQLite is given whole statements of many rows, and what is left over row by row."""
    logs = [log(number, index, data=bytes([index])) for number in range(1, 31) for index in range(100)]
    assert append(store, logs) == Appended(1, 1, 30, 3_000)
    with store.read() as tx:
        assert [item.log for item in ask(tx, CHAIN, Question())] == logs
        assert check_digests(tx, CHAIN) == []


def test_what_lives_between_the_blocks_of_an_append_is_no_matter_to_it(store: Store) -> None:
    append(store, [log(2), log(4)])
    assert append(store, [log(1), log(3), log(5)]) == Appended(2, 1, 5, 3)
    assert append(store, [log(1), log(3), log(4, 1), log(5)]) == Appended(3, 4, 4, 1)


def test_another_payload_under_a_living_key_is_refused(store: Store) -> None:
    append(store, [log(1, data=b"one")])
    with pytest.raises(HistoryConflict, match="Log 0 of block 1"):
        append(store, [log(1, data=b"two")])
    assert canonical(store) == [(1, 0, b"one")]


def test_a_block_of_another_hash_is_refused_until_the_living_one_is_orphaned(store: Store) -> None:
    append(store, [log(1, 0)])
    with pytest.raises(HistoryConflict, match="must be orphaned first"):
        append(store, [log(1, 1, branch="b")], "b")
    orphan(store, 1)
    append(store, [log(1, 1, branch="b")], "b")
    assert canonical(store) == [(1, 1, b"")]


def test_both_logs_that_a_reorg_puts_at_one_place_stay(store: Store) -> None:
    append(store, [log(1, data=b"old")])
    orphan(store, 1)
    append(store, [log(1, data=b"new", branch="b")], "b")
    with store.read() as tx:
        found = list(ask(tx, CHAIN, Question(orphaned=None)))
    assert [(item.log.data, item.entry, item.orphaned_by) for item in found] == [
        (b"old", 1, 2),
        (b"new", 3, None),
    ]


def test_a_block_that_comes_back_lives_again(store: Store) -> None:
    append(store, [log(1)])
    orphan(store, 1)
    append(store, [log(1)])
    assert canonical(store) == [(1, 0, b"")]


def test_orphaning_what_is_not_there_makes_no_entry(store: Store) -> None:
    append(store, [log(1)])
    assert orphan(store, 2) is None


def test_orphaning_voids_coverage_from_its_first_block_on_for_every_filter(store: Store) -> None:
    covered = [Covered(Filter(address), BlockRange(0, 9)) for address in (ALICE, BOB)]
    append(store, [log(1), log(5)], covered=covered)
    orphan(store, 5)
    with store.read() as tx:
        coverage = Coverage(tx, CHAIN)
        assert [coverage.through(Watch(Filter(a))) for a in (ALICE, BOB)] == [4, 4]


def test_an_empty_range_is_covered_without_an_entry(store: Store) -> None:
    assert append(store, [], covered=[Covered(Filter(ALICE), BlockRange(0, 9))]) is None
    with store.read() as tx:
        assert Coverage(tx, CHAIN).through(Watch(Filter(ALICE))) == 9
        assert Journal(tx, CHAIN).head() == 0


def test_coverage_names_its_gaps(store: Store) -> None:
    for first, last in ((0, 4), (10, 14), (5, 6)):
        append(store, [], covered=[Covered(Filter(ALICE), BlockRange(first, last))])
    with store.read() as tx:
        coverage = Coverage(tx, CHAIN)
        assert coverage.ranges(Filter(ALICE)) == [BlockRange(0, 6), BlockRange(10, 14)]
        assert coverage.gaps(Watch(Filter(ALICE), 2), 20) == [BlockRange(7, 9), BlockRange(15, 20)]


def test_all_topics_of_an_address_cover_one_of_them(store: Store) -> None:
    append(store, [], covered=[Covered(Filter(ALICE), BlockRange(0, 9))])
    with store.read() as tx:
        assert Coverage(tx, CHAIN).through(Watch(Filter(ALICE, b"\x01" * 32))) == 9


def test_the_lowest_change_sees_late_logs_and_orphans_of_its_own_kinds_only(store: Store) -> None:
    append(store, [log(5), log(9)])
    append(store, [log(7, address=BOB)])
    with store.read() as tx:
        journal = Journal(tx, CHAIN)
        alice, bob = journal.kinds([Filter(ALICE)]), journal.kinds([Filter(BOB)])
        assert journal.lowest_change(1, alice) is None
        assert journal.lowest_change(1, bob) == 7
    orphan(store, 6)
    with store.read() as tx:
        journal = Journal(tx, CHAIN)
        assert journal.lowest_change(2, alice) == 9
        assert journal.lowest_change(2, bob) == 7


def test_a_page_holds_whole_blocks(store: Store) -> None:
    append(store, [log(1, 0), log(1, 1), log(2, 0), log(2, 1), log(2, 2), log(3, 0)])
    with store.read() as tx:
        journal = Journal(tx, CHAIN)
        kinds = journal.kinds([Filter(ALICE)])
        first = journal.read(kinds, after=-1, to=9, limit=3)
        second = journal.read(kinds, after=first.through, to=9, limit=3)
        third = journal.read(kinds, after=second.through, to=9, limit=3)
    assert [(len(page.logs), page.through) for page in (first, second, third)] == [
        (2, 1),
        (3, 2),
        (1, 9),
    ]


def test_few_logs_among_many_are_read_page_by_page_as_they_are(store: Store) -> None:
    """By another road: the index on kind, which orphaned logs are in as well."""
    many = [log(block, index, address=ALICE) for block in range(1, 301) for index in range(5)]
    few = [log(block, 5 + index, address=BOB) for block in range(9, 301, 9) for index in range(2)]
    append(store, sorted(many + few, key=lambda item: (item.block_number, item.log_index)))
    orphan(store, 100, 200)
    append(store, [log(144, 2, address=BOB)], branch="b")
    wanted = [(block, index) for block in range(9, 301, 9) for index in (5, 6) if not 100 <= block <= 200]
    wanted = sorted([*wanted, (144, 2)])
    for limit in (1, 3, 50, 1000):
        found: list[tuple[int, int]] = []
        after = -1
        while after < 400:
            with store.read() as tx:
                journal = Journal(tx, CHAIN)
                page = journal.read(journal.kinds([Filter(BOB)]), after=after, to=400, limit=limit)
            assert {(item.block_number, item.entry) for item in page.logs} <= page.blocks.keys()
            found += [(item.block_number, item.log_index) for item in page.logs]
            after = page.through
        assert found == wanted


@pytest.mark.parametrize("table", schema.HISTORY)
@pytest.mark.parametrize(
    "statement",
    ["UPDATE {table} SET {column} = {column}", "DELETE FROM {table}", "TRUNCATE {table}"],
)
def test_history_refuses_to_be_changed(store: Store, table: str, statement: str) -> None:
    if store.sqlite and statement.startswith("TRUNCATE"):
        statement = "INSERT OR REPLACE INTO {table} SELECT * FROM {table}"
    append(store, [log(1), log(2)])
    orphan(store, 2)
    column = next(iter(schema.metadata.tables[table].columns)).name
    with pytest.raises(StoreError, match="append-only"), store.write() as tx:
        tx.execute(text(statement.format(table=table, column=column)))


def test_the_digest_chain_shows_a_row_changed_behind_the_triggers_back(store: Store) -> None:
    append(store, [log(1, data=b"one"), log(2)])
    orphan(store, 2)
    append(store, [log(3)])
    with store.read() as tx:
        assert check_digests(tx, CHAIN) == []
    with store.write() as tx:
        if store.sqlite:
            tx.execute(text("DROP TRIGGER logs_refuse_update"))
        else:
            tx.execute(text("ALTER TABLE logs DISABLE TRIGGER ALL"))
        tx.execute(text("UPDATE logs SET data = :data WHERE block_number = 1"), {"data": b"two"})
    with store.read() as tx:
        assert [item.entry for item in check_digests(tx, CHAIN)] == [1]


def test_a_transaction_that_fails_leaves_no_trace(store: Store) -> None:
    with pytest.raises(RuntimeError), store.write() as tx:
        Journal(tx, CHAIN).append([log(1)], {1: header(1)})
        raise RuntimeError
    assert canonical(store) == []
    assert append(store, [log(1)]) == Appended(1, 1, 1, 1)


def test_chains_do_not_see_each_other(store: Store) -> None:
    append(store, [log(1)])
    with store.write() as tx:
        assert Journal(tx, 2).append([log(1, data=b"x")], {1: header(1)}) == Appended(1, 1, 1, 1)
    assert canonical(store) == [(1, 0, b"")]
