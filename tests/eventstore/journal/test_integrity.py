"""What was done to the journal behind the triggers' back is found, and named."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from eventstore.journal.coverage import Covered
from eventstore.journal.integrity import check_journal
from eventstore.journal.journal import Journal
from eventstore.records import BlockRange, Filter
from eventstore.report import Check
from eventstore.storage import schema
from eventstore.storage.store import Store
from tests.blocks import ALICE, BOB, headers_of, log

CHAIN = 1


@pytest.fixture
def journal(store: Store) -> Store:
    """Four entries: blocks 1 to 3, block 3 orphaned, its other branch, and block 9 of another filter."""
    covered = [Covered(Filter(ALICE), BlockRange(0, 3))]
    with store.write() as tx:
        chain = Journal(tx, CHAIN)
        logs = [log(1, data=b"one"), log(2), log(3)]
        chain.append(logs, headers_of(logs), covered)
        chain.orphan(3)
        again = [log(3, branch="b")]
        chain.append(again, headers_of(again, "b"), [Covered(Filter(ALICE), BlockRange(3, 9))])
        late = [log(9, address=BOB)]
        chain.append(late, headers_of(late))
    return store


def checked(store: Store, *, seen: int = 0) -> Check:
    with store.read() as tx:
        return check_journal(tx, CHAIN, seen=seen)


def tamper(store: Store, *statements: str) -> None:
    """Changes history as a user who may drop triggers can."""
    with store.write() as tx:
        for table in schema.HISTORY:
            if store.sqlite:
                for kind in ("update", "delete"):
                    tx.execute(text(f"DROP TRIGGER {table}_refuse_{kind}"))
            else:
                tx.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER ALL"))
        for statement in statements:
            tx.execute(text(statement))


def test_a_journal_that_nobody_touched_is_whole(journal: Store) -> None:
    found = checked(journal)
    assert (found.ok, found.checked, found.differences, found.note) == (True, 6, [], "")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("UPDATE logs SET data = :other WHERE block_number = 1", "entry 1"),
        ("UPDATE logs SET tx_hash = :other WHERE block_number = 2", "entry 1"),
        ("UPDATE logs SET tx_index = 7 WHERE block_number = 9", "entry 4"),
        ("UPDATE blocks SET hash = :other WHERE number = 2", "entry 1"),
        ("UPDATE blocks SET timestamp = timestamp + 1 WHERE number = 9", "entry 4"),
        ("UPDATE log_kinds SET topic0 = :other WHERE address = :bob", "entry 4"),
        ("UPDATE log_kinds SET address = :other WHERE address = :bob", "entry 4"),
        ("UPDATE entries SET recorded_at = recorded_at + 1 WHERE entry = 2", "entry 2"),
        ("UPDATE entries SET head_hash = :other WHERE entry = 3", "entry 3"),
        ("UPDATE entries SET digest = :other WHERE entry = 3", "entry 3"),
        ("UPDATE orphans SET block_number = 2", "entry 2"),
        ("DELETE FROM orphans", "entry 2"),
        ("DELETE FROM logs WHERE block_number = 9", "entry 4"),
        ("DELETE FROM entries WHERE entry = 2", "entry 2"),
        ("DELETE FROM entry_kinds WHERE entry = 4", "entry 4"),
        ("UPDATE entry_kinds SET first_block = 2 WHERE entry = 1", "entry 1"),
    ],
)
def test_one_value_that_was_changed_is_named_by_its_entry(journal: Store, change: str, named: str) -> None:
    other, bob = ("x'77'", f"x'{BOB.hex()}'") if journal.sqlite else (r"'\x77'", rf"'\x{BOB.hex()}'")
    tamper(journal, change.replace(":other", other).replace(":bob", bob))
    found = checked(journal)
    assert not found.ok
    assert named in [item.what for item in found.differences]
    assert found.note


@pytest.mark.parametrize(
    ("statement", "named", "said"),
    [
        (
            "INSERT INTO logs (chain_id, block_number, log_index, entry, kind, tx_hash, tx_index, topic1, "
            "topic2, topic3, data) SELECT chain_id, 50, log_index, entry, kind, tx_hash, tx_index, topic1, "
            "topic2, topic3, data FROM logs WHERE block_number = 9",
            "block 50",
            "which has no such block",
        ),
        (
            "INSERT INTO blocks SELECT chain_id, 50, entry, hash, parent_hash, timestamp FROM blocks "
            "WHERE number = 9",
            "block 50",
            "which does not speak for it",
        ),
        ("INSERT INTO orphans VALUES (1, 9, 4, 3)", "block 9", "did not orphan it"),
        ("INSERT INTO orphans VALUES (1, 77, 1, 2)", "block 77", "never held it"),
        ("UPDATE logs SET topic2 = tx_hash WHERE block_number = 9", "block 9, log 0", "of a wrong length"),
        (
            "UPDATE blocks SET hash = CAST(hash || hash AS {blob}) WHERE number = 9",
            "block 9",
            "of a wrong length",
        ),
    ],
)
def test_a_row_that_belongs_to_nothing_is_named(
    journal: Store, statement: str, named: str, said: str
) -> None:
    tamper(journal, statement.format(blob="BLOB" if journal.sqlite else "BYTEA"))
    found = checked(journal)
    assert any(item.what == named and said in item.detail for item in found.differences), found


def test_an_end_that_was_cut_off_is_missed(journal: Store) -> None:
    """By its coverage, or by a projection that folded it."""
    last = [f"DELETE FROM {table} WHERE entry = 4" for table in ("logs", "blocks", "entry_kinds", "entries")]
    tamper(journal, *last)
    assert checked(journal).ok  # nothing in the journal speaks of it
    assert [item.what for item in checked(journal, seen=4).differences] == ["entry 4"]
    with journal.write() as tx:
        tx.execute(text("UPDATE coverage SET entry = 4"))
    assert [item.what for item in checked(journal).differences] == ["entry 4"]


def test_what_is_counted_is_named_up_to_a_hundred(store: Store) -> None:
    with store.write() as tx:
        logs = [log(number) for number in range(1, 151)]
        Journal(tx, CHAIN).append(logs, headers_of(logs))
    tamper(store, "DELETE FROM blocks")
    found = checked(store)
    assert found.found >= 150
    assert len(found.differences) == 100
