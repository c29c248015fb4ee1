"""Who may ask, how much and how often: tokens, bodies and rates, before anything else is done."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import msgspec
from litestar.types import ASGIApp, Message, Receive, Send

from projections.service.http import page
from projections.service.http.problems import Problem
from projections.service.listening import Http
from projections.service.meters import Meters

OPEN = frozenset({"/healthz", "/readyz", *page.FILES})
"""Asked by machines that carry no token or have none yet; they tell nothing that is secret."""

CLIENTS = 10_000
"""Clients whose rate is remembered."""


class Tokens:
    """The bearer tokens, as digests: compared in constant time, whatever is sent."""

    def __init__(self, tokens: tuple[str, ...]) -> None:
        self._known = [_digest(token.encode()) for token in tokens]

    def accept(self, header: bytes | None) -> bool:
        """Whether a request with this `Authorization` may ask; always where there are no tokens."""
        if not self._known:
            return True
        scheme, _, given = (header or b"").partition(b" ")
        sent = _digest(given.strip())
        right = [hmac.compare_digest(sent, known) for known in self._known]
        return scheme.lower() == b"bearer" and any(right)


class Rates:
    """A bucket of one second's requests for each client, filled as time goes."""

    def __init__(self, rate: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._most = max(1.0, rate)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> float | None:
        """Takes one request; None, or in how many seconds there is one again."""
        now = self._clock()
        left, then = self._buckets.pop(client, (self._most, now))
        left = min(self._most, left + (now - then) * self._rate)
        allowed = left >= 1
        self._buckets[client] = (left - 1 if allowed else left, now)
        if len(self._buckets) > CLIENTS:
            self._buckets.popitem(last=False)
        return None if allowed else (1 - left) / self._rate


class Gate:
    """Stands before the application: counts, refuses, and passes on."""

    def __init__(self, app: ASGIApp, settings: Http, meters: Meters) -> None:
        self._app = app
        self._settings = settings
        self._meters = meters
        self._tokens = Tokens(settings.tokens)
        rate = settings.requests_per_second
        self._rates = None if rate is None else Rates(rate)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # a websocket, of which there are none
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        status = 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            refused = self._refused(scope)
            if refused is None:
                await self._app(scope, receive, sending)
            else:
                await _answer(sending, *refused)
        finally:
            handler: Any = scope.get("route_handler")
            paths = sorted(getattr(handler, "paths", ())) or ["other"]
            method = scope["method"] if scope["method"] in ("GET", "HEAD", "OPTIONS", "POST") else "other"
            self._meters.answered(method, paths[0], status, time.monotonic() - began)

    def _refused(self, scope: Any) -> tuple[int, Problem, dict[str, str]] | None:
        headers = dict(scope["headers"])
        if scope["path"] not in OPEN and self._rates is not None:
            client = scope.get("client")
            wait = self._rates.take(client[0] if client else "")
            if wait is not None:
                said = f"{self._settings.requests_per_second:g} a second are allowed"
                problem = Problem(f"Too many requests from one client: {said}.", retry=True)
                return 429, problem, {"Retry-After": str(max(1, round(wait + 0.5)))}
        preflight = scope["method"] == "OPTIONS" and b"access-control-request-method" in headers
        if (
            scope["path"] not in OPEN
            and not preflight
            and not self._tokens.accept(headers.get(b"authorization"))
        ):
            problem = Problem("This needs a token.", "Send Authorization: Bearer <token>.")
            return 401, problem, {"WWW-Authenticate": "Bearer"}
        length = headers.get(b"content-length", b"0")
        most = self._settings.max_body
        if not length.isdigit() or int(length) > most or b"transfer-encoding" in headers:
            return 413, Problem(f"A request may carry {most:,} bytes, of a length that it tells."), {}
        return None


async def _answer(send: Send, status: int, problem: Problem, headers: dict[str, str]) -> None:
    body = msgspec.json.encode(problem)
    given = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        **headers,
    }
    raw = [(name.lower().encode(), value.encode()) for name, value in given.items()]
    await send({"type": "http.response.start", "status": HTTPStatus(status).value, "headers": raw})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
