"""Webhooks over a real fold, store and receiver: each fact is sent, and no fact is decided twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from msgspec.structs import replace

from eventstore.errors import Fenced
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from projections.errors import ConfigurationError
from projections.fold.generation import Generations
from projections.fold.runner import Runner
from projections.publish.publisher import Publisher
from projections.sinks import Change, Marker
from projections.webhooks import Courier, Notification, Outbox, Rule, Target, WebhookSink, parse
from projections.webhooks.outbox import NotificationState
from tests.folding import CHAIN, Bench, address, registration
from tests.servers.hooks import SECRET, Answering, Receiver


class Line:
    """A bench whose blocks are all final, one webhook over it, and whom it tells."""

    def __init__(self, store: Store, hooks: Receiver, stack: ExitStack) -> None:
        self.store, self.hooks, self._stack = store, hooks, stack
        self.bench = Bench(store, follow="finalized")
        self._block = 0
        self._leases = 0

    def register(self, *pairs: tuple[int, int]) -> None:
        """One block with a registration (user, referrer) for each pair; folded."""
        self._block += 1
        logs = [registration(self._block, index, *pair) for index, pair in enumerate(pairs)]
        self.bench.append(logs, to=self._block, finalized=self._block)
        self.bench.fold()

    def sink(self, when: str, *, name: str = "two", backfill: bool = False) -> WebhookSink:
        lease = self.lease(f"publish:referrals.webhook-{name}")
        rule = Rule(name, parse(when, "here"))
        return WebhookSink(lease, rule, projection="referrals", chain_id=CHAIN, backfill=backfill)

    def lease(self, name: str) -> Lease:
        """Taken over from its holder before."""
        self._leases += 1
        with self.store.write() as tx:
            tx.exec_driver_sql("UPDATE leases SET expires_at = 0")
        return Lease(self.store, name, owner=f"elsewhere||{self._leases}|a").acquire()

    def publish(self, sink: WebhookSink) -> int:
        """Publishes to the end; how often the rule fired."""
        sink.open()
        stage = Publisher(self.store, sink.lease, sink, projection="referrals", chain_id=CHAIN, batch=2)
        fired = 0
        while not (done := stage.step()).idle:
            fired += done.written
        return fired

    def courier(self, *, name: str = "two", **target: Any) -> Courier:
        made = Courier(
            self.lease(f"deliver:referrals.{name}"),
            Target(self.hooks.url, SECRET, **target),
            projection="referrals",
            rule=name,
        )
        self._stack.callback(made.close)
        return made

    def deliver(self, courier: Courier | None = None) -> None:
        chosen = courier or self.courier()
        while not chosen.step().idle:
            self.hurry()

    def hurry(self) -> None:
        """What waits is due now."""
        with self.store.write() as tx:
            tx.exec_driver_sql("UPDATE notifications SET next_at = 0")

    def notifications(
        self, state: NotificationState | None = None, *, name: str = "two"
    ) -> list[Notification]:
        with self.store.read() as tx:
            return Outbox(tx, "referrals", name).listed(state=state, key=None, limit=1000)

    def rebuild(self) -> None:
        """Folds again under other code, and promotes."""
        self.bench.lease.release()
        other = replace(self.bench.projection, fingerprint="f2")
        self.bench.lease = Lease(self.store, "project:other").acquire()
        self.bench.runner = Runner(self.store, self.bench.lease, other, batch=7)
        self.bench.operations.rebuild(promote=True)
        self.bench.fold()
        with self.store.read() as tx:
            served = Generations(tx, "referrals").served()
        assert served is not None and served.fingerprint == "f2"


@pytest.fixture
def line(store: Store, hooks: Receiver) -> Iterator[Line]:
    with ExitStack() as stack:
        yield Line(store, hooks, stack)


def test_a_rule_tells_of_whoever_reaches_it_once(line: Line) -> None:
    line.register((2, 1))
    sink = line.sink("level1Count reached 2")
    assert line.publish(sink) == 0
    line.register((3, 1))
    assert line.publish(sink) == 1
    line.register((4, 1), (3, 9), (4, 9))  # falls to one, another reaches two
    line.register((5, 1))  # and rises again
    assert line.publish(sink) == 1
    line.deliver()
    assert sorted(line.hooks.keys) == [address(1), address(9)]
    [first] = [call for call in line.hooks.calls if call.key == address(1)]
    assert first.body == {
        "id": first.idempotency_key,
        "chainId": CHAIN,
        "projection": "referrals",
        "rule": "two",
        "when": "level1Count reached 2",
        "key": address(1),
        "occurrence": 1,
        "block": 2,
        "value": 2,
        "before": None,
        "document": first.body["document"],
    }
    assert first.body["document"]["address"] == address(1)
    assert line.hooks.unsigned == 0


def test_what_was_there_when_a_rule_began_is_no_news(line: Line) -> None:
    line.register((2, 1), (3, 1))
    sink = line.sink("level1Count reached 2")
    assert line.publish(sink) == 0
    line.register((4, 1), (5, 6))
    assert line.publish(sink) == 0
    line.register((7, 6))
    assert line.publish(sink) == 1


def test_with_backfill_all_of_history_is_news(line: Line) -> None:
    line.register((2, 1), (3, 1))
    line.register((4, 1))
    assert line.publish(line.sink("level1Count reached 2", backfill=True)) == 1


def test_a_beginning_that_died_half_way_goes_on(line: Line) -> None:
    """What it had remembered stays remembered; a crossing in between is reported."""
    line.register((2, 1))
    sink = line.sink("level1Count reached 2")
    sink._begin()  # and dies before it sets its marker
    line.register((3, 1))
    line.register((5, 4), (6, 4))
    again = line.sink("level1Count reached 2")
    assert line.publish(again) == 0  # neither had been remembered as below: both count as present
    line.register((8, 7), (9, 7))
    assert line.publish(again) == 1


def test_a_rebuild_and_a_promotion_tell_nothing_twice(line: Line) -> None:
    sink = line.sink("level1Count reached 2", backfill=True)
    every = line.sink("level1Count changed", name="every", backfill=True)
    line.register((2, 1), (3, 1))
    assert (line.publish(sink), line.publish(every)) == (1, 3)
    line.rebuild()
    with line.store.write() as tx:  # as if each document differed
        tx.exec_driver_sql("UPDATE changes SET revision = revision + 10")
        tx.exec_driver_sql("UPDATE generations SET revision = revision + 10")
    assert (line.publish(sink), line.publish(every)) == (0, 0)
    line.deliver()
    assert line.hooks.keys == [address(1)]


def test_a_changed_field_is_told_with_what_it_was_in_order(line: Line) -> None:
    line.register((2, 1))
    sink = line.sink("level1Count changed")
    line.publish(sink)
    for user in (3, 4, 5):
        line.register((user, 1))
        line.publish(sink)
    line.deliver()
    told = [(call.body["occurrence"], call.body["before"], call.body["value"]) for call in line.hooks.calls
            if call.key == address(1)]  # fmt: skip
    assert told == [(1, 1, 2), (2, 2, 3), (3, 3, 4)]


def test_a_key_that_fails_holds_up_no_other_and_keeps_its_order(line: Line) -> None:
    sink = line.sink("level1Count changed", backfill=True)
    line.register((2, 1), (4, 3))
    line.publish(sink)
    line.register((5, 1), (6, 3))
    line.publish(sink)
    refused = 2

    def answer(call: Any) -> Answering:
        nonlocal refused
        if call.key == address(1) and refused:
            refused -= 1
            return Answering(500)
        return Answering()

    line.hooks.answer = answer
    courier = line.courier()
    first = courier.step()
    assert (first.failed, first.dead) == (1, 0)
    line.deliver(courier)
    order = [call.body["occurrence"] for call in line.hooks.calls if call.key == address(1)]
    assert order == [1, 1, 1, 2]
    assert [c.body["occurrence"] for c in line.hooks.calls if c.key == address(3)] == [1, 2]
    assert {item.state for item in line.notifications()} == {"delivered"}
    assert len(line.hooks.paid) == len(line.notifications())


def test_whoever_dies_between_sending_and_noting_sends_again_under_the_same_key(line: Line) -> None:
    line.register((2, 1), (3, 1))
    line.publish(line.sink("level1Count reached 2", backfill=True))
    stopped = line.courier()
    other = line.courier()  # takes the lease over before the first one notes anything
    stopped._lease.renew = lambda: None  # type: ignore[method-assign]  # it slept since
    with pytest.raises(Fenced):
        stopped.step()
    assert [item.state for item in line.notifications()] == ["pending"]
    line.deliver(other)
    assert len(line.hooks.calls) == 2
    assert len({call.idempotency_key for call in line.hooks.calls}) == 1
    assert len({call.raw for call in line.hooks.calls}) == 1
    assert len(line.hooks.paid) == 1


def test_a_publisher_that_lost_its_lease_decides_nothing(line: Line) -> None:
    line.register((2, 1), (3, 1))
    zombie = line.sink("level1Count reached 2", backfill=True)
    holder = line.sink("level1Count reached 2", backfill=True)
    change = Change(address(1), 1, 1, {"address": address(1), "level1Count": 2})
    with pytest.raises(Fenced):
        zombie.write([change])
    with pytest.raises(Fenced):
        zombie.mark(Marker("s", CHAIN, "referrals", 0, "n"), old=None)
    assert line.publish(holder) == 1
    assert holder.write([change]) == 0
    assert len(line.notifications()) == 1


def test_a_publisher_that_dies_before_its_marker_decides_nothing_again(line: Line) -> None:
    """Decided, and the marker not moved: the next one decides the same and finds it remembered."""
    line.register((2, 1), (3, 1))
    sink = line.sink("level1Count reached 2", backfill=True)
    line.publish(sink)
    with line.store.write() as tx:
        tx.exec_driver_sql(
            'UPDATE notification_rules SET marker = \'{"store":"\' || (SELECT id FROM store) || '
            '\'","chain_id":1,"projection":"referrals","revision":0,"nonce":""}\''
        )
    assert line.publish(line.sink("level1Count reached 2", backfill=True)) == 0
    assert len(line.notifications()) == 1


def test_the_key_is_the_same_in_another_store(line: Line, tmp_path: Any) -> None:
    """A store that was lost and synced again sends the same messages; the receiver knows the keys."""
    from projections.migrate import migrate

    line.register((2, 1), (3, 1))
    line.publish(line.sink("level1Count reached 2", backfill=True))
    other = Store(f"sqlite:///{tmp_path / 'second.db'}")
    migrate(other)
    with ExitStack() as stack:
        second = Line(other, line.hooks, stack)
        second.register((2, 1))
        second.register((3, 1))
        second.publish(second.sink("level1Count reached 2", backfill=True))
        [there], [here] = second.notifications(), line.notifications()
        assert there.idempotency_key == here.idempotency_key
    other.close()


def test_what_is_refused_becomes_a_dead_letter_and_can_be_sent_again(line: Line) -> None:
    line.register((2, 1), (3, 1))
    line.publish(line.sink("level1Count reached 2", backfill=True))
    line.hooks.answer = lambda _: Answering(404, text="no such bonus")
    courier = line.courier()
    line.deliver(courier)
    [dead] = line.notifications("dead")
    assert dead.reason == "HTTP 404: no such bonus (after 3 attempts)"
    assert courier.again(replay=False, number=dead.id + 1) == 0
    assert courier.again(replay=False, number=dead.id) == 1
    line.hooks.answer = lambda _: Answering()
    line.deliver(courier)
    assert [item.state for item in line.notifications()] == ["delivered"]
    assert courier.again(replay=True, number=None) == 1
    line.deliver(courier)
    assert len(line.hooks.calls) == 5
    assert len(line.hooks.paid) == 1


def test_a_receiver_that_asks_for_patience_is_not_asked_before(line: Line) -> None:
    line.register((2, 1), (3, 1))
    line.publish(line.sink("level1Count reached 2", backfill=True))
    line.hooks.answer = lambda _: Answering(429, {"Retry-After": "3600"})
    courier = line.courier()
    assert courier.step().failed == 1
    assert courier.step().idle
    assert len(line.hooks.calls) == 1


def test_a_rule_goes_on_under_the_condition_it_began_with(line: Line) -> None:
    line.register((2, 1))
    line.publish(line.sink("level1Count reached 2"))
    with pytest.raises(ConfigurationError, match="began as `level1Count reached 2` and is now"):
        line.sink("level1Count reached 3").open()


def test_a_removed_document_is_told_without_its_fields(line: Line) -> None:
    sink = line.sink("removed")
    sink.mark(Marker("s", CHAIN, "referrals", 0, "n"), old=None)
    sink.write([Change("a", 1, 1, {"address": "a"})])
    sink.write([Change("a", 2, 2, None)])
    line.deliver()
    assert [(call.key, call.body["document"]) for call in line.hooks.calls] == [("a", None)]
