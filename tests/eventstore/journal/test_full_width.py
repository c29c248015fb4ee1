"""Every number of the wire over its whole legal range: appended, read back, backed up, on both engines."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from msgspec import Raw, json
from sqlalchemy import text

from eventstore.backup.dump import dump
from eventstore.backup.manifest import read as manifest_of
from eventstore.errors import AnswerRefused, DataRefused, Unreadable
from eventstore.ingest.resync import compare
from eventstore.journal import digest
from eventstore.journal.coverage import Coverage, Covered
from eventstore.journal.entries import chronicle
from eventstore.journal.history import Question, ask
from eventstore.journal.integrity import check_journal
from eventstore.journal.journal import Journal
from eventstore.journal.tail import Tail
from eventstore.records import BlockRange, Filter, Header, Log, Watch
from eventstore.sources.rpc import codec
from eventstore.storage import bulk, history_tables, schema
from eventstore.storage.legal import MOST
from eventstore.storage.store import Store
from projections.migrate import migrate
from projections.service.runtime.backup import TABLES, restore
from tests.blocks import ALICE, BOB, hash_, headers_of, log

EDGES = sorted(
    {max(0, min(MOST, 2**bits + by)) for bits in (0, 8, 15, 16, 31, 32, 53, 62, 63) for by in (-1, 0, 1)}
)
numbers = st.one_of(st.sampled_from(EDGES), st.integers(0, MOST))
words = st.binary(min_size=32, max_size=32)


@st.composite
def journals(draw: st.DrawFn) -> tuple[int, list[Log], dict[int, Header]]:
    """A chain id, logs ascending by (block, index), and the headers of their blocks."""
    chain, blocks = draw(numbers), {}
    logs: list[Log] = []
    for number in sorted(draw(st.sets(numbers, min_size=1, max_size=3))):
        blocks[number] = Header(number, draw(words), draw(words), draw(numbers))
        logs += [
            Log(
                number,
                index,
                draw(st.sampled_from([ALICE, BOB])),
                tuple(draw(st.lists(words, max_size=4))),
                draw(st.binary(max_size=70)),
                draw(words),
                draw(numbers),
                blocks[number].hash,
            )
            for index in sorted(draw(st.sets(numbers, min_size=1, max_size=3)))
        ]
    return chain, logs, blocks


FILTERS = (Filter(ALICE), Filter(BOB))
thorough = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def test_every_legal_number_goes_through_the_journal_and_a_backup(store: Store, tmp_path: Path) -> None:
    @thorough
    @given(journals())
    def whole(drawn: tuple[int, list[Log], dict[int, Header]]) -> None:
        chain, logs, blocks = drawn
        with store.read() as tx:
            assume(Journal(tx, chain).head() == 0)
        span = BlockRange(logs[0].block_number, logs[-1].block_number)
        with store.write() as tx:
            journal = Journal(tx, chain)
            appended = journal.append(logs, blocks, [Covered(item, span) for item in FILTERS])
            assert appended is not None
            assert appended.log_count == len(logs)
            tx.execute(
                text("INSERT INTO chains VALUES (:chain, :genesis)"), {"chain": chain, "genesis": hash_(0)}
            )
            Tail(tx, chain).finalize(blocks[span.last])
            tx.execute(
                text("INSERT INTO progress VALUES (:chain, :head, 5, NULL)"),
                {"chain": chain, "head": span.last},
            )
        with store.write() as tx:  # an append may be repeated
            assert Journal(tx, chain).append(logs, blocks) is None
        with store.read() as tx:
            journal = Journal(tx, chain)
            assert [item.log for item in ask(tx, chain, Question())] == logs
            kinds = journal.kinds([*FILTERS])
            assert journal.count(kinds, after=span.first - 1, to=span.last) == len(logs)
            page = journal.read(kinds, after=span.first - 1, to=span.last, limit=100)
            assert [(item.block_number, item.log_index) for item in page.logs] == [
                (item.block_number, item.log_index) for item in logs
            ]
            assert {item.number: item.timestamp for item in page.blocks.values()} == {
                number: header.timestamp for number, header in blocks.items()
            }
            assert Coverage(tx, chain).through(Watch(FILTERS[0], span.first)) == span.last
            assert Tail(tx, chain).headers() == [blocks[span.last]]
            [told] = list(chronicle(tx, chain))
            assert told.recomputed(chain) == told.digest
            found = check_journal(tx, chain)
            assert found.ok, found
        if logs[0].tx_index % 2:  # and off the chain again
            with store.write() as tx:
                assert Journal(tx, chain).orphan(span.first) is not None
                assert Journal(tx, chain).append(logs, blocks) is not None
            with store.read() as tx:
                assert [item.log for item in ask(tx, chain, Question())] == logs
                assert check_journal(tx, chain).ok

    whole()
    dump(store, tmp_path / "backup", tables=TABLES)
    with closing(Store(f"sqlite:///{tmp_path / 'again.db'}")) as again:
        migrate(again)
        restore(again, tmp_path / "backup", keep_id=True)
        dump(again, tmp_path / "copy", tables=TABLES)
    one, other = manifest_of(tmp_path / "backup"), manifest_of(tmp_path / "copy")
    assert one.chains == other.chains
    assert [item.file for item in one.segments] == [item.file for item in other.segments]
    assert one.state is not None and other.state is not None
    assert one.state.sha256 == other.state.sha256


def test_a_backup_of_every_legal_number_is_restored_into_postgresql(
    sqlite_store: Store, postgres_store: Store, tmp_path: Path
) -> None:
    for chain, number in enumerate(EDGES):
        block = Header(number, hash_(number), hash_(0), number)
        logs = [Log(number, index, ALICE, (), b"", hash_(1), index, block.hash) for index in EDGES]
        with sqlite_store.write() as tx:
            Journal(tx, chain).append(logs, {number: block})
    dump(sqlite_store, tmp_path / "backup", tables=TABLES)
    restore(postgres_store, tmp_path / "backup", keep_id=True)
    with postgres_store.read() as tx:
        for chain, number in enumerate(EDGES):
            assert [item.log.log_index for item in ask(tx, chain, Question())] == EDGES
            assert {item.timestamp for item in ask(tx, chain, Question())} == {number}
            assert check_journal(tx, chain).ok


@pytest.mark.parametrize("bits", [0, 31, 32, 62])
def test_what_was_digested_before_wide_indexes_keeps_its_digest(bits: int) -> None:
    """Up to 32 bits the bytes are those of always; above, no two logs have the same."""
    logs = [log(1, index) for index in (0, 2**31, 2**32 - 1)]
    plain = struct.Struct(">QII20s32sBI")
    rows = b"".join(
        plain.pack(item.block_number, item.log_index, 0, ALICE, item.tx_hash, 1, 0) + item.topics[0]
        for item in logs
    )
    assert digest.of_logs([], logs) == sha256(rows).digest()
    one, other = log(1, 2**bits), log(1, 2**bits + 2**32)
    assert digest.of_logs([], [one]) != digest.of_logs([], [other])


FIELDS = ["blockNumber", "logIndex", "transactionIndex"]


def wire(**changed: object) -> Raw:
    told: dict[str, object] = {
        "address": "0x" + ALICE.hex(),
        "topics": [],
        "data": "0x",
        "blockNumber": "0x7",
        "blockHash": "0x" + hash_(7).hex(),
        "transactionHash": "0x" + hash_(1).hex(),
        "transactionIndex": "0x0",
        "logIndex": "0x5",
    }
    return Raw(json.encode([told | changed]))


@pytest.mark.parametrize("field", FIELDS)
@given(number=numbers)
def test_a_node_may_give_every_legal_number(field: str, number: int) -> None:
    [found] = codec.logs(wire(**{field: hex(number)}))
    assert number in (found.block_number, found.log_index, found.tx_index)


beyond = st.one_of(st.sampled_from([2**63, 2**64 - 1, 2**64, 2**256]), st.integers(2**63, 2**300))


@pytest.mark.parametrize("field", FIELDS)
@given(number=beyond)
def test_a_number_beyond_its_range_is_refused_by_name(field: str, number: int) -> None:
    with pytest.raises(Unreadable) as caught:
        codec.logs(wire(**{field: hex(number)}))
    assert field in str(caught.value)
    assert str(number) in str(caught.value) or "bits long" in str(caught.value)
    assert not caught.value.retry


@pytest.mark.parametrize("field", ["number", "timestamp"])
@given(number=beyond)
def test_so_is_one_of_a_header(field: str, number: int) -> None:
    block: dict[str, object] = {
        "number": "0x7",
        "hash": "0x" + hash_(7).hex(),
        "parentHash": "0x" + hash_(6).hex(),
        "timestamp": "0x1",
    }
    with pytest.raises(Unreadable, match=field):
        codec.header(Raw(json.encode(block | {field: hex(number)})))
    with pytest.raises(Unreadable, match="chain id"):
        codec.quantity(Raw(json.encode(hex(number))), name="chain id")


@pytest.mark.parametrize("field", FIELDS)
def test_a_negative_number_is_no_number(field: str) -> None:
    with pytest.raises(AnswerRefused):
        codec.logs(wire(**{field: "-0x1"}))


def _integers() -> list[tuple[str, str]]:
    return [
        (table.name, column.name)
        for table in schema.metadata.sorted_tables
        for column in table.columns
        if column.name
        in (
            "log_index",
            "tx_index",
            "block_number",
            "number",
            "timestamp",
            "chain_id",
            "head",
            "first_block",
            "last_block",
            "log_count",
            "orphaned_by",
        )
    ]


@pytest.mark.parametrize(("table", "column"), _integers())
def test_every_column_of_the_wire_is_as_wide_as_the_wire(
    postgres_store: Store, table: str, column: str
) -> None:
    with postgres_store.read() as tx:
        kind = tx.execute(
            text(
                "SELECT data_type FROM information_schema.columns "
                "WHERE table_name = :table AND column_name = :column"
            ),
            {"table": table, "column": column},
        ).scalar_one()
    assert kind == "bigint"


@pytest.mark.parametrize("table", ["dead_letters", "skips"])
def test_so_is_a_log_index_of_the_read_side(postgres_store: Store, table: str) -> None:
    test_every_column_of_the_wire_is_as_wide_as_the_wire(postgres_store, table, "log_index")


@pytest.mark.parametrize(("column", "value"), [("kind", 2**31), ("entry", 2**31), ("log_index", 2**63)])
def test_copy_refuses_what_its_column_would_turn_into_another_number(
    postgres_store: Store, column: str, value: int
) -> None:
    columns = history_tables.logs.columns.keys()
    row: dict[str, object] = dict.fromkeys(columns, 1)
    row |= dict.fromkeys(("tx_hash", "topic1", "topic2", "topic3", "data"), b"") | {column: value}
    with pytest.raises(DataRefused, match=f"{value} for logs.{column}"), postgres_store.write() as tx:
        bulk.insert(tx, history_tables.logs, [tuple(row[name] for name in columns)])


# --- stores that hold what the narrow column made of an index ---


@pytest.fixture
def wrapped(store: Store) -> Iterator[Store]:
    """A log whose index stands there as a negative number, behind the triggers' back."""
    logs = [log(5, 1), log(5, 0xFFFFFFE2)]
    with store.write() as tx:
        Journal(tx, 1).append(logs, headers_of(logs))
    with store.write() as tx:
        tx.execute(text("DROP TRIGGER logs_refuse_update" + ("" if store.sqlite else " ON logs")))
        tx.execute(text("UPDATE logs SET log_index = log_index - 4294967296 WHERE log_index > 1"))
    yield store


def test_an_index_that_was_wrapped_is_named_and_ends_in_no_traceback(wrapped: Store) -> None:
    with wrapped.read() as tx:
        found = check_journal(tx, 1)
    assert not found.ok
    assert any("a log of block 5 has the index -30" in str(item) for item in found.differences)


def test_a_log_that_lives_twice_is_wrong_until_a_resync(store: Store) -> None:
    once, twice = log(5, 1), log(5, 2)
    assert compare([once, twice, twice], [once, twice]).wrong == [5]
    assert compare([once, twice], [once, twice]).wrong == []
