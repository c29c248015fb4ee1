"""What stands where, over HTTP: projections, status, health, readiness, metrics."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.http.site import Town, address


def test_what_can_be_asked_is_listed(api: httpx.Client) -> None:
    [found] = api.get("/v1/projections").json()
    assert (found["name"], found["key"], found["state"], found["block"]) == (
        "referrals",
        "address",
        "live",
        30,
    )
    assert "level1Count" in found["fields"]


def test_status_is_what_the_command_shows(api: httpx.Client) -> None:
    for path in ("/status", "/v1/status"):
        found = api.get(path).json()
        assert found["chains"]["local"]["head"] == 30
        assert found["projections"]["referrals"]["state"] == "live"
        assert {item["state"] for item in found["sinks"].values()} == {"current"}


def test_a_process_that_answers_is_healthy_and_one_that_has_something_to_serve_is_ready(
    api: httpx.Client,
) -> None:
    assert api.get("/healthz").json() == {"status": "ok"}
    assert api.get("/readyz").json() == {"status": "ready"}


def test_a_process_with_nothing_built_is_healthy_and_not_ready_and_says_why(tmp_path: Path) -> None:
    town = Town(tmp_path, store=f"sqlite:///{tmp_path / 'empty.db'}")
    with town.serving() as api:
        assert api.get("/healthz").status_code == 200
        answer = api.get("/readyz")
        assert (answer.status_code, answer.json()["error"]) == (503, "referrals has not been built yet.")
        answer = api.get(f"/v1/referrals/{address(1)}")
        assert (answer.status_code, answer.json()["retry"]) == (503, True)
    town.close()


def test_ready_may_mean_not_too_far_behind(town: Town) -> None:
    town.mine((99, 1))
    town.sync()
    with town.serving('max_lag = "1s"') as api:
        assert api.get("/readyz").status_code == 200  # it is at the head
    with town.plan() as plan, plan.store.write() as tx:
        tx.exec_driver_sql("UPDATE progress SET head = head + 1000")
    with town.serving('max_lag = "1s"') as api:
        answer = api.get("/readyz")
        assert answer.status_code == 503
        assert "behind the chain" in answer.json()["error"]


def test_another_role_has_health_and_metrics_and_no_documents(town: Town) -> None:
    with town.serving(documents=False) as api:
        for path in ("/healthz", "/readyz", "/metrics", "/status"):
            assert api.get(path).status_code == 200
        answer = api.get(f"/v1/referrals/{address(1)}")
        assert answer.status_code == 404
        assert set(answer.json()) == {"error", "hint", "retry"}


def test_metrics_tell_of_the_cache_the_requests_and_what_stands(api: httpx.Client) -> None:
    api.get(f"/v1/referrals/{address(2)}")
    said = api.get("/metrics").text
    assert 'chainfold_cache_reads_total{outcome="hit",projection="referrals"} 1.0' in said
    assert 'route="/v1/referrals/{key:str}",status="200"} 1.0' in said
    assert 'chainfold_projection_block{projection="referrals"} 30.0' in said
    assert "chainfold_store_up 1.0" in said


def test_only_reading_is_possible(api: httpx.Client) -> None:
    answer = api.post("/v1/status")
    assert answer.status_code == 405
    assert set(answer.json()) == {"error", "hint", "retry"}
    assert "GET" in answer.headers["allow"]
