"""Access control, before anything else: rate limits, origins, tokens, and the size of bodies.

Law: what can be refused by the head of a request is refused before its body is read, and a body is bounded in
bytes and in depth before anything decodes it.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
from litestar.types import ASGIApp, Message, Receive, Send

from eventstore.net.gcra import RateLimit
from eventstore.net.nesting import DEEPEST, too_deep
from projections.service.config.http import Http
from projections.service.http.base import page, parameters
from projections.service.http.base.head import LONGEST_HEAD
from projections.service.http.base.origin import foreign
from projections.service.http.base.problems import Problem
from projections.service.status.metrics import Meters

OPEN = frozenset({"/healthz", "/readyz", *page.FILES})
"""Asked by machines that carry no token or have none yet; they tell nothing that is secret."""

CLIENTS = 10_000
"""Clients whose rate is remembered."""

LONGEST_QUERY = 32_768
"""Bytes of a query string: an id of the stream may have 20,000 characters."""

CHANGING = ("POST", "/v1/retry")
"""The one request that changes anything."""

BODY_WITHIN = 10.0
"""Seconds in which a body must have arrived."""

READING = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing, so a page of another origin may have a browser send them."""

NO_TOKENS = Problem(
    "This endpoint changes what is done, and this service has no tokens configured.",
    "Give [http] tokens, or run `chainfold failures retry` on the server.",
)

Refusal = tuple[int, Problem, dict[str, str]]
"""A status, what is wrong, and the headers beside it."""


class Tokens:
    """The bearer tokens, as digests: compared in constant time."""

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


class ClientRates:
    """A rate limit for each client, with one second's requests as its burst."""

    def __init__(self, rate: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = RateLimit(rate, burst=max(1.0, rate))
        self._clock = clock
        self._paid_until: OrderedDict[str, float] = OrderedDict()

    def take(self, client: str) -> float | None:
        """Takes one request; None, or in how many seconds there is one again."""
        now = self._clock()
        paid_until = self._paid_until.pop(client, now)
        wait = self._limit.start(paid_until) - now
        self._paid_until[client] = paid_until if wait > 0 else self._limit.spend(paid_until, now)
        if len(self._paid_until) > CLIENTS:
            self._paid_until.popitem(last=False)
        return wait if wait > 0 else None


class Gate:
    """Stands before the application: counts, refuses, and passes on."""

    def __init__(self, app: ASGIApp, settings: Http, meters: Meters) -> None:
        self._app = app
        self._settings = settings
        self._meters = meters
        self._tokens = Tokens(settings.tokens)
        rate = settings.requests_per_second
        self._rates = None if rate is None else ClientRates(rate)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # a websocket; this server has none
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        status = 500
        scope["path"] = parameters.path(scope["raw_path"])

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            refused = self._refused(scope)
            if refused is None and scope["method"] not in READING:
                refused, receive = await self._read(receive)
            if refused is None:
                await self._app(scope, receive, sending)
            else:
                await _answer(sending, *refused)
        finally:
            handler: Any = scope.get("route_handler")
            paths = sorted(getattr(handler, "paths", ())) or ["other"]
            method = scope["method"] if scope["method"] in (*READING, "POST") else "other"
            self._meters.answered(method, paths[0], status, time.monotonic() - began)

    async def _read(self, receive: Receive) -> tuple[Refusal | None, Receive]:
        """Reads a body and hands it to the next receiver; or returns why it is refused."""
        try:
            async with asyncio.timeout(BODY_WITHIN):
                body = await _body(receive, self._settings.max_body)
        except TimeoutError:
            said = f"The body did not arrive within {BODY_WITHIN:g} s."
            return (408, Problem(said, retry=True), {"Connection": "close"}), receive
        if too_deep(body):
            said = f"A request may nest {DEEPEST} arrays and objects, not more."
            return (400, Problem(said), {}), receive
        return None, _replayed(body, receive)

    def _refused(self, scope: Any) -> Refusal | None:
        """What the head of a request is refused for; None where it is not."""
        headers = dict(scope["headers"])
        is_open = scope["path"] in OPEN
        if not is_open and self._rates is not None:
            client = scope.get("client")
            wait = self._rates.take(client[0] if client else "")
            if wait is not None:
                said = f"{self._settings.requests_per_second:g} a second are allowed"
                problem = Problem(f"Too many requests from one client: {said}.", retry=True)
                return 429, problem, {"Retry-After": str(max(1, round(wait + 0.5)))}
        if sum(len(name) + len(value) for name, value in scope["headers"]) > LONGEST_HEAD:
            return 431, Problem(f"The head of a request may have {LONGEST_HEAD:,} bytes."), {}
        if len(scope["query_string"]) > LONGEST_QUERY:
            return 414, Problem(f"A query string may have {LONGEST_QUERY:,} bytes."), {}
        if not _is_text(scope["query_string"]):
            return 400, Problem("The query is not percent-encoded UTF-8."), {}
        if scope["method"] not in READING:
            settings = self._settings
            said_by = foreign(scope["headers"], listen=settings.host, hosts=settings.hosts)
            if said_by is not None:
                hint = "If it is, name its host in hosts of [http]."
                return 403, Problem(said_by, hint), {}
        preflight = scope["method"] == "OPTIONS" and b"access-control-request-method" in headers
        if not is_open and not preflight and not self._tokens.accept(headers.get(b"authorization")):
            problem = Problem("This needs a token.", "Send Authorization: Bearer <token>.")
            return 401, problem, {"WWW-Authenticate": "Bearer"}
        if (scope["method"], scope["path"]) == CHANGING and not self._settings.tokens:
            return 403, NO_TOKENS, {}
        length = headers.get(b"content-length", b"0")
        most = self._settings.max_body
        if not length.isdigit() or len(length) > 19 or int(length) > most or b"transfer-encoding" in headers:
            return 413, Problem(f"A request may carry {most:,} bytes, of a length that it tells."), {}
        return None


def _is_text(query: bytes) -> bool:
    """Whether a query says text: else it would be read with signs that stand for what cannot be read."""
    try:
        unquote_to_bytes(query).decode()
    except UnicodeDecodeError:
        return False
    return True


async def _body(receive: Receive, most: int) -> bytes:
    """The whole body: no longer than its head told, which was looked at, so no longer than `most`."""
    body = bytearray()
    more = True
    while more and len(body) <= most:
        message: Any = await receive()
        if message["type"] != "http.request":
            break
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Gives `body` once, then passes on what the server receives."""
    given = False

    async def again() -> Any:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


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
