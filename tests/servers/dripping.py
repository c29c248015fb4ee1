"""A server on the loopback that answers well, but a few bytes at a time: no single wait on it is long.

It ends by itself: each answer takes `PIECES` pauses and is whole then, so a client without a deadline for the
whole of it would get it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Literal

PIECES = 80
PAUSE = 0.05
"""Seconds between two pieces: four in all."""

Manner = Literal["head", "body", "endless body", "chunks", "tls", "mute"]
MANNERS: tuple[Manner, ...] = ("head", "body", "endless body", "chunks", "tls", "mute")
"""What comes slowly: everything from the status line on, the body alone (with its length, up to the end of
the connection, or in chunks), a TLS record that never is whole, or nothing at all until the end."""


class Dripping:
    """Serves on a free port; `asked` is set as soon as a question arrived."""

    def __init__(self, manner: Manner, body: bytes) -> None:
        self.asked = Event()
        self._manner = manner
        self._body = body
        self._stop = Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(PAUSE)
        self._threads: list[Thread] = []
        self._thread = Thread(target=self._accept)
        scheme = "https" if manner == "tls" else "http"
        self.url = f"{scheme}://127.0.0.1:{self._socket.getsockname()[1]}/"

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        for thread in (self._thread, *self._threads):
            thread.join()
        self._socket.close()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:
                continue
            connection.settimeout(PIECES * PAUSE)
            self._threads.append(Thread(target=self._serve, args=[connection]))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(1 << 16)
            self.asked.set()
            fast, slow = self._answer()
            connection.sendall(fast)
            width = max(1, -(-len(slow) // PIECES))
            for start in range(0, max(PIECES, len(slow)), width):
                if self._stop.wait(PAUSE):
                    return
                connection.sendall(slow[start : start + width])

    def _answer(self) -> tuple[bytes, bytes]:
        """What is said at once, and what is said slowly."""
        line = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        length = b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(self._body)
        match self._manner:
            case "head":
                return b"", line + length + self._body
            case "body":
                return line + length, self._body
            case "endless body":
                return line + b"Connection: close\r\n\r\n", self._body
            case "chunks":
                parts = [self._body[at : at + 1] for at in range(len(self._body))]
                chunks = b"".join(b"1\r\n" + part + b"\r\n" for part in parts) + b"0\r\n\r\n"
                return line + b"Transfer-Encoding: chunked\r\n\r\n", chunks
            case "tls":
                return b"\x16\x03\x03\x10\x00", bytes(PIECES)
            case "mute":
                return b"", b""


@contextmanager
def dripping(manner: Manner, body: bytes = b"{}") -> Iterator[Dripping]:
    server = Dripping(manner, body)
    server.start()
    try:
        yield server
    finally:
        server.close()
