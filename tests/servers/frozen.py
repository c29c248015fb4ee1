"""Servers of a test's own that stand still for a while, and ways to them that swallow what they are given."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil

_DRIP = 0.3
"""Seconds between two bytes: shorter than any timeout, and a minute for an answer of two hundred."""


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """The process and all its children stand still within this, and go on afterwards."""
    root = psutil.Process(pid)
    group = [root, *root.children(recursive=True)]
    for process in group:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in group:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGCONT)


class Relay:
    """A local TCP port before a server. What goes over a connection that was made before `drop` gets lost
    from then on, in both directions, and no peer hears of it; with `drip` an answer comes byte by byte."""

    def __init__(self, to: str | tuple[str, int]) -> None:
        self._to = to
        self._lost: set[int] = set()
        self._made = 0
        self.drip = False
        self._ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets = [self._listener]
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def drop(self) -> None:
        self._lost = set(range(self._made))

    def close(self) -> None:
        self._ended.set()
        for one in list(self._sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)  # wakes who waits for it
        for thread in self._threads:
            thread.join()
        for one in self._sockets:
            one.close()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = self._connect()
                self._sockets += [near, far]
                number, self._made = self._made, self._made + 1
                self._start(self._pass_on, number, near, far, False)
                self._start(self._pass_on, number, far, near, True)

    def _start(self, act: Callable[..., None], *words: Any) -> None:
        self._threads.append(threading.Thread(target=act, args=words, daemon=True))
        self._threads[-1].start()

    def _connect(self) -> socket.socket:
        if isinstance(self._to, tuple):
            return socket.create_connection(self._to)
        far = socket.socket(socket.AF_UNIX)
        far.connect(self._to)
        return far

    def _pass_on(self, number: int, here: socket.socket, there: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while data := here.recv(65_536):
                if number in self._lost:
                    self._ended.wait()
                    return
                if not (answers and self.drip):
                    there.sendall(data)
                    continue
                for place in range(len(data)):
                    there.sendall(data[place : place + 1])
                    self._ended.wait(_DRIP)
        with suppress(OSError):
            there.shutdown(socket.SHUT_RDWR)
