"""Totals that are kept are those that counting everything gives."""

from __future__ import annotations

from eventstore.journal.totals import JournalTotals, Tally
from eventstore.storage.store import Store
from tests.folding import CHAIN, Bench, registration


def test_what_is_new_is_added_and_what_a_reorg_takes_off_is_taken_off(store: Store) -> None:
    bench, tally = Bench(store), Tally()

    def kept() -> JournalTotals:
        with store.read() as tx:
            found = tally.totals(tx, CHAIN)
            assert found == Tally().totals(tx, CHAIN)
        return found

    assert kept() == JournalTotals()
    bench.append([registration(block, 0, block, block + 1) for block in range(1, 6)], to=5)
    first = kept()
    assert (first.entry, first.logs, first.reorgs, first.last_reorg) == (1, 5, 0, None)
    bench.orphan(4)
    second = kept()
    assert (second.entry, second.logs, second.reorgs) == (2, 3, 1)
    assert second.last_reorg is not None
    bench.append([registration(4, 0, 9, 8, branch="b")], to=5, branch="b")
    assert (kept().logs, kept().last_reorg) == (4, second.last_reorg)


def test_a_snapshot_that_is_older_than_what_is_known_is_counted_by_itself(store: Store) -> None:
    bench, tally = Bench(store), Tally()
    bench.append([registration(1, 0, 1, 2)], to=1)
    with store.read() as old:
        assert tally.totals(old, CHAIN).logs == 1
        bench.append([registration(2, 0, 2, 3)], to=2)
        with store.read() as new:
            assert tally.totals(new, CHAIN).logs == 2
        assert tally.totals(old, CHAIN).logs == 1
    with store.read() as tx:
        assert tally.totals(tx, CHAIN).logs == 2
