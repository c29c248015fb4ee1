"""Access control: which requests are admitted, how large and how often."""

from __future__ import annotations

import socket

import httpx
import pytest

from projections.errors import ConfigurationError
from projections.service.config.http import elsewhere
from projections.service.config.loader import load
from projections.service.http.base.access import ClientRates, Tokens
from projections.service.http.server import Server
from projections.service.status.metrics import Meters
from tests.http.site import Town, address

TOKEN = "a-token-of-sixteen-or-more"


def test_with_tokens_only_health_is_open(plain_town: Town) -> None:
    with plain_town.serving(f'tokens = ["{TOKEN}"]') as api:
        for path in ("/v1/status", "/metrics", f"/v1/referrals/{address(2)}", "/schema/openapi.json"):
            answer = api.get(path)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert TOKEN not in answer.text
            assert api.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401
            assert api.get(path, headers={"Authorization": f"Basic {TOKEN}"}).status_code == 401
            right = api.get(path, headers={"Authorization": f"Bearer {TOKEN}"})
            assert right.status_code == 200
            assert TOKEN not in right.text
        assert api.get("/healthz").status_code == 200
        assert api.get("/readyz").status_code == 200


def test_any_of_the_tokens_opens() -> None:
    tokens = Tokens(("one", "two"))
    assert tokens.accept(b"Bearer two")
    assert not tokens.accept(b"Bearer three")
    assert not tokens.accept(None)
    assert Tokens(()).accept(None)


def test_a_client_that_asks_too_often_is_told_when_to_come_back(plain_town: Town) -> None:
    with plain_town.serving("requests_per_second = 0.01") as api:
        assert api.get("/v1/projections").status_code == 200
        answer = api.get("/v1/projections")
        assert (answer.status_code, answer.json()["retry"]) == (429, True)
        assert int(answer.headers["retry-after"]) >= 1
        assert api.get("/healthz").status_code == 200


def test_a_bucket_fills_as_time_goes() -> None:
    now = [0.0]
    rates = ClientRates(2, clock=lambda: now[0])
    assert [rates.take("a") for _ in range(3)] == [None, None, 0.5]
    assert rates.take("b") is None
    now[0] = 0.5
    assert [rates.take("a"), rates.take("a")] == [None, 0.5]


def test_a_body_that_is_too_long_is_refused_unread(plain_town: Town) -> None:
    with plain_town.serving("max_body = 10") as api:
        answer = api.request("GET", "/v1/status", content=b"x" * 11)
        assert answer.status_code == 413
        assert "10 bytes" in answer.json()["error"]


def test_other_origins_are_let_in_only_where_they_are_named(plain_town: Town) -> None:
    origin = {"Origin": "https://app.example"}
    with plain_town.serving() as api:
        assert "access-control-allow-origin" not in api.get("/v1/status", headers=origin).headers
    with plain_town.serving('cors = ["https://app.example"]') as api:
        answer = api.get("/v1/status", headers=origin)
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        other = api.get("/v1/status", headers={"Origin": "https://evil.example"})
        assert other.headers.get("access-control-allow-origin") != "https://evil.example"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('listen = "8080"', "http.listen"),
        ('listen = "127.0.0.1:99999"', "http.listen"),
        ('tokens = ["short"]', "http.tokens[0] is not a token"),
        ('cors = ["app.example"]', "http.cors[0]"),
        ("max_body = 0", "http.max_body"),
        ('max_wait = "soon"', "http.max_wait"),
        ("requests_per_second = 0", "http.requests_per_second"),
        ("port = 3", "http.port is not a key"),
    ],
)
def test_a_wrong_line_of_the_configuration_is_named(plain_town: Town, line: str, said: str) -> None:
    path = plain_town.configured(line)
    if line.startswith("listen"):
        path.write_text(path.read_text().replace('listen = "127.0.0.1:0"\n', ""))
    with pytest.raises(ConfigurationError) as caught:
        load(path)
    assert said in str(caught.value)
    assert "short" not in str(caught.value)


def test_a_port_in_use_is_told_at_once(plain_town: Town) -> None:
    with plain_town.serving() as api:
        taken = httpx.URL(str(api.base_url)).port
        path = plain_town.configured()
        path.write_text(path.read_text().replace("127.0.0.1:0", f"127.0.0.1:{taken}"))
        from projections.service.http.serving import serving
        from projections.service.runtime.wiring import planned

        with planned(load(path)) as plan, pytest.raises(ConfigurationError, match="cannot be listened at"):
            serving(plan, None, documents=True)


def test_a_process_may_listen_elsewhere_than_the_configuration_says(plain_town: Town) -> None:
    settings = load(plain_town.configured("max_body = 77")).http
    there = elsewhere(settings, "[::1]:9101")
    assert (there.host, there.port, there.max_body) == ("::1", 9101, 77)
    with pytest.raises(ConfigurationError, match="--listen: '9101' is not an address"):
        elsewhere(settings, "9101")
    with pytest.raises(ConfigurationError, match=r"no \[http\] in the configuration"):
        elsewhere(None, "127.0.0.1:9101")


def test_an_address_that_is_told_takes_connections(plain_town: Town) -> None:
    """Also before the event loop runs: they wait."""
    with plain_town.plan() as plan:
        assert plan.config.http is not None
        server = Server(plan, plan.config.http, Meters("test"))
        where = httpx.URL(server.url)
        with socket.create_connection((where.host, where.port or 0), timeout=5):
            pass
        with server:
            assert httpx.get(f"{server.url}/healthz").status_code == 200
