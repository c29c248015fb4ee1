"""The bytes to a node and back: web3's provider, below its formatters and without its retries."""

from __future__ import annotations

import requests
from eth_typing import URI
from msgspec import Struct

from eventstore.web3_parts import HTTPProvider

_LONGEST_PAGE = 500


class Said(Struct, frozen=True):
    """What came back: a response, and the body that was read from it."""

    response: requests.Response
    body: bytes

    @property
    def page(self) -> str:
        """The beginning of a body that is no JSON, to be shown."""
        start = self.body[: 4 * _LONGEST_PAGE]
        try:
            text = start.decode(self.response.encoding or "utf-8", errors="replace")
        except LookupError:  # the node names an encoding that nobody knows
            text = start.decode(errors="replace")
        return " ".join(text[:_LONGEST_PAGE].split())


class Provider(HTTPProvider):
    """One node's URL. Safe to use from several threads: each has connections of its own."""

    def __init__(self, url: str, *, timeout: float) -> None:
        self._url = URI(url)
        super().__init__(self._url, request_kwargs={"timeout": timeout}, exception_retry_configuration=None)

    def post(self, body: bytes) -> Said:
        """What the node answers to `body`, read as a whole: left to itself requests reads pieces of 10 KiB,
        which costs more than all else about an answer of megabytes."""
        with self._request_session_manager.get_response_from_post_request(
            self._url, data=body, stream=True, **self.get_request_kwargs()
        ) as response:
            return Said(response, b"".join(response.iter_content(chunk_size=None)))

    def close(self) -> None:
        for _, session in self._request_session_manager.session_cache.items():
            session.close()
        self._request_session_manager.session_cache.clear()
        self._request_session_manager.session_pool.shutdown(wait=False)
