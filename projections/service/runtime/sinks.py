"""The sinks of a configuration, and the embedded servers that some of them run on."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from eventstore.redaction import public
from projections.errors import ConfigurationError
from projections.fold.fold import Projection
from projections.service.config import settings
from projections.service.config.tables import SinkChoice
from projections.sinks import Sink
from projections.sinks.kinds import SinkKind, SinkRequest
from projections.sinks.memory import MemorySink


class SinkFactory:
    """Makes the sinks of projections. It owns the embedded servers that they need, until it is closed."""

    def __init__(self, config: settings.Config, projections: Mapping[str, Projection]) -> None:
        self.config = config
        self.projections = projections
        self._open = ExitStack()
        self._urls: dict[str, str] = {}

    def close(self) -> None:
        self._open.close()

    def kinds(self, name: str) -> list[str]:
        """The kinds of a projection's sinks, in the order of `made`. Opens nothing."""
        return list(self.config.projections[name].sinks)

    def made(self, name: str, *, patience: float | None = None, only: str | None = None) -> list[Sink]:
        """The sinks of a projection, or the sink of the kind `only`. The first use of an embedded server
        starts it.

        `patience` is how many seconds to wait for an answer; by default as long as a big write takes.
        Raises `ConfigurationError` when the settings of a sink cannot be used.
        """
        chosen = self.config.projections[name].sinks
        return [self._made(name, choice, patience) for kind, choice in chosen.items() if only in (None, kind)]

    def _made(self, projection: str, choice: SinkChoice, patience: float | None) -> Sink:
        own, kind = self.projections[projection], choice.kind
        server: Any = self.config.servers.get(kind.name)
        if _is_embedded(server):
            url = self._embedded(kind)
            if url is None:
                return MemorySink(name=kind.name)
            server = replace(server, url=url)
        request = SinkRequest(projection, own.chain_id, own.projector, self.config.folder, server, patience)
        sink = kind.make(choice.settings, request)
        if sink.name != kind.name:
            raise ConfigurationError(
                f"projections.{projection}.{kind.name}: the sink that was made is named {sink.name}.",
                hint="A sink has the name of its kind: leases and what the store knows of it carry it.",
            )
        return sink

    def described(self, sink: str) -> str:
        """Where a kind of sink is, without its secrets; "" for a kind without a server."""
        server = self.config.servers.get(sink)
        if not _is_embedded(server):
            return public(getattr(server, "url", ""))
        own = self._urls.get(sink)
        return f"embedded, {public(own)}" if own else f"in memory: no {sink}-server is available"

    def _embedded(self, kind: SinkKind) -> str | None:
        """The address of the kind's embedded server; None when it is not installed and memory will do."""
        if kind.name not in self._urls:
            from projections.service.embedded.servers import EMBEDDED

            try:
                server = EMBEDDED[kind.name](self.data / kind.name)
            except ConfigurationError:
                if kind.in_memory:
                    return None
                raise
            self._urls[kind.name] = self._open.enter_context(server).url
        return self._urls[kind.name]

    @property
    def data(self) -> Path:
        """Where embedded servers keep their files: beside the configuration."""
        return self.config.folder / "chainfold-data"


def _is_embedded(server: Any) -> bool:
    return getattr(server, "url", None) == "embedded"
