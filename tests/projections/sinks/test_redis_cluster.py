"""Redis Cluster: masters that are restarted, flushed and emptied of slots while documents are published."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from random import Random

import pytest
from redis.crc import key_slot

from eventstore.errors import ChainfoldError
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from projections.errors import SinkError, SinkUnavailable
from projections.publish.publisher import Publisher
from projections.sinks import Change, Marker
from projections.sinks.redis.sink import RedisSink
from tests.folding import CHAIN, Bench, address, registration
from tests.projections.sinks.test_redis_sink import FIELDS
from tests.servers.redis_cluster import Cluster, Node

USERS = 300


class Between(RedisSink):
    """A sink under which something happens between two writes."""

    written = 0

    def happens(self) -> None:
        """Nothing yet."""

    def write(self, changes: Sequence[Change]) -> int:
        self.written += 1
        self.happens()
        return super().write(changes)


@pytest.fixture
def sink(redis_cluster: Cluster) -> Iterator[Between]:
    with closing(Between(redis_cluster.url, fields=FIELDS, ttl=None, projection="referrals")) as made:
        made.open()
        yield made


@pytest.fixture
def bench(sqlite_store: Store) -> Bench:
    """A live generation of some hundred users."""
    made = Bench(sqlite_store)
    pairs = [(user, user // 3 + 1) for user in range(3, USERS)]
    made.append([registration(1, index, *pair) for index, pair in enumerate(pairs)], to=1, finalized=1)
    made.fold()
    return made


@pytest.fixture
def publisher(bench: Bench, sink: Between) -> Publisher:
    lease = Lease(bench.store, "publish:referrals.redis", owner="test||1|a").acquire()
    return Publisher(bench.store, lease, sink, projection="referrals", chain_id=CHAIN, batch=40)


def to_end(publisher: Publisher, *, heal: Callable[[], None] = lambda: None) -> int:
    """Publishes to the end, coming back after each error that may heal; how many were written."""
    written = 0
    for _ in range(500):
        try:
            done = publisher.step()
        except ChainfoldError as error:
            assert error.retry, error
            heal()
            continue
        written += done.written
        if done.idle:
            return written
    raise AssertionError("the publisher does not come to rest")


def whole(sink: RedisSink) -> bool:
    """Is everything there, wherever it was moved to?"""
    keys = {address(user) for user in range(2, USERS)}
    return {change.key for change in sink.scan()} == keys == set(sink.read(sorted(keys)))


def test_documents_are_spread_over_all_nodes(
    publisher: Publisher, sink: Between, redis_cluster: Cluster
) -> None:
    assert to_end(publisher) == USERS - 2
    assert whole(sink)
    held = [len(list(node.client.scan_iter("user:*"))) for node in redis_cluster.nodes]
    assert sum(held) == USERS - 2
    assert min(held) > USERS / 6


def test_a_node_restarted_amid_a_publish_loses_nothing(
    publisher: Publisher, sink: Between, redis_cluster: Cluster
) -> None:
    """Killed before a write that needs it; the others answer, then it comes back with its file."""
    node = redis_cluster.nodes[1]
    failed: list[int] = []

    def happens() -> None:
        if sink.written == 3:
            node.kill()

    def heal() -> None:
        failed.append(sink.written)
        if len(failed) == 2:  # once it was away, and the marker perhaps with it
            node.start()
            redis_cluster.settle()

    sink.happens = happens  # type: ignore[method-assign]
    to_end(publisher, heal=heal)
    assert len(failed) >= 2
    assert whole(sink)


def test_slots_that_move_amid_a_publish_take_their_documents_along(
    publisher: Publisher, sink: Between, redis_cluster: Cluster
) -> None:
    """Some of the keys of a slot are already there, some still here (ASK); then the map is old (MOVED)."""
    source, target = redis_cluster.nodes[0], redis_cluster.nodes[2]
    moving = moved(redis_cluster, source)
    assert moving

    def happens() -> None:
        if sink.written == 2:
            for slot in moving:
                redis_cluster.begin_move(slot, source, target)
        if sink.written == 4:
            for slot in moving:
                redis_cluster.carry(slot, source, target)
                redis_cluster.end_move(slot, target)

    sink.happens = happens  # type: ignore[method-assign]
    try:
        to_end(publisher)
        assert sink.written >= 4
        assert whole(sink)
        asked = {slot for slot in redis_cluster.slots_of(target) if slot in moving}
        assert asked == set(moving)
    finally:
        for slot in moving:  # the cluster is as the next test expects it
            with suppress(Exception):
                redis_cluster.begin_move(slot, target, source)
                redis_cluster.carry(slot, target, source)
            redis_cluster.end_move(slot, source)


def moved(cluster: Cluster, source: Node) -> list[int]:
    """Slots of a node in which documents of this test will lie."""
    mine = set(cluster.slots_of(source))
    slots = {key_slot(f"user:{address(user)}".encode()) for user in range(2, USERS)}
    return Random(1).sample(sorted(slots & mine), 40)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_node_that_was_flushed_alone_is_filled_again(
    publisher: Publisher, sink: Between, redis_cluster: Cluster, place: int
) -> None:
    """One of the three has the marker on it; of the other two only the witnesses tell."""
    to_end(publisher)
    redis_cluster.nodes[place].client.flushall()
    assert not whole(sink)
    assert 0 < to_end(publisher) < USERS - 2
    assert whole(sink)
    assert to_end(publisher) == 0


def test_a_node_flushed_amid_a_publish_is_filled_again(
    publisher: Publisher, sink: Between, redis_cluster: Cluster
) -> None:
    def happens() -> None:
        if sink.written in (3, 6):
            redis_cluster.nodes[sink.written % 2].client.flushall()

    sink.happens = happens  # type: ignore[method-assign]
    to_end(publisher)
    assert whole(sink)


def test_a_refill_that_dies_half_way_begins_again(
    publisher: Publisher, sink: Between, redis_cluster: Cluster
) -> None:
    to_end(publisher)
    lost = next(node for node in redis_cluster.nodes if not list(node.client.scan_iter("chainfold:marker*")))
    lost.client.flushall()

    def happens() -> None:
        raise SinkUnavailable("it died")

    sink.happens = happens  # type: ignore[method-assign]
    with pytest.raises(SinkError, match="it died"):
        publisher.step()
    del sink.happens
    marker = sink.marker()
    assert marker is not None and marker.revision == 0
    to_end(publisher)
    assert whole(sink)


def test_a_marker_of_a_cluster_is_as_any_other_while_nothing_is_lost(sink: Between) -> None:
    one, two = Marker("s", 1, "referrals", 3, "n"), Marker("s", 1, "referrals", 5, "m")
    sink.mark(one, old=None)
    assert sink.marker() == one
    sink.mark(two, old=one)
    assert sink.marker() == two
    assert list(sink.scan()) == []


def test_scripts_that_one_node_forgot_are_loaded_again(sink: Between, redis_cluster: Cluster) -> None:
    changes = [Change(address(user), 1, 1, {"address": address(user)}) for user in range(1, 60)]
    sink.write(changes)
    redis_cluster.nodes[2].client.script_flush()
    assert sink.write([Change(item.key, 2, 1, item.fields) for item in changes]) == 59


def test_a_node_of_a_cluster_behind_a_plain_address_gets_keys_one_by_one(redis_cluster: Cluster) -> None:
    """As behind a proxy: no client that knows of the cluster, and a server that refuses calls over slots."""
    node = redis_cluster.nodes[0]
    own = set(redis_cluster.slots_of(node))
    keys = [key for key in map(address, range(400)) if key_slot(f"user:{key}".encode()) in own]
    url = f"redis://127.0.0.1:{node.port}"
    with closing(RedisSink(url, fields=FIELDS, ttl=None, projection="referrals")) as plain:
        assert plain.write([Change(key, 1, 1, {"address": key}) for key in keys]) == len(keys) > 50
        assert set(plain.read(keys)) == set(keys)
