"""One deadline for the whole of an HTTP exchange: name, connection, TLS, question and answer.

Law: the timeouts of sockets begin again with each byte, so a peer that sends one byte a second would be
waited for without end. At the deadline the connection is shut down under the thread that waits for it.
"""

from __future__ import annotations

import heapq
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.connection import allowed_gai_family

SHORTEST = 0.01
"""Seconds that a socket is given where no time is left: with 0 it would not wait at all."""


class Exchange:
    """One exchange under way: what it reads from is shut down when `until` (`time.monotonic`) has passed."""

    def __init__(self, until: float) -> None:
        self.until = until
        self.is_over = False
        self._ended = False
        self._lock = threading.Lock()
        self._watched: list[socket.socket] = []

    @property
    def left(self) -> float:
        """Seconds until the deadline, a few milliseconds at least."""
        return max(SHORTEST, self.until - time.monotonic())

    def watch(self, connection: socket.socket) -> None:
        """The deadline holds for this connection too, also when TLS has been laid over it."""
        own = socket.fromfd(connection.fileno(), connection.family, connection.type)
        with self._lock:
            self._watched.append(own)
            if self.is_over:
                _shut(own)

    def expire(self) -> None:
        """Ends it. Every thread that waits for it gets an error."""
        with self._lock:
            if not self._ended:
                self.is_over = True
                for own in self._watched:
                    _shut(own)

    def end(self) -> None:
        """It is done, well or not: its connections may be used by others."""
        with self._lock:
            self._ended = True
            for own in self._watched:
                own.close()
            self._watched.clear()


class Deadlines:
    """Puts deadlines on exchanges, each in the thread that makes it; one thread watches over all of them.

    `classes` are what a `PoolManager` of urllib3 makes its pools of, by scheme, and `adapter` is the same for
    a session of requests.
    """

    def __init__(self) -> None:
        self._here = threading.local()
        self._turn = threading.Condition()
        self._waiting: list[tuple[float, int, Exchange]] = []
        self._numbers = count()
        self._thread: threading.Thread | None = None
        self._closed = False
        self.classes: dict[str, Any] = _classes(self)

    @contextmanager
    def exchange(self, seconds: float) -> Iterator[Exchange]:
        """Everything that this thread asks within has so many seconds together. Afterwards `is_over` says
        whether that was too little: then the answer is not whole, even if it looks so."""
        made = Exchange(time.monotonic() + seconds)
        with self._turn:
            heapq.heappush(self._waiting, (made.until, next(self._numbers), made))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)
                self._thread.start()
            if self._waiting[0][2] is made:
                self._turn.notify()
        self._here.exchange = made
        try:
            yield made
        finally:
            self._here.exchange = None
            made.end()

    @property
    def current(self) -> Exchange | None:
        """The exchange of this thread, if one is under way."""
        return getattr(self._here, "exchange", None)

    def adapter(self) -> HTTPAdapter:
        return Adapter(self)

    def close(self) -> None:
        """Ends the thread; exchanges that are under way keep the timeouts of their sockets only."""
        with self._turn:
            self._closed = True
            self._turn.notify()

    def _run(self) -> None:
        while True:
            with self._turn:
                while not self._closed and (not self._waiting or self._waiting[0][0] > time.monotonic()):
                    self._turn.wait(self._waiting[0][0] - time.monotonic() if self._waiting else None)
                if self._closed:
                    return
                _, _, late = heapq.heappop(self._waiting)
            late.expire()


class Adapter(HTTPAdapter):
    """What a session of requests sends by, with connections that keep to these deadlines."""

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = self._deadlines.classes

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        if proxy.lower().startswith("http"):  # a SOCKS proxy has classes of its own
            manager.pool_classes_by_scheme = self._deadlines.classes
        return manager


def _classes(deadlines: Deadlines) -> dict[str, Any]:
    """The pools of connections that keep to these deadlines."""

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            exchange = deadlines.current
            return super()._new_conn() if exchange is None else _connected(self, exchange)

        def request(self, *arguments: Any, **options: Any) -> None:
            if self.sock is not None and deadlines.current is not None:
                deadlines.current.watch(self.sock)  # a connection that was kept
            super().request(*arguments, **options)

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            exchange = deadlines.current
            return super()._new_conn() if exchange is None else _connected(self, exchange)

        def request(self, *arguments: Any, **options: Any) -> None:
            if self.sock is not None and deadlines.current is not None:
                deadlines.current.watch(self.sock)
            super().request(*arguments, **options)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


def _connected(wanted: HTTPConnection, exchange: Exchange) -> socket.socket:
    """A watched connection to the first address of the host that takes one, with urllib3's errors."""
    host = wanted._dns_host.strip("[]")
    try:
        places = _resolved(host, wanted.port or wanted.default_port, exchange.left)
    except TimeoutError as error:
        raise ConnectTimeoutError(wanted, f"the name {wanted.host} is not resolved in time") from error
    except socket.gaierror as error:
        raise NameResolutionError(wanted.host, wanted, error) from error
    except (OSError, UnicodeError) as error:
        raise NewConnectionError(wanted, f"Failed to establish a new connection: {error}") from error
    failed: OSError = OSError("the name has no address")
    for place, (family, kind, protocol, _, address) in enumerate(places):
        made = socket.socket(family, kind, protocol)
        try:
            for option in wanted.socket_options or ():
                made.setsockopt(*option)
            if wanted.source_address:
                made.bind(wanted.source_address)
            share = exchange.left / (len(places) - place)
            chosen = wanted.timeout
            made.settimeout(min(share, chosen) if isinstance(chosen, int | float) else share)
            made.connect(address)
            made.settimeout(chosen if isinstance(chosen, int | float) else None)
            exchange.watch(made)
        except OSError as error:
            made.close()
            failed = error
            continue
        return made
    if isinstance(failed, TimeoutError):
        raise ConnectTimeoutError(wanted, f"Connection to {wanted.host} timed out.") from failed
    raise NewConnectionError(wanted, f"Failed to establish a new connection: {failed}") from failed


def _resolved(host: str, port: int, seconds: float) -> list[Any]:
    """What `getaddrinfo` says of it, or `TimeoutError`: the system's resolver takes no deadline."""
    if _is_address(host):
        return socket.getaddrinfo(host, port, allowed_gai_family(), socket.SOCK_STREAM)
    found: list[Any] = []
    errors: list[Exception] = []

    def ask() -> None:
        try:
            found.extend(socket.getaddrinfo(host, port, allowed_gai_family(), socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            errors.append(error)

    thread = threading.Thread(target=ask, name=f"resolve {host}", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"{host} was not resolved within {seconds:.0f} seconds")
    if errors:
        raise errors[0]
    return found


def _is_address(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError):
            socket.inet_pton(family, host)
            return True
    return False


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):  # it is closed already
        connection.shutdown(socket.SHUT_RDWR)
