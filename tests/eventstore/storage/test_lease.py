"""A process that stands still in the middle of a commit does not keep its lease for ever."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

import pytest
from sqlalchemy import Connection, text

from eventstore.errors import Fenced, LeaseHeld
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store

TTL = 1.0
PATIENCE = 60.0


@pytest.fixture
def store(postgres_store: Store) -> Store:
    """On PostgreSQL: where SQLite's one lock is held by a process that stands still, all wait for it."""
    return postgres_store


@pytest.fixture
def holder(store: Store) -> Lease:
    return Lease(store, "x", owner="elsewhere||1|a", ttl=TTL).acquire()


def taken(store: Store, *, ttl: float = TTL) -> Lease:
    """The lease, acquired as a stand-by does it: again and again."""
    lease = Lease(store, "x", owner="here||2|b", ttl=ttl)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with suppress(LeaseHeld):
            return lease.acquire()
    raise AssertionError("the lease was never free")


@contextmanager
def copying(tx: Connection) -> Iterator[None]:
    """In the middle of a COPY, which the server does not call idle."""
    driver: Any = tx.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy("COPY runs (id) FROM STDIN"):
        yield


@pytest.mark.parametrize("at", [nullcontext, copying])
def test_a_commit_that_stands_still_is_ended_and_refused(
    store: Store, holder: Lease, at: Callable[[Connection], AbstractContextManager[None]]
) -> None:
    with pytest.raises(Fenced, match="no longer holds the lease on x"), holder.commit() as tx:
        tx.execute(text("INSERT INTO runs (command, started_at) VALUES ('lost', 0)"))
        with at(tx):
            assert taken(store).epoch == 2
        tx.execute(text("SELECT 1"))
    with store.read() as tx:
        assert tx.execute(text("SELECT count(*) FROM runs")).scalar() == 0


def test_a_renewal_that_waits_for_such_a_commit_does_not_get_the_row_it_leaves(
    store: Store, holder: Lease
) -> None:
    """Else a process that stands still would keep its lease for twice as long."""
    with ThreadPoolExecutor(1) as pool:
        with suppress(Fenced), holder.commit() as tx:
            renewal = pool.submit(holder.renew)
            assert taken(store).epoch == 2
            tx.execute(text("SELECT 1"))
        assert isinstance(renewal.exception(PATIENCE), Fenced)


def test_who_gives_back_what_another_took_is_told_so_once(store: Store, holder: Lease) -> None:
    assert taken(store).epoch == 2
    with pytest.raises(Fenced, match="no longer holds the lease on x"):
        holder.release()
    holder.release()
    assert Lease(store, "x").is_held()


def test_who_took_a_lease_back_in_time_gives_it_back_in_peace(store: Store) -> None:
    lease = Lease(store, "x").acquire().acquire()
    lease.release()
    assert not lease.is_held()


def test_a_commit_under_way_is_waited_for_and_not_taken_for_dead(store: Store, holder: Lease) -> None:
    with ThreadPoolExecutor(1) as pool, holder.commit():
        other = pool.submit(taken, store, ttl=PATIENCE)
        until_it_waits(store)
        assert not other.done()
    assert other.result(PATIENCE).epoch == 2


def until_it_waits(store: Store) -> None:
    """Until some transaction waits for the lock of another."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with store.read() as tx:
            if tx.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar():
                return
    raise AssertionError("no one waits")
