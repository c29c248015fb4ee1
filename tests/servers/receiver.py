"""Somebody who is told: a local HTTP server that takes what Apprise sends to json:// addresses."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from msgspec import Struct

PATIENCE = 60.0


class Told(Struct, frozen=True):
    """A message as it arrived; `kind` is Apprise's: failure, success or info."""

    title: str
    body: str
    kind: str
    path: str


class Receiver:
    """Serves on a free port while the context is open; with `status` above 299 it takes nothing."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.refused = 0
        self.status = 200
        self.delay = 0.0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                said: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["content-length"])))
                time.sleep(receiver.delay)
                if receiver.status == 200:
                    receiver.told.append(Told(said["title"], said["message"], said["type"], self.path))
                else:
                    receiver.refused += 1
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing is printed."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self._server.server_port}/alerts"

    @property
    def titles(self) -> list[str]:
        return [item.title for item in self.told]

    def until(self, enough: Callable[[], object]) -> None:
        """Waits until it is so; fails with what was told."""
        deadline = time.monotonic() + PATIENCE
        while not enough():
            assert time.monotonic() < deadline, self.told
            time.sleep(0.02)

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made
