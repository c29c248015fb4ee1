"""What was known, and when: every question against the plain answer, on both engines."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import NamedTuple

import pytest
from sqlalchemy import text

from eventstore.journal import history
from eventstore.journal.entries import chronicle
from eventstore.journal.history import Learned, Question, ask
from eventstore.journal.journal import Journal
from eventstore.records import Filter, Log
from eventstore.storage.store import Store
from tests.blocks import ALICE, BOB, headers_of, log
from tests.eventstore.backup.journals import CHAINS, TOPICS, Author

CHAIN = CHAINS[0]


@pytest.fixture(params=[3, 1_000], ids=["small pages", "one page"])
def page(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(params=["by index", "by block"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both ways to logs of few kinds."""
    monkeypatch.setattr(history, "FEW", 0 if request.param == "by block" else 10**6)
    yield


@pytest.fixture
def told(store: Store) -> Store:
    Author(store, 11).write(60)
    return store


def answer(store: Store, question: Question, *, page: int = 1_000) -> list[Learned]:
    with store.read() as tx:
        return list(ask(tx, CHAIN, question, page=page))


class Ever(NamedTuple):
    log: Log
    entry: int
    orphaned_by: int | None


def every(store: Store) -> list[Ever]:
    """All logs by (block, index, entry), as the entries themselves hold them."""
    with store.read() as tx:
        entries = list(chronicle(tx, CHAIN))
    gone = {place: item.entry.entry for item in entries for place in item.gone}
    found = [
        Ever(log, item.entry.entry, gone.get((log.block_number, item.entry.entry)))
        for item in entries
        for log in item.logs
    ]
    return sorted(found, key=lambda item: (item.log.block_number, item.log.log_index, item.entry))


def plain(store: Store, question: Question) -> list[tuple[int, int, int, int | None]]:
    """(block, index, entry, orphaned by), by looking at everything."""
    as_of = 10**9 if question.as_of is None else question.as_of
    last = 10**9 if question.last is None else question.last
    word = None if question.names is None else bytes(12) + question.names
    found = []
    for item in every(store):
        by = item.orphaned_by if item.orphaned_by is not None and item.orphaned_by <= as_of else None
        if (
            item.entry <= as_of
            and question.first <= item.log.block_number <= last
            and (question.filters is None or any(part.matches(item.log) for part in question.filters))
            and (word is None or word in item.log.topics[1:] or word in item.log.data)
            and (question.tx_hash in (None, item.log.tx_hash))
            and (question.orphaned is None or question.orphaned == (by is not None))
        ):
            found.append((item.log.block_number, item.log.log_index, item.entry, by))
    return found


def test_every_question_has_the_plain_answer(told: Store, page: int, way: None) -> None:
    random = Random(3)
    everything = every(told)
    with told.read() as tx:
        head = Journal(tx, CHAIN).head()
    assert any(item.orphaned_by for item in everything)
    seen = 0
    for _ in range(40):
        first = random.choice((0, random.randint(0, 40)))
        question = Question(
            first=first,
            last=random.choice((None, first + random.randint(0, 30))),
            filters=random.choice((None, (Filter(ALICE),), (Filter(BOB), Filter(ALICE, TOPICS[1])))),
            tx_hash=random.choice((None, None, random.choice(everything).log.tx_hash)),
            orphaned=random.choice((False, True, None)),
            as_of=random.choice((None, random.randint(0, head))),
        )
        found = answer(told, question, page=page)
        shown = [(item.log.block_number, item.log.log_index, item.entry, item.orphaned_by) for item in found]
        assert shown == plain(told, question), question
        seen += len(found)
    assert seen > 100


def test_what_was_known_then_is_what_is_known_now_of_a_journal_that_ends_there(store: Store) -> None:
    """The answer as of each entry, kept while the journal grew."""
    author, kept = Author(store, 12), {}
    for _ in range(30):
        author.write(1)
        with store.read() as tx:
            head = Journal(tx, CHAIN).head()
        kept[head] = answer(store, Question(orphaned=None))
    assert len(kept) > 10
    for head, then in kept.items():
        assert answer(store, Question(orphaned=None, as_of=head)) == then


def test_it_says_when_each_entry_was_recorded(store: Store) -> None:
    with store.write() as tx:
        journal, logs = Journal(tx, CHAIN), [log(1), log(2)]
        journal.append(logs, headers_of(logs))
        journal.orphan(2)
    with store.read() as tx:
        times = dict(tx.execute(text("SELECT entry, recorded_at FROM entries")).all())
    one, two = answer(store, Question(orphaned=None))
    assert (one.recorded_at, one.orphaned_by, one.orphaned_at) == (times[1], None, None)
    assert (two.recorded_at, two.orphaned_by, two.orphaned_at) == (times[1], 2, times[2])


def test_an_address_is_found_in_topics_and_in_data(store: Store) -> None:
    user = bytes.fromhex("5e" * 20)
    word = bytes(12) + user
    logs = [
        log(1, topics=(TOPICS[0], TOPICS[1], word)),
        log(2, data=bytes(32) + word + bytes(32)),
        log(3, topics=(word,)),  # a signature, not a parameter
        log(4, data=bytes(32)),
    ]
    with store.write() as tx:
        Journal(tx, CHAIN).append(logs, headers_of(logs))
    found = answer(store, Question(names=user))
    assert [item.log.block_number for item in found] == [1, 2]


def test_a_filter_that_never_emitted_has_no_answer(told: Store) -> None:
    assert answer(told, Question(filters=(Filter(bytes(20)),))) == []
    assert answer(told, Question(filters=())) == []
