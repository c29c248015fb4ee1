"""What a stranger may send: bounded in bytes and in depth before it is read, and nothing from his pages."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import httpx
import pytest

from eventstore.net.nesting import DEEPEST
from projections.service.http.base.access import LONGEST_QUERY
from projections.service.http.base.head import LONGEST_HEAD
from projections.service.http.base.origin import foreign
from projections.service.records.requests import Requests
from tests.http.conftest import grow
from tests.http.site import Town

TOKEN = "a-token-of-sixteen-or-more"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """One for all tests here: none changes anything."""
    folder = tmp_path_factory.mktemp("guarded")
    made = Town(folder, store=f"sqlite:///{folder / 'store.db'}")
    grow(made)
    made.sync()
    yield made
    made.close()


@pytest.fixture(scope="module")
def guarded(town: Town) -> Iterator[httpx.Client]:
    with town.serving(f'tokens = ["{TOKEN}"]\nhosts = ["api.example.com"]') as client:
        yield client


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        (nested(DEEPEST + 1), True),
        (b'{"chain": ' * (DEEPEST + 1) + b"1" + b"}" * (DEEPEST + 1), True),
        (b'{"chain": ' + nested(DEEPEST) + b"}", True),
        (b"[" * (DEEPEST + 1), True),  # it need not be whole
        (json.dumps({"chain": "[" * 500}).encode(), False),  # brackets in a string nest nothing
        (json.dumps({"chain": '"' + "[{" * 500}).encode(), False),
        (b'{"chain": ' + nested(DEEPEST - 1) + b"}", False),
    ],
)
def test_a_body_that_nests_deeper_than_the_limit_is_refused_before_it_is_decoded(
    guarded: httpx.Client, body: bytes, refused: bool
) -> None:
    for kind in ("application/json", "application/msgpack", "text/plain"):
        answer = guarded.post("/v1/retry", content=body, headers=BEARER | {"Content-Type": kind})
        assert answer.status_code in (400, 404), answer.text
        assert (f"nest {DEEPEST}" in answer.text) is refused, answer.text


def test_without_a_token_no_byte_of_a_body_is_waited_for(guarded: httpx.Client, town: Town) -> None:
    """The head alone is refused: the body that it announces is never sent."""
    assert _head_alone(guarded).startswith(b"HTTP/1.1 401")
    with town.serving() as nobody_has_one:
        assert _head_alone(nobody_has_one).startswith(b"HTTP/1.1 403")


def _head_alone(client: httpx.Client) -> bytes:
    where = client.base_url
    with socket.create_connection((where.host, where.port or 0), timeout=20) as made:
        made.sendall(
            f"POST /v1/retry HTTP/1.1\r\nHost: {where.host}:{where.port}\r\n"
            "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n".encode()
        )
        return made.recv(100)


def test_a_head_that_does_not_end_is_hung_up_on(guarded: httpx.Client) -> None:
    where = guarded.base_url
    with socket.create_connection((where.host, where.port or 0), timeout=20) as made:
        made.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
        piece = b"x" * 8_192
        for _ in range(LONGEST_HEAD // len(piece) + 1):
            made.sendall(piece)
        assert made.recv(100).startswith(b"HTTP/1.1 431")


def test_a_long_head_a_long_query_and_many_headers_are_refused(guarded: httpx.Client) -> None:
    long = guarded.get("/healthz", headers={"X-Long": "x" * LONGEST_HEAD})
    assert long.status_code == 431
    many = guarded.get("/healthz", headers={f"X-{number}": "x" * 500 for number in range(140)})
    assert many.status_code == 431
    query = guarded.get("/v1/stream", params={"after": "x" * LONGEST_QUERY}, headers=BEARER)
    assert (query.status_code, f"{LONGEST_QUERY:,}" in query.text) == (414, True)
    assert guarded.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("host", "origin", "taken"),
    [
        (None, None, True),
        (None, "http://HERE", True),
        (None, "https://evil.example", False),
        (None, "http://127.0.0.1:1", False),  # another program's page on the same machine
        (None, "null", False),
        ("evil.example", None, False),  # DNS rebinding: the name of a stranger leads here
        ("evil.example", "http://evil.example", False),
        ("evil.example:8080", "http://evil.example:8080", False),
        ("api.example.com", "https://api.example.com", True),  # behind a proxy that ends TLS
        ("api.example.com", None, True),
        ("API.example.com:443", "https://api.example.com", True),
        ("api.example.com", "https://api.example.com.evil.example", False),
        ("api.example.com", "https://other.example.com", False),
        ("localhost:8080", "http://localhost:8080", True),
        ("localhost:8080", "http://localhost:3000", False),
        ("[::1]:8080", "http://[::1]:8080", True),
        ("10.0.0.11:8080", None, True),
        ("", None, False),
        ("a b", None, False),
    ],
)
def test_a_page_of_a_stranger_changes_nothing(
    guarded: httpx.Client, town: Town, host: str | None, origin: str | None, taken: bool
) -> None:
    headers = dict(BEARER)
    if host is not None:
        headers["Host"] = host
    if origin is not None:
        headers["Origin"] = origin.replace("HERE", f"{guarded.base_url.host}:{guarded.base_url.port}")
    answer = guarded.post("/v1/retry", json={"chain": "moon"}, headers=headers)
    if taken:
        assert (answer.status_code, "no chain moon" in answer.text) == (404, True), answer.text
    else:
        assert answer.status_code == 403, answer.text
        assert "hosts of [http]" in answer.json()["hint"]
    with town.plan() as plan:
        assert Requests(plan.store).pending("ingest:31337") == []


def test_reading_is_not_held_to_hosts(guarded: httpx.Client) -> None:
    """A page without a token learns nothing here, and a metrics scraper asks by any name."""
    answer = guarded.get("/v1/projections", headers=BEARER | {"Host": "chainfold.internal"})
    assert answer.status_code == 200


def test_two_hosts_are_none() -> None:
    twice = [(b"host", b"localhost"), (b"host", b"evil.example")]
    assert foreign(twice, listen="127.0.0.1", hosts=()) is not None
    assert foreign([], listen="127.0.0.1", hosts=()) is not None
    assert foreign(twice[:1], listen="127.0.0.1", hosts=()) is None


@pytest.mark.parametrize("line", ['hosts = ["https://api.example.com"]', 'hosts = ["*"]', 'hosts = [""]'])
def test_what_is_no_host_is_named(town: Town, line: str) -> None:
    from projections.errors import ConfigurationError
    from projections.service.config.loader import load

    with pytest.raises(ConfigurationError, match=r"http\.hosts\[0\]"):
        load(town.configured(line))
