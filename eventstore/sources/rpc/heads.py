"""A node's new heads over websocket, as a wake-up: no data, no promise that one comes.

Law: nothing is believed for what is said here, and nothing is missed for what is not. Who is woken
looks for itself, and looks from time to time without being woken.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Lock, Thread
from time import monotonic

import msgspec
from msgspec import Struct
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import ClientConnection

from eventstore.backoff import Backoff
from eventstore.errors import SourceUnavailable
from eventstore.net.websocket import RedirectedError, opened
from eventstore.redaction import public

LONGEST_PAUSE = 60.0
"""Seconds between two attempts to connect, at most."""

LONGEST_MESSAGE = 256 * 2**10
"""Bytes of a message, decompressed. A header has less than one in ten of them."""

_TOO_BIG = 1009
"""The code with which a websocket is closed over a message that is too large (RFC 6455, section 7.4.1)."""


class _Message(Struct):
    method: str | None = None
    id: int | None = None
    error: object = None
    result: object = None


class _SubscriptionRefusedError(Exception):
    """The node takes the connection, but not the subscription."""


_FAILURES = (
    OSError,
    ValueError,
    RecursionError,
    WebSocketException,
    msgspec.DecodeError,
    _SubscriptionRefusedError,
    RedirectedError,
)

_subscribe = msgspec.json.encode(
    {"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]}
).decode()
_ask_chain = msgspec.json.encode({"jsonrpc": "2.0", "id": 2, "method": "eth_chainId", "params": []}).decode()
_message = msgspec.json.Decoder(_Message)


def announcing(url: str, *, patience: float = 10.0) -> int:
    """The chain id that the node at `url` says over its websocket, once it took our subscription to heads.

    Raises `SourceUnavailable` where it does not within `patience` seconds; it never shows keys in `url`.
    """
    deadline = monotonic() + patience
    try:
        with opened(url, seconds=patience, longest=LONGEST_MESSAGE) as connection:
            connection.send(_subscribe)
            connection.send(_ask_chain)
            answers: dict[int, _Message] = {}
            while not {1, 2} <= answers.keys():
                said = _message.decode(connection.recv(timeout=max(0.0, deadline - monotonic())))
                if said.error is not None:
                    raise _SubscriptionRefusedError
                if said.id is not None:
                    answers[said.id] = said
            return int(str(answers[2].result), 16)
    except _FAILURES as error:
        raise SourceUnavailable(
            f"{public(url)} gives no heads ({_reason(error)}).",
            hint="Mend websocket, or leave it out: the service polls.",
        ) from error


class Heads:
    """Calls `on_head` from a thread of its own, from `start` to `close`: for each head that the node at
    `url` announces, and once whenever it is reached (again), for those missed meanwhile.

    After any failure it tries again after a pause that grows from `pause` seconds; after `quiet` seconds
    without a whole message it is as good as gone, and so it is where all of connecting takes more than
    `opening` seconds. Redirects are not followed. `problem` says what is wrong, without the keys in `url`,
    or is None while all is well.
    """

    def __init__(
        self,
        url: str,
        on_head: Callable[[], object],
        *,
        quiet: float = 120.0,
        pause: float = 1.0,
        opening: float = 10.0,
    ) -> None:
        self.name = public(url)
        self.problem: str | None = f"{self.name} was not reached yet."
        self._url = url
        self._on_head = on_head
        self._quiet = quiet
        self._backoff = Backoff(pause, LONGEST_PAUSE, "equal")
        self._opening = opening
        self._closed = Event()
        self._lock = Lock()
        self._connection: ClientConnection | None = None
        self._thread = Thread(target=self._run, name=f"heads of {self.name}", daemon=True)

    def start(self) -> None:
        """Begins to listen. Does not wait for the node."""
        self._thread.start()

    def close(self) -> None:
        """Ends the connection and the thread. `on_head` is not called afterwards."""
        self._closed.set()
        with self._lock:
            connection = self._connection
        if connection is not None:
            connection.close()
        if self._thread.is_alive():
            self._thread.join(timeout=2)  # not for a node that takes longer to be reached

    def _run(self) -> None:
        failures = 0
        while not self._closed.is_set():
            try:
                self._listen()
            except _FAILURES as error:
                failures = failures + 1 if self.problem else 1
                self.problem = f"{self.name} gives no heads ({_reason(error)}); polling goes on."
            self._closed.wait(self._backoff.seconds(failures))

    def _listen(self) -> None:
        """Calls `on_head` until something fails."""
        with opened(self._url, seconds=self._opening, longest=LONGEST_MESSAGE) as connection:
            with self._lock:
                self._connection = connection
            try:
                connection.send(_subscribe)
                while not self._closed.is_set():
                    self._hear(connection)
            finally:
                with self._lock:
                    self._connection = None

    def _hear(self, connection: ClientConnection) -> None:
        said = _message.decode(connection.recv(timeout=self._quiet))
        if said.error is not None:
            raise _SubscriptionRefusedError
        if said.id == 1 or said.method == "eth_subscription":
            self.problem = None
            if not self._closed.is_set():
                self._on_head()


def _reason(error: BaseException) -> str:
    if isinstance(error, ConnectionClosed) and error.sent is not None and error.sent.code == _TOO_BIG:
        return f"a message has more than {LONGEST_MESSAGE:,} bytes, the most that is read"
    return str(error) if isinstance(error, RedirectedError) else type(error).__name__
