"""A receiver of webhooks: a local HTTP server that checks each signature and pays each key once."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

import msgspec
import pytest
from msgspec import Struct
from standardwebhooks import Webhook, WebhookVerificationError

SECRET = "correct-horse-battery-staple"
WHSEC = "whsec_" + base64.b64encode(SECRET.encode()).decode()
"""The same secret as a library of Standard Webhooks wants it."""
PATIENCE = 60.0


class Call(Struct, frozen=True):
    """A request whose signature was right, as it arrived."""

    idempotency_key: str
    body: dict[str, Any]
    raw: bytes

    @property
    def key(self) -> str:
        return str(self.body["key"])


class Answering(Struct, frozen=True):
    """What to answer; a `location` redirects."""

    status: int = 204
    headers: dict[str, str] = {}
    text: str = ""


class Receiver:
    """Does what docs/webhooks.md tells receivers to do, both of new ones and of those from before Standard
    Webhooks; `answer` may be set to fail for some keys."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.unsigned = 0
        self.paid: dict[str, dict[str, Any]] = {}
        self.answer: Callable[[Call], Answering] = lambda _: Answering()
        self.before: Callable[[Call], None] = lambda _: None
        self._lock = Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                raw = self.rfile.read(length)
                if len(raw) < length:  # the sender was killed amid the body
                    self.close_connection = True
                    return
                answer = receiver.take(raw, dict(self.headers))
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                said = answer.text.encode()
                if answer.status != 204:
                    self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                if answer.status != 204:
                    self.wfile.write(said)

            def do_GET(self) -> None:
                raise AssertionError("a redirect was followed")

            def log_message(self, *_: object) -> None:
                """Nothing is printed."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """A sender that was killed leaves a broken connection."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def take(self, raw: bytes, headers: Mapping[str, str]) -> Answering:
        """Checks, pays once, answers."""
        idempotency_key = headers["Idempotency-Key"]
        try:
            Webhook(WHSEC).verify(raw, dict(headers))
        except WebhookVerificationError:
            self.unsigned += 1
            return Answering(401)
        assert headers["webhook-id"] == idempotency_key
        parts = dict(part.split("=", 1) for part in headers["Chainfold-Signature"].split(","))
        wanted = hmac.new(SECRET.encode(), f"{parts['t']}.".encode() + raw, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(parts["v1"], wanted) or abs(time.time() - int(parts["t"])) > 300:
            self.unsigned += 1
            return Answering(401)
        call = Call(idempotency_key, msgspec.json.decode(raw), raw)
        with self._lock:
            self.calls.append(call)
            answer = self.answer(call)
            if answer.status < 300:
                self.paid.setdefault(idempotency_key, call.body)
        self.before(call)
        return answer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/bonus"

    @property
    def keys(self) -> list[str]:
        """The documents it was told of, in order of arrival."""
        return [call.key for call in self.calls]

    def until(self, enough: Callable[[], object]) -> None:
        """Waits until it is so."""
        deadline = time.monotonic() + PATIENCE
        while not enough():
            assert time.monotonic() < deadline, self.calls
            time.sleep(0.02)

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def hooks() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made
