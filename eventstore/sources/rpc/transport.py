"""The bytes to a node and back: web3's provider, below its formatters and without its retries."""

from __future__ import annotations

import requests
from eth_typing import URI
from msgspec import Struct

from eventstore.net.deadline import Adapter, Deadlines
from eventstore.sources.rpc.web3_parts import HTTPProvider

_LONGEST_PAGE = 500

MOST = 128 * 2**20
"""Bytes that an answer may have, decompressed, by default."""

_PIECE = 1 << 20
_PACKED_PIECE = 1 << 16
"""Bytes that are read together. What is compressed may become a thousand times as large, so less of it."""


class AnswerTooLargeError(Exception):
    """The answer is larger than may be; the rest of it was not read."""


class Said(Struct, frozen=True):
    """What came back: a response, and the body that was read from it."""

    response: requests.Response
    body: bytes

    @property
    def page(self) -> str:
        """The beginning of a body that is not JSON, for an error message."""
        start = self.body[: 4 * _LONGEST_PAGE]
        try:
            text = start.decode(self.response.encoding or "utf-8", errors="replace")
        except LookupError:  # the node names an unknown encoding
            text = start.decode(errors="replace")
        return " ".join(text[:_LONGEST_PAGE].split())


class Provider(HTTPProvider):
    """One node's URL. Safe to use from several threads: each has connections of its own.

    An answer of more than `most` bytes, once decompressed, is not read to its end.
    """

    def __init__(self, url: str, *, timeout: float, most: int = MOST) -> None:
        self._url = URI(url)
        self._most = most
        self._timeout = timeout
        self._deadlines = Deadlines()
        super().__init__(self._url, request_kwargs={"timeout": timeout}, exception_retry_configuration=None)

    def post(self, body: bytes) -> Said:
        """What the node answers to `body`, in large pieces: left to itself requests reads 10 KiB at a time,
        which costs more than all else about an answer of megabytes. Redirects are not followed.

        Raises `AnswerTooLargeError`, and `requests.Timeout` where all of it took longer than the timeout,
        even if a part of it came.
        """
        with self._deadlines.exchange(self._timeout) as exchange:
            try:
                with self._session().post(
                    self._url, data=body, stream=True, allow_redirects=False, **self.get_request_kwargs()
                ) as response:
                    said = Said(response, _whole(response, self._most))
            except (requests.RequestException, OSError) as error:
                if exchange.is_over:
                    raise requests.Timeout("The answer was not whole in time.") from error
                raise
            if exchange.is_over:  # an answer without a length ends where the connection does
                raise requests.Timeout("The answer was not whole in time.")
            return said

    def _session(self) -> requests.Session:
        """This thread's session, whose connections keep to the deadlines."""
        session = self._request_session_manager.cache_and_return_session(
            self._url, request_timeout=self._timeout
        )
        if not isinstance(session.get_adapter(self._url), Adapter):
            for scheme in ("http://", "https://"):
                session.mount(scheme, self._deadlines.adapter())
        return session

    def close(self) -> None:
        self._deadlines.close()
        for _, session in self._request_session_manager.session_cache.items():
            session.close()
        self._request_session_manager.session_cache.clear()
        self._request_session_manager.session_pool.shutdown(wait=False)


def _whole(response: requests.Response, most: int) -> bytes:
    """The body, as long as it has no more than `most` bytes."""
    packed = "Content-Encoding" in response.headers
    told = response.headers.get("Content-Length", "")
    if not packed and told.isdecimal() and (len(told) > 18 or int(told) > most):
        raise AnswerTooLargeError
    pieces: list[bytes] = []
    size = 0
    for piece in response.iter_content(_PACKED_PIECE if packed else _PIECE):
        size += len(piece)
        if size > most:
            raise AnswerTooLargeError
        pieces.append(piece)
    return b"".join(pieces)
