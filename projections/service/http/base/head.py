"""Bounds the bytes of a request's head while it arrives: the parser itself accepts any length."""

from __future__ import annotations

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from projections.service.http.base.problems import Problem

LONGEST_HEAD = 65_536
"""Bytes of a request's line and headers, about: a head is refused with the piece that passes it."""


def _answer(line: bytes, said: str) -> bytes:
    body = msgspec.json.encode(Problem(said))
    return (
        b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
        b"cache-control: no-store\r\nconnection: close\r\n\r\n%s" % (line, len(body), body)
    )


_TOO_LONG = _answer(
    b"431 Request Header Fields Too Large", f"The head of a request may have {LONGEST_HEAD:,} bytes."
)
_NO_HTTP = _answer(b"400 Bad Request", "This is not an HTTP request, or its address is too long.")


class BoundedHead(HttpToolsProtocol):
    """uvicorn's protocol over httptools, which hangs up on a head that does not end."""

    _head = 0
    """Bytes that came since the last head was whole; 0 while a body is read."""

    _whole = False

    def data_received(self, data: bytes) -> None:
        self._whole = False
        super().data_received(data)
        self._head = 0 if self._whole else self._head + len(data)
        if self._head > LONGEST_HEAD and not self.transport.is_closing():
            self.transport.write(_TOO_LONG)
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """In the form of all errors; `msg` is the parser's own."""
        self.transport.write(_NO_HTTP)
        self.transport.close()

    def on_headers_complete(self) -> None:
        self._whole = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._whole = True
        super().on_body(body)
