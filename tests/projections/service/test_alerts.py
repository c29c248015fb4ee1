"""The watchman over a real store and a real receiver: restarts, several of them, deliveries that fail."""

from __future__ import annotations

import sys
import threading
import time

import pytest

from eventstore import clock
from eventstore.errors import SourceUnavailable, StoreUnavailable
from eventstore.ingest.branch import Ingested
from eventstore.journal.proofs import Disproof, Ledger
from eventstore.records import BlockRange
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from projections.errors import ConfigurationError
from projections.publish.publisher import Published
from projections.service.alerts.delivery import AlertAddress, addresses
from projections.service.alerts.watcher import AlertScope, AlertWatcher
from projections.service.config.alerts import Limits, Pace
from projections.service.logging import logger
from projections.service.records.incidents import Incidents, Key
from projections.service.records.requests import Request, Requests
from projections.service.records.results import Result
from projections.service.records.runs import Outcome, Runs
from projections.service.runtime.loops import Failed, Stepped
from projections.service.runtime.worker import Worker
from tests.servers.receiver import Receiver

AWAY = Failed("ingest main", SourceUnavailable("https://node.example/v3/s3cr3tk3y is away; s3cr3tk3y."), 1.0)
WELL = Stepped("ingest main", Ingested(5, 5))
TITLE = "chainfold: the source of main fails"
PACE = Pace()
LIMITS = Limits(failing_for=0.0, head_stalled=None)


def alert_watcher(store: Store, *urls: str, pace: Pace = PACE, limits: Limits = LIMITS) -> AlertWatcher:
    return AlertWatcher(
        store,
        AlertScope({"main": 1}, [], ["sync"], limits),
        addresses(urls),
        log=logger(),
        pace=pace,
        every=0.01,
        secrets=["s3cr3tk3y"],
        stop=threading.Event(),
    )


def looks(made: AlertWatcher, *events: Stepped | Failed) -> None:
    for event in events:
        made.observe(event)
    made.look()


def test_an_incident_is_told_without_the_secrets_of_its_error(store: Store, receiver: Receiver) -> None:
    looks(alert_watcher(store, receiver.url), AWAY)
    [told] = receiver.told
    assert told.title == TITLE
    assert "https://node.example/... is away" in told.body
    assert "s3cr3t" not in told.body
    with store.read() as tx:
        assert "s3cr3t" not in Incidents(tx).opened()[0].detail


def test_what_was_open_before_a_restart_is_not_told_again_and_its_end_is(
    store: Store, receiver: Receiver
) -> None:
    looks(alert_watcher(store, receiver.url), AWAY)
    after = alert_watcher(store, receiver.url)
    looks(after)
    looks(after, AWAY)
    assert receiver.titles == [TITLE]
    looks(after, WELL)
    assert receiver.titles == [TITLE, TITLE.replace(": ", ": over: ", 1)]


def test_what_was_not_told_before_a_kill_is_told_after_it(store: Store, receiver: Receiver) -> None:
    looks(alert_watcher(store), AWAY)  # no address: as if it had died between writing down and telling
    looks(alert_watcher(store, receiver.url))
    assert receiver.titles == [TITLE]


def test_of_several_watchmen_one_tells(store: Store, receiver: Receiver) -> None:
    receiver.delay = 0.05
    several = [alert_watcher(store, receiver.url) for _ in range(4)]
    threads = [threading.Thread(target=looks, args=(made, AWAY)) for made in several]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for made in several:
        looks(made)
    assert receiver.titles == [TITLE]


def test_one_that_was_killed_while_it_told_leaves_it_to_another_after_a_while(
    store: Store, receiver: Receiver
) -> None:
    looks(alert_watcher(store), AWAY)
    now = clock.now()
    with store.write() as tx:
        assert Incidents(tx).claim(1, over=False, now=now, until=now + 2_000_000)
    made = alert_watcher(store, receiver.url)
    looks(made)
    assert receiver.titles == []
    receiver.until(lambda: looks(made) or receiver.titles)
    assert receiver.titles == [TITLE]


