"""Webhooks across a backup and a restore: each fact is sent, and no fact is dropped as a repetition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from eventstore.backup import state
from eventstore.backup.dump import dump
from eventstore.storage.store import Store
from projections.service.runtime.backup import TABLES, restore
from tests.projections.webhooks.test_notifications import Line
from tests.servers.hooks import Receiver
from tests.stores import migrated

RULES = {
    "reached": "level1Count reached 2",
    "changed": "level1Count changed",
    "one": "level1Count = 1",
    "appeared": "appeared",
}
FACTS = [
    ((2, 1),),
    ((3, 1), (4, 2)),
    ((5, 2),),
    ((6, 2), (7, 1)),
    ((2, 6),),
    ((8, 6), (3, 2)),
    ((9, 8), (10, 8)),
]
"""Registrations by block: counts rise, fall (who registers again leaves a referrer) and rise again."""


@pytest.fixture
def line(store: Store, hooks: Receiver) -> Iterator[Line]:
    with ExitStack() as stack:
        yield Line(store, hooks, stack)


def tell(line: Line) -> None:
    for name, when in RULES.items():
        line.publish(line.sink(when, name=name, backfill=True))
        line.deliver(line.courier(name=name))


def facts(hooks: Receiver) -> Counter[tuple[object, ...]]:
    """What was paid: by rule and document the transitions, however often each was sent."""
    return Counter(
        (body["rule"], body["key"], body["occurrence"], repr(body["before"]), repr(body["value"]))
        for body in hooks.paid.values()
    )


@pytest.mark.parametrize("cut", range(1, len(FACTS)))
@pytest.mark.long
def test_after_a_restore_every_fact_is_paid_once(line: Line, tmp_path: Path, cut: int) -> None:
    """What the lost store sent after the backup is sent again under the same keys; what is new is new."""
    with ExitStack() as stack:
        plain = stack.enter_context(Receiver())
        with closing(migrated(tmp_path / "plain.db")) as undisturbed:
            whole = Line(undisturbed, plain, stack)
            for block in FACTS:
                whole.register(*block)
                tell(whole)

        lost = (cut + len(FACTS)) // 2  # the store that was backed up goes on until here
        for number, block in enumerate(FACTS[:lost], start=1):
            line.register(*block)
            tell(line)
            if number == cut:
                dump(line.store, tmp_path / "backup", tables=TABLES)

        with closing(migrated(tmp_path / "again.db")) as again:
            restore(again, tmp_path / "backup")
            restored = Line(again, line.hooks, stack)
            restored._block = cut
            while not restored.bench.runner.step().idle:
                tell(restored)  # as beside a fold that is under way
            tell(restored)
            for block in FACTS[cut:]:
                restored.register(*block)
                tell(restored)
            assert facts(line.hooks) == facts(plain)
            for name in RULES:
                kept = restored.notifications(name=name)
                assert len({item.id for item in kept}) == len(kept)


def test_a_document_that_is_gone_since_the_backup_is_news(line: Line, tmp_path: Path) -> None:
    """`one` saw a count of one; when it is looked at again the count is gone, so the next one is sent."""
    line.register((2, 1))
    tell(line)
    dump(line.store, tmp_path / "backup", tables=TABLES)
    with closing(migrated(tmp_path / "again.db")) as again, ExitStack() as stack:
        restore(again, tmp_path / "backup", keep_id=True)
        restored = Line(again, line.hooks, stack)
        restored.bench.fold()
        before = len(line.hooks.paid)
        with again.write() as tx:
            tx.exec_driver_sql("DELETE FROM documents")
        tell(restored)
        assert len(line.hooks.paid) == before + 2  # `changed`: to nothing, of who had a count
        with again.read() as tx:
            found = tx.exec_driver_sql("SELECT count(*) FROM notification_memory WHERE state = 'true'")
            assert found.scalar_one() == 0


@pytest.mark.parametrize("rule", ["changed", "one", "appeared"])
def test_a_rule_that_begins_anew_gives_no_new_fact_an_old_key(line: Line, tmp_path: Path, rule: str) -> None:
    """As after a backup of before webhooks were part of it, or in a store that was synced from nothing."""
    chosen = {rule: RULES[rule]}
    for block in FACTS[:4]:
        line.register(*block)
        for name, when in chosen.items():
            line.publish(line.sink(when, name=name))
            line.deliver(line.courier(name=name))
    dump(line.store, tmp_path / "backup", tables=(*state.TABLES, "skips"))
    told = {call.idempotency_key for call in line.hooks.calls}
    with closing(migrated(tmp_path / "again.db")) as again, ExitStack() as stack:
        restore(again, tmp_path / "backup", keep_id=True)
        restored = Line(again, line.hooks, stack)
        restored._block = 4
        restored.bench.fold()
        restored.publish(restored.sink(RULES[rule], name=rule))
        new = 0
        for block in FACTS[4:]:
            restored.register(*block)
            new += restored.publish(restored.sink(RULES[rule], name=rule))
            restored.deliver(restored.courier(name=rule))
        assert new
        assert len({call.idempotency_key for call in line.hooks.calls} - told) == new
        assert len(line.hooks.paid) == len(told) + new
