"""The HTTP side of the simulated node: a port of 127.0.0.1 that can be closed and opened again."""

from __future__ import annotations

import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from msgspec import Struct


class Response(Struct, frozen=True):
    """What one POST is answered with."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = {}


class Port:
    """Answers every POST with what `answer` makes of its body, from `serve()` to `close()`.

    The port is taken when this is made, so connections wait until it serves; after `close()` they
    are refused, until it serves again under the same number.
    """

    def __init__(self, answer: Callable[[bytes], Response]) -> None:
        self._answer = answer
        self._server: _Server | None = _Server(0, answer)
        self.number: int = self._server.server_address[1]
        self._thread: Thread | None = None

    def serve(self) -> None:
        self._server = self._server or _Server(self.number, self._answer)
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Also ends the connections that clients keep alive."""
        if self._server is None:
            return
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._thread = None
        self._server.hang_up()
        self._server.server_close()
        self._server = None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int, answer: Callable[[bytes], Response]) -> None:
        self.answer = answer
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is not an error of this server."""

    def hang_up(self) -> None:
        for connection in list(self._open):
            self.shutdown_request(connection)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def do_POST(self) -> None:
        response = self.server.answer(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(response.status)
        for name, value in {**response.headers, "Content-Type": "application/json"}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        self.wfile.write(response.body)

    def log_message(self, *_: object) -> None:
        """Silent: what it does is seen by who asks."""