def test_a_delivery_that_fails_is_tried_again_is_noted_and_is_complained_of_once(
    store: Store, receiver: Receiver, capfd: pytest.CaptureFixture[str]
) -> None:
    receiver.status = 503
    made = alert_watcher(store, receiver.url + "/s3cr3tk3y")
    looks(made, AWAY)
    looks(made)
    assert receiver.refused == 1, "it is not tried again at once"
    with store.read() as tx:
        [failing] = Incidents(tx).failing()
    assert failing.target == "alerts.urls[0] (json)"
    assert "503" in failing.reason
    receiver.until(lambda: looks(made) or receiver.refused == 2)
    receiver.status = 200
    receiver.until(lambda: looks(made) or receiver.titles)
    looks(made)
    assert receiver.titles == [TITLE]
    with store.read() as tx:
        assert Incidents(tx).failing() == []
    said = capfd.readouterr().err
    assert said.count("alert not delivered") == 1
    assert "s3cr3t" not in said


def test_an_address_that_takes_nothing_does_not_keep_others_from_being_told_and_gets_it_later(
    store: Store, receiver: Receiver
) -> None:
    with Receiver() as other:
        receiver.status = 500
        made = alert_watcher(store, receiver.url, other.url)
        looks(made, AWAY)
        looks(made, WELL)
        assert other.titles == [TITLE, TITLE.replace(": ", ": over: ", 1)]
        receiver.status = 200
        receiver.until(lambda: looks(made) or len(receiver.titles) == 2)
        assert receiver.titles == other.titles
        assert len(other.titles) == 2


def test_what_flaps_is_told_as_one_pair_within_the_cooldown(store: Store, receiver: Receiver) -> None:
    made = alert_watcher(store, receiver.url, pace=Pace(cooldown=8.0))
    for _ in range(5):
        looks(made, AWAY)
        looks(made, WELL)
    assert len(receiver.titles) == 2
    receiver.until(lambda: looks(made) or len(receiver.titles) == 3)
    assert receiver.told[-1].kind == "info"
    assert "4 times since" in receiver.told[-1].body


def test_observing_takes_no_time_while_a_delivery_hangs(store: Store, receiver: Receiver) -> None:
    receiver.delay = 1.0
    made = alert_watcher(store, receiver.url)
    thread = threading.Thread(target=looks, args=(made, AWAY))
    thread.start()
    observed = 0
    while thread.is_alive():
        made.observe(WELL)
        observed += 1
    assert observed > 100
    assert receiver.titles == [TITLE]


def test_a_store_that_goes_away_ends_nothing(sqlite_store: Store, receiver: Receiver) -> None:
    made = alert_watcher(sqlite_store, receiver.url)
    with sqlite_store.write() as tx:
        tx.exec_driver_sql("ALTER TABLE incidents RENAME TO elsewhere")
    made.start()
    made.observe(AWAY)
    time.sleep(0.1)
    assert made.is_alive()
    with sqlite_store.write() as tx:
        tx.exec_driver_sql("ALTER TABLE elsewhere RENAME TO incidents")
    receiver.until(lambda: receiver.titles)
    made.end()


def test_a_run_of_the_schedule_that_failed_is_one_until_the_same_job_ends_well(
    store: Store, receiver: Receiver
) -> None:
    made = alert_watcher(store, receiver.url)

    def ran(outcome: Outcome, detail: str) -> None:
        with store.write() as tx:
            number = Runs(tx).begin("sync", origin="schedule", owner="here||1|a")
            Runs(tx).end(number, outcome, detail)
        looks(made)

    ran(Outcome.FAILED, "The node is away.")
    ran(Outcome.FAILED, "The node is away.")
    assert receiver.titles == ["chainfold: scheduled sync failed"]
    ran(Outcome.DONE, "")
    assert receiver.titles[1:] == ["chainfold: over: scheduled sync failed"]


