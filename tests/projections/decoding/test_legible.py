"""Messages that hold what an event or a node said are written down in any form, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from eventstore.ingest.failed_ranges import FailedRanges
from eventstore.journal.proofs import Disproof, Ledger
from eventstore.records import BlockRange
from eventstore.storage.legible import LONG, legible
from eventstore.storage.store import Store
from projections.errors import ValueRefused
from projections.projectors import handles
from projections.projectors.referrals import Referrals
from projections.service.records.incidents import Incidents, Key
from projections.service.records.requests import Requests, Retry
from projections.service.records.runs import Outcome, Runs
from tests.folding import CHAIN, Bench, registration

ODD = "half \ud800, nothing \0, and é" + "x" * 2 * LONG


def test_what_no_column_holds_is_escaped_and_what_is_long_is_cut() -> None:
    said = legible(ODD)
    assert said.startswith("half \\ud800, nothing \\x00, and é") and len(said) <= LONG
    assert "characters" in said and said.endswith("xxx")
    assert legible("plain, grüß\n") == "plain, grüß\n"


def incident(store: Store) -> list[str]:
    with store.write() as tx:
        assert Incidents(tx).open(Key("halted", "x"), ODD, now=1)
        assert Incidents(tx).close(Key("halted", "x"), ODD, now=2)
        Incidents(tx).undelivered("somewhere", ODD, now=3)
    return [
        *values(store, "SELECT detail FROM incidents"),
        *values(store, "SELECT outcome FROM incidents"),
        *values(store, "SELECT reason FROM deliveries"),
    ]


def failure(store: Store) -> list[str]:
    with store.write() as tx:
        FailedRanges(tx, CHAIN).add(BlockRange(1, 2), ODD)
    return values(store, "SELECT reason FROM failures")


def disproof(store: Store) -> list[str]:
    with store.write() as tx:
        Ledger(tx, CHAIN).refute(Disproof(5, b"\x01" * 32, "wrong", ODD, "somebody"))
    return values(store, "SELECT reason FROM disproofs")


def run(store: Store) -> list[str]:
    with store.write() as tx:
        runs = Runs(tx)
        number = runs.begin("sync", origin="manual", owner="me")
        runs.end(number, Outcome.FAILED, ODD)
    return values(store, "SELECT detail FROM runs")


def request(store: Store) -> list[str]:
    requests = Requests(store)
    number = requests.submit("project:x", Retry())
    requests.finish(requests.get(number), ok=False, detail=ODD)
    return values(store, "SELECT detail FROM requests")


def values(store: Store, query: str) -> list[str]:
    with store.read() as tx:
        return [value for (value,) in tx.execute(text(query))]


WRITERS = [incident, failure, disproof, run, request]


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_each_column_for_outside_text_takes_any(store: Store, write: Callable[[Store], list[str]]) -> None:
    found = write(store)
    assert found and all("half \\ud800, nothing \\x00" in said for said in found)


@pytest.mark.parametrize("poison", ["halt", "quarantine"])
def test_an_events_own_words_in_an_error_do_not_stop_the_projection(
    store: Store, monkeypatch: pytest.MonkeyPatch, poison: Any
) -> None:
    @handles(Referrals.handlers()["registered"])
    def registered(self: Any, event: Any, users: Any) -> None:
        if event.user.endswith("2"):
            raise ValueRefused(ODD)
        users.put(event.user, Referrals.document(event.user))

    monkeypatch.setattr(Referrals, "registered", registered)
    bench = Bench(store, poison=poison)
    bench.append([registration(1, 0, 1, 0), registration(2, 0, 2, 0)], to=3)
    done = bench.fold()
    if poison == "halt":
        assert done[-1].error is not None and "half \\ud800, nothing \\x00" in done[-1].error
        assert len(done) < 10, (
            "an error that is written down differently from its report is reported for ever"
        )
        return
    (reason,), (stack,) = (
        values(store, f"SELECT {column} FROM dead_letters") for column in ("reason", "stack")
    )
    assert "half \\ud800, nothing \\x00" in reason and "\\x00" in stack and len(stack) <= 5 * LONG
