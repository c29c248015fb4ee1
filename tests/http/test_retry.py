"""What failed is tried again by the process that does that work; only with a token."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from projections.fold.generation import lease_of
from projections.service.records.requests import Requests, Retry
from projections.service.runtime.worker import Worker
from tests.http.site import Town

TOKEN = "a-token-of-sixteen-characters"
WITH = {"Authorization": f"Bearer {TOKEN}"}


def test_without_tokens_nobody_may(plain_town: Town) -> None:
    with plain_town.serving() as api:
        answer = api.post("/v1/retry", json={"chain": "local"})
        assert answer.status_code == 403
        assert "chainfold failures retry" in answer.json()["hint"]
    with plain_town.plan() as plan:
        assert Requests(plan.store).pending("ingest:31337") == []


def test_whoever_does_the_work_is_asked_and_answers(plain_town: Town) -> None:
    with plain_town.plan() as plan:
        [stage] = plan.fold()
        stop = threading.Event()
        worker = Worker(stage, Requests(plan.store), lambda event: None, stop, poll=0.05)
        worker.start()
        try:
            with plain_town.serving(f'tokens = ["{TOKEN}"]') as api:
                answer = api.post("/v1/retry", json={"projection": "referrals"}, headers=WITH)
        finally:
            stop.set()
            worker.join()
    assert answer.status_code == 200
    assert answer.json()["state"] in ("done", "failed")
    assert answer.json()["detail"]


def test_with_nobody_at_work_it_waits_for_the_next_one(plain_town: Town) -> None:
    with plain_town.serving(f'tokens = ["{TOKEN}"]') as api:
        answer = api.post("/v1/retry", json={"chain": "local"}, headers=WITH)
        assert answer.json()["state"] == "pending"
    with plain_town.plan() as plan:
        requests = Requests(plan.store)
        [request] = requests.pending("ingest:31337")
        assert request.operation == Retry()
        own = plan.projections["referrals"]
        assert requests.pending(lease_of(own.name, own.fingerprint)) == []


@pytest.mark.parametrize(
    ("said", "status", "why"),
    [
        ({}, 400, "either a chain or a projection"),
        ({"chain": "local", "projection": "referrals"}, 400, "either"),
        ({"chain": "moon"}, 404, "no chain moon"),
        ({"projection": "moon"}, 404, "no projection moon"),
        ({"chain": 3}, 400, "chain"),
        ({"planet": "moon"}, 400, "planet"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_sentence(
    plain_town: Town, said: dict[str, Any], status: int, why: str
) -> None:
    with plain_town.serving(f'tokens = ["{TOKEN}"]') as api:
        answer = api.post("/v1/retry", json=said, headers=WITH)
        assert answer.status_code == status, answer.text
        assert why in answer.text
