"""A local HTTP server that is posted to: what webhooks and alerts of the tests are sent to.

Not `pytest-httpserver`: one function that answers every POST is all that is needed; `http.server` has that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Self

from msgspec import Struct

PATIENCE = 60.0


class Answering(Struct, frozen=True):
    """What to answer; a `location` redirects."""

    status: int = 204
    headers: dict[str, str] = {}
    text: str = ""


class Listener:
    """Serves on a free port while the context is open; `take` decides what a POST is answered."""

    def __init__(self) -> None:
        listener = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                raw = self.rfile.read(length)
                if len(raw) < length:  # the sender was killed within the body
                    self.close_connection = True
                    return
                answer = listener.take(raw, dict(self.headers), self.path)
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

    def take(self, raw: bytes, headers: Mapping[str, str], path: str) -> Answering:
        raise NotImplementedError

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def arrived(self) -> object:
        """What a wait that fails shows."""
        raise NotImplementedError

    def until(self, enough: Callable[[], object]) -> None:
        """Waits until it is so; fails with what arrived."""
        deadline = time.monotonic() + PATIENCE
        while not enough():
            assert time.monotonic() < deadline, self.arrived
            time.sleep(0.02)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
