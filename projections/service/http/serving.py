"""The server beside the stages: made where `[http]` is configured, and told of every step."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from eventstore.extras import install
from projections.errors import ConfigurationError
from projections.service.runtime.loops import Observer
from projections.service.runtime.wiring import Plan

if TYPE_CHECKING:
    from projections.service.http.server import Server


class Serving:
    """A server, and the observers that its metrics are made by."""

    def __init__(self, server: Server, observers: Sequence[Observer], log: Any) -> None:
        self.observers = observers
        self._server = server
        self._log = log

    @property
    def url(self) -> str:
        return self._server.url

    def start(self) -> None:
        self._server.start()
        self._log.info("serving", url=self.url)

    def stop(self) -> None:
        self._server.stop()


def serving(plan: Plan, log: Any, *, documents: bool) -> Serving | None:
    """A server that is ready to start, or None without `[http]` in the configuration.

    Raises `ConfigurationError` where its libraries are missing or its port is taken.
    """
    settings = plan.config.http
    if settings is None:
        return None
    libraries()
    from projections.service.http.server import Server
    from projections.service.status.metrics import Meters

    meters = Meters(version("chainfold"))
    return Serving(Server(plan, settings, meters, documents=documents), [meters.observe], log)


def libraries() -> None:
    """Raises `ConfigurationError` where what the server is made of is not installed."""
    try:
        import projections.service.http.server
        import projections.service.status.metrics  # noqa: F401 - both are tried
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"[http] is configured, and {error.name} is not installed.",
            hint=install("http"),
        ) from error