def test_a_block_that_a_proof_found_wrong_is_told_until_it_is_right(store: Store, receiver: Receiver) -> None:
    made = alert_watcher(store, receiver.url)
    with store.write() as tx:
        Ledger(tx, 1).refute(Disproof(17, bytes(32), "unproven", "It has no receipts.", "node"))
    looks(made)
    assert receiver.titles == []
    with store.write() as tx:
        Ledger(tx, 1).refute(Disproof(18, bytes(32), "wrong", "It has a log more.", "node"))
    looks(made)
    [told] = receiver.told
    assert told.body.startswith("Block 18 is wrong: It has a log more.")
    with store.write() as tx:
        Ledger(tx, 1).forget_disproofs(BlockRange(18, 18))
    looks(made)
    assert len(receiver.told) == 2


def test_a_store_that_takes_nothing_is_told_from_memory_and_when_it_does_again(
    sqlite_store: Store, receiver: Receiver
) -> None:
    made = alert_watcher(sqlite_store, receiver.url, limits=Limits(failing_for=0.05))
    made.start()
    full = Failed("ingest main", StoreUnavailable("No room for s3cr3tk3y."), 1.0)
    receiver.until(lambda: made.observe(full) or receiver.titles)
    made.observe(WELL)
    receiver.until(lambda: len(receiver.titles) > 1)
    for _ in range(10):  # within the cooldown it is not told again
        made.observe(full)
        time.sleep(0.02)
    made.end()
    assert receiver.titles == ["chainfold: the event store fails", "chainfold: over: the event store fails"]
    assert receiver.told[0].body.startswith("No room for ....")


def test_a_head_that_does_not_move_is_told(store: Store, receiver: Receiver) -> None:
    made = alert_watcher(store, receiver.url, limits=Limits(failing_for=None, head_stalled=0.0))
    looks(made, WELL)
    assert receiver.titles == ["chainfold: the head of main does not move"]


def test_at_most_one_of_a_kind_and_subject_is_open(store: Store) -> None:
    key = Key("gap-old", "main")
    with store.write() as tx:
        assert Incidents(tx).open(key, "a", now=1)
        assert not Incidents(tx).open(key, "b", now=2)
        assert Incidents(tx).close(key, "", now=3)
        assert not Incidents(tx).close(key, "", now=4)
        assert Incidents(tx).open(key, "c", now=5)
        assert [item.detail for item in Incidents(tx).listed(limit=9)] == ["c", "a"]


@pytest.mark.parametrize("url", ["nosuch://t0k3nt0k3n/path", "slack://t0k3nt0k3n", "json://"])
def test_an_address_that_apprise_does_not_know_is_named_by_its_place(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        AlertAddress(url, place=2)
    assert str(caught.value).startswith("alerts.urls[2] (")
    assert "t0k3n" not in str(caught.value)


def test_where_apprise_is_not_installed_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ConfigurationError, match=r'run `pip install "\.\[alerts\]"`'):
        AlertAddress("json://host/x", place=0)


class Stuck:
    """A stage whose step ends when it is let go."""

    name = "publish users.mongo"

    def __init__(self, store: Store) -> None:
        self.lease = Lease(store, self.name)
        self.begun, self.free = threading.Event(), threading.Event()

    def open(self) -> None: ...

    def step(self) -> Published:
        self.begun.set()
        assert self.free.wait(60)
        return Published("users", "mongo")

    def execute(self, request: Request) -> Result:
        raise NotImplementedError

    def close(self) -> None: ...


def test_a_step_that_does_not_end_is_told_and_that_it_did(store: Store, receiver: Receiver) -> None:
    """The step says nothing while it waits: somebody else has to look."""
    made = alert_watcher(store, receiver.url, limits=Limits(step_longer_than=0.0))
    stage, stop = Stuck(store), threading.Event()
    worker = Worker(stage, Requests(store), made.observe, stop, poll=0.001)
    made.over([worker])
    worker.start()
    assert stage.begun.wait(60)
    made.look()
    assert [told.title for told in receiver.told] == ["chainfold: a step of publish users.mongo does not end"]
    stop.set()
    stage.free.set()
    worker.join()
    made.look()
    assert [told.kind for told in receiver.told] == ["failure", "success"]
