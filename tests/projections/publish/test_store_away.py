"""A store that goes away while an event is being handled is not a fault of the event."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from eventstore.errors import StoreUnavailable
from eventstore.storage.store import Store
from projections.fold.generation import Generations
from projections.fold.runner import Runner
from projections.fold.state import GenerationState
from projections.migrate import migrate
from projections.projectors import Documents, handles
from projections.projectors.referrals import Referrals, User
from tests.folding import Bench, registration


class Interrupted(Referrals):
    """Referrals, during whose next event the database ends all connections."""

    url = ""
    armed = False

    @handles("ReferralRegistered(address indexed user, address indexed referrer, uint256 timestamp)")
    def registered(self, event: Any, users: Documents[User]) -> None:
        if Interrupted.armed:
            Interrupted.armed = False
            with psycopg.connect(self.url, autocommit=True) as other:
                other.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            users.find("directReferrer", event.user)
        super().registered(event, users)


@pytest.mark.parametrize("poison", ["halt", "quarantine"])
def test_a_store_that_goes_away_under_a_handler_blames_no_event(
    postgres_url: str, poison: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.folding.Referrals", Interrupted)
    Interrupted.url = (
        make_url(postgres_url).set(drivername="postgresql").render_as_string(hide_password=False)
    )
    store = Store(postgres_url)
    migrate(store)
    bench = Bench(store, poison=poison)
    bench.append([registration(n, 0, n, n + 1) for n in range(1, 6)], to=6, finalized=6)
    bench.fold()
    bench.runner = Runner(store, bench.lease, bench.projection)  # a new process: it has nothing in memory
    bench.append([registration(7, 0, 2, 5), registration(8, 0, 3, 5)], to=8)
    Interrupted.armed = True
    with pytest.raises(StoreUnavailable):
        bench.fold()
    assert not Interrupted.armed
    [*_, last] = bench.fold()
    assert (last.block, last.error) == (8, None)
    with store.read() as tx:
        served = Generations(tx, "referrals").served()
        assert served is not None
        assert GenerationState(tx, served.id).dead_letters() == []
    store.close()
