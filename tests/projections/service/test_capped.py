"""Of what an alert's receiver answers no more is read than the cap, and nothing is unpacked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import requests

from projections.service.alerts.capped import LONGEST_ANSWER, CappedRequests
from projections.service.alerts.delivery import AlertAddress


class Talker:
    """Answers with so many pieces of a mebibyte, and counts those that were taken."""

    def __init__(self, status: int) -> None:
        self.sent = 0
        self.encodings: list[str] = []
        talker = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                talker.encodings.append(self.headers["accept-encoding"])
                self.send_response(status)
                self.send_header("Content-Length", str(64 << 20))
                self.end_headers()
                with suppress(OSError):
                    for _ in range(64):
                        self.wfile.write(b"x" * (1 << 20))
                        talker.sent += 1

            def log_message(self, *_: object) -> None:
                """Nothing is printed."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@contextmanager
def talking(status: int) -> Iterator[Talker]:
    made = Talker(status)
    Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.mark.parametrize(("status", "taken"), [(200, True), (500, False)])
def test_an_alert_is_told_whatever_its_receiver_talks(status: int, taken: bool) -> None:
    with talking(status) as talker:
        address = AlertAddress(f"json://127.0.0.1:{talker.server.server_port}/alerts", place=0)
        said = address.send("title", "body", "open")
    assert (said is None) is taken, said
    assert talker.sent < 32
    assert talker.encodings == ["identity"]


def test_all_else_of_requests_is_itself() -> None:
    capped = CappedRequests()
    assert capped.exceptions is requests.exceptions
    assert capped.RequestException is requests.RequestException
    with talking(200) as talker:
        answer = capped.post(f"http://127.0.0.1:{talker.server.server_port}/", data=b"x", timeout=20)
        assert (answer.status_code, len(answer.content)) == (200, LONGEST_ANSWER)
