"""The server: the one file that knows of the event loop. Everything of ours runs in its threads."""

from __future__ import annotations

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import uvicorn

from projections.errors import ConfigurationError
from projections.service.config.http import Http
from projections.service.http.app import application
from projections.service.http.base.context import WAITERS, Desk
from projections.service.http.base.head import BoundedHead
from projections.service.runtime.wiring import Plan
from projections.service.status.metrics import Meters

THREADS = 12 + WAITERS
"""That read; of them so many may wait for a block."""

BACKLOG = 1024
"""Connections that may wait to be taken."""

GRACE = 3
"""Seconds that answers under way get when the server stops."""


class Server:
    """Serves from `start` to `stop`; `url` says where, also where the port was left to the system."""

    def __init__(self, plan: Plan, settings: Http, meters: Meters, *, documents: bool = True) -> None:
        self._socket = bound(settings)
        host, port = self._socket.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        try:
            self._desk = Desk(plan, settings, meters, documents=documents)
            self._server = uvicorn.Server(
                uvicorn.Config(
                    application(self._desk),
                    http=BoundedHead,
                    ws="none",
                    log_config=None,
                    access_log=False,
                    server_header=False,
                    lifespan="off",
                    timeout_graceful_shutdown=GRACE,
                    backlog=BACKLOG,
                )
            )
        except BaseException:
            self._socket.close()
            raise
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    def start(self) -> Self:
        self._desk.start()
        self._thread.start()
        return self

    def stop(self) -> None:
        """Ends the streams, lets answers under way end, and closes what it opened."""
        self._desk.pulse.stop()
        self._server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join(timeout=2 * GRACE)
        self._socket.close()
        self._desk.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=self._server.config.get_loop_factory()) as runner:
            threads = ThreadPoolExecutor(THREADS, thread_name_prefix="http")
            runner.get_loop().set_default_executor(threads)
            runner.run(self._server.serve(sockets=[self._socket]))


def bound(settings: Http) -> socket.socket:
    """Binds before anything else is opened, so that a port in use is reported at once."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((settings.host, settings.port))
        made.listen(BACKLOG)  # clients may connect now; they wait until the loop runs
    except OSError as error:
        made.close()
        raise ConfigurationError(
            f"http.listen: {settings.host}:{settings.port} cannot be listened at: {error.strerror}.",
            hint="Another process may have it.",
        ) from error
    return made
