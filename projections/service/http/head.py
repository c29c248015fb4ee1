"""The head of a request, bounded in bytes while it arrives: the parser by itself takes any length."""

from __future__ import annotations

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from projections.service.http.problems import Problem

LONGEST_HEAD = 65_536
"""Bytes of a request's line and headers, about: a head is refused with the piece that passes it."""

_BODY = msgspec.json.encode(Problem(f"The head of a request may have {LONGEST_HEAD:,} bytes."))
_ANSWER = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\ncache-control: no-store\r\nconnection: close\r\n\r\n%s" % (len(_BODY), _BODY)
)


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
            self.transport.write(_ANSWER)
            self.transport.close()

    def on_headers_complete(self) -> None:
        self._whole = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._whole = True
        super().on_body(body)
