"""Opens a websocket: connection, TLS and handshake within one deadline, and no redirect is followed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from socket import socket
from ssl import PROTOCOL_TLS_CLIENT, SSLContext, SSLSocket
from typing import Any
from urllib.parse import urljoin, urlsplit

from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from eventstore.net.deadline import Deadlines
from eventstore.redaction import public


class RedirectedError(Exception):
    """The node answers with another address; the text names its host."""


@contextmanager
def opened(url: str, *, seconds: float, longest: int) -> Iterator[ClientConnection]:
    """A connection that was open within so many seconds, and takes messages of `longest` bytes; closed after.

    Raises what `websockets` does, `OSError`, and `RedirectedError`.
    """
    deadlines = Deadlines()

    class Direct(ClientConnection):
        def __init__(self, sock: socket, *arguments: Any, **options: Any) -> None:
            _watch(deadlines, sock)
            super().__init__(sock, *arguments, **options)

        def handshake(self, *arguments: Any, **options: Any) -> None:
            try:
                super().handshake(*arguments, **options)
            except InvalidStatus as error:
                if not 300 <= error.response.status_code < 400:
                    raise
                target = public(urljoin(url, error.response.headers.get("Location", "")))
                raise RedirectedError(f"it redirects to {target}, which is not followed") from None

    class Context(SSLContext):
        def wrap_socket(self, sock: socket, *arguments: Any, **options: Any) -> SSLSocket:
            _watch(deadlines, sock)
            return super().wrap_socket(sock, *arguments, **options)

    context = None
    if urlsplit(url).scheme == "wss":
        context = Context(PROTOCOL_TLS_CLIENT)  # which checks the certificate and its name
        context.load_default_certs()
    try:
        with ExitStack() as closing:
            with deadlines.exchange(seconds):
                connection = closing.enter_context(
                    connect(
                        url,
                        ssl=context,
                        create_connection=Direct,
                        open_timeout=seconds,
                        close_timeout=1,
                        max_size=longest,
                    )
                )
            yield connection
    finally:
        deadlines.close()


def _watch(deadlines: Deadlines, connection: socket) -> None:
    if deadlines.current is not None:
        deadlines.current.watch(connection)
