"""Fill against publish, raced on purpose, with hashes that are evicted during both.

What is filled from an older look may never outlive what was published since. RACES says how often: 10,000
were clean; with the second look of a fill left out, 15 of them left an old document behind for good.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import msgspec
import pytest
import redis

from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from projections.fold.state import GenerationState
from projections.publish.publisher import Publisher
from projections.service.http.base.fill import PROVISIONAL, Filler
from projections.sinks import Change
from projections.sinks.redis.sink import RedisSink
from tests.folding import CHAIN, Bench, address, registration

USERS = 200
ROUNDS = int(os.environ.get("RACES", "1000")) // USERS
TTL = 3600


class Racers:
    """Threads that go at once; what one of them raises is raised."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._line = threading.Barrier(2)
        self.raised: list[BaseException] = []

    def start(self, act: Callable[[], Any]) -> None:
        def run() -> None:
            try:
                self._line.wait()
                act()
            except BaseException as error:  # noqa: BLE001 - told by `finish`
                self.raised.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        self._threads.append(thread)

    def finish(self) -> None:
        for thread in self._threads:
            thread.join()
        if self.raised:
            raise self.raised[0]


class Hesitant(RedisSink):
    """What was looked up is written a moment later: a publish and an eviction may lie between."""

    def fill(self, changes: Sequence[Change], *, seconds: int) -> list[Change]:
        time.sleep(random.uniform(0, 0.03))
        return super().fill(changes, seconds=seconds)


class Evicting(RedisSink):
    """What was published is evicted at once, every other time."""

    def write(self, changes: Sequence[Change]) -> int:
        done = super().write(changes)
        if gone := [f"user:{change.key}" for change in changes if random.random() < 0.5]:
            with redis.Redis.from_url(self._url) as client:
                client.delete(*gone)
        return done


def sink(kind: type[RedisSink], url: str) -> RedisSink:
    fields = ("address", "level1Count", "directReferrer")
    return kind(url, fields=fields, ttl=TTL, projection="referrals")


@pytest.fixture
def bench(sqlite_store: Store) -> Bench:
    """Every user is referred by user 1."""
    made = Bench(sqlite_store)
    made.append([registration(1, user, user, 1) for user in range(2, USERS + 2)], to=1, finalized=0)
    made.fold()
    return made


def test_no_fill_outlives_a_publish(bench: Bench, redis_url: str) -> None:
    chance = random.Random(7)
    users = [address(user) for user in range(2, USERS + 2)]
    names = [f"user:{user}" for user in users]
    told: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    with ExitStack() as stack:
        client = stack.enter_context(redis.Redis.from_url(redis_url, decode_responses=True))
        published, filled = sink(Evicting, redis_url), sink(Hesitant, redis_url)
        stack.callback(published.close)
        stack.callback(filled.close)
        lease = Lease(bench.store, "publish:referrals.redis", owner="test||1|a").acquire()
        stage = Publisher(bench.store, lease, published, projection="referrals", chain_id=CHAIN, batch=50)
        filler = Filler(
            bench.store,
            filled,
            projection="referrals",
            chain_id=CHAIN,
            tell=lambda outcome, count: told.update({outcome: count}),
        )

        def publish() -> None:
            while not stage.step().idle:
                pass

        publish()
        for turn in range(ROUNDS):
            referrer = 1000 + turn
            block = 2 + turn
            bench.append(
                [registration(block, user, user, referrer) for user in range(2, USERS + 2)], to=block
            )
            missed = chance.sample(users, len(users))
            client.delete(*names)

            over = threading.Event()

            def move(over: threading.Event = over) -> None:
                try:
                    while not bench.runner.step().idle:  # seven users at a time
                        publish()
                finally:
                    over.set()

            def fill(order: list[str] = missed, over: threading.Event = over) -> None:
                while not over.is_set():
                    for start in range(0, len(order), 25):
                        filler.fill(order[start : start + 25])

            racers = Racers()
            for act in (move, fill):
                racers.start(act)
            racers.finish()
            seen.update(_look(bench, client, users))
    assert sum(seen.values()) == ROUNDS * USERS
    assert seen["stale"] == 0
    assert min(seen["newest"], seen["evicted"], told["written"]) > 0
    assert told["refused"] + told["overtaken"] > 0, "nothing was raced"


def _look(bench: Bench, client: redis.Redis, users: list[str]) -> list[str]:
    """Of each user what the cache says: newest, evicted, provisional (older, and gone in seconds), stale."""
    with bench.store.read() as tx:
        state = GenerationState(tx, 1).load(users)
    found = []
    for user in users:
        held: Any = client.hgetall(f"user:{user}")
        now = msgspec.json.decode(state[user])
        if not held:
            found.append("evicted")
        elif held["directReferrer"] == now["directReferrer"]:
            found.append("newest")
        else:
            found.append("provisional" if 0 < client.ttl(f"user:{user}") <= PROVISIONAL else "stale")
    return found
