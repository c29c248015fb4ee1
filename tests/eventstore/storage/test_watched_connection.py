"""PostgreSQL that stands still, or is gone without a word, is noticed; work goes on when it is back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import psycopg
import pytest
from sqlalchemy import make_url, text

from eventstore.errors import StoreUnavailable
from eventstore.storage.store import Store
from eventstore.storage.watched_connection import Patience
from projections.migrate import migrate
from tests.folding import Bench, registration
from tests.servers.frozen import Relay, frozen
from tests.servers.postgres import database, running

pytestmark = pytest.mark.server

SOON = Patience(quiet=0.2, answer=1.0, whole=60.0)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server of these tests' own, which they may stop."""
    with running() as uri:
        yield uri


@pytest.fixture
def url(server: str) -> Iterator[str]:
    with database(server) as made:
        yield made


@pytest.fixture
def relay(url: str) -> Iterator[Relay]:
    folder = make_url(url).query["host"]
    assert isinstance(folder, str)
    with Relay(str(next(Path(folder).glob(".s.PGSQL.*[0-9]")))) as made:
        yield made


def _over(relay: Relay, url: str) -> str:
    through = make_url(url).set(host="127.0.0.1", port=relay.port, query={})
    return through.render_as_string(hide_password=False)


def _postmaster(url: str) -> int:
    with psycopg.connect(url.replace("+psycopg", "")) as asked:
        return psutil.Process(asked.info.backend_pid).ppid()


def test_a_server_that_stands_still_ends_the_step_and_the_next_one_goes_on_when_it_thaws(url: str) -> None:
    with closing(Store(url, patience=SOON)) as store:
        migrate(store)
        bench = Bench(store)
        bench.append([registration(n, 0, n, n + 1) for n in range(1, 6)], to=6, finalized=6)
        bench.fold()
        bench.append([registration(7, 0, 2, 5)], to=8)
        with frozen(_postmaster(url)), pytest.raises(StoreUnavailable):
            bench.runner.step()
        [*_, last] = bench.fold()
        assert (last.block, last.error) == (8, None)


def test_a_server_that_freezes_within_a_transaction_has_written_nothing_of_it(url: str) -> None:
    with closing(Store(url, patience=SOON)) as store:
        migrate(store)
        pid = _postmaster(url)
        insert = text("INSERT INTO runs (command, started_at) VALUES ('lost', 0)")
        with (
            pytest.raises(StoreUnavailable, match=r"not available: no answer for \d+ s"),
            store.write() as tx,
        ):
            tx.execute(insert)
            with frozen(pid):
                tx.execute(insert)
        with store.write() as tx:
            tx.execute(text("LOCK TABLE runs IN ACCESS EXCLUSIVE MODE"))  # what was given up holds no lock
            assert tx.execute(text("SELECT count(*) FROM runs")).scalar() == 0


def test_a_connection_that_swallows_everything_is_given_up_though_the_server_lives(
    url: str, relay: Relay
) -> None:
    with closing(Store(_over(relay, url), patience=SOON)) as store:
        with pytest.raises(StoreUnavailable), store.read() as tx:
            tx.execute(text("SELECT 1"))
            relay.drop()
            tx.execute(text("SELECT 2"))
        with store.read() as tx:
            assert tx.execute(text("SELECT 3")).scalar() == 3


def test_a_server_that_works_may_be_silent_for_as_long_as_that_takes(url: str) -> None:
    with closing(Store(url, patience=SOON)) as store, store.read() as tx:
        assert tx.execute(text("SELECT 'done' FROM pg_sleep(1.5)")).scalar() == "done"


def test_a_statement_that_has_no_end_is_ended_on_the_server_too(url: str) -> None:
    with closing(Store(url, patience=Patience(0.2, 1.0, 0.5))) as store:
        with pytest.raises(StoreUnavailable, match="a statement took longer than"), store.read() as tx:
            tx.execute(text("SELECT pg_sleep(600)"))
        with store.read() as tx:
            asked = (
                "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(6%' AND state = 'active'"
            )
            for _ in range(1_000):
                left = tx.execute(text(asked)).scalar()
                if left == 1:  # this very question
                    break
                tx.execute(text("SELECT pg_stat_clear_snapshot()"))
            assert left == 1
