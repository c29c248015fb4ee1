"""Kinds of sinks: how a configuration names a sink, checks its settings, and makes it.

A kind has a name, which is that of its table under a projection (`[projections.NAME.mongo]`), and a struct
that the table is decoded into. A kind that runs on a server has a second struct for the table of that server
(`[mongo]`). This package ships the kinds of `SHIPPED`; an installed package adds another by an entry point of
the group `chainfold.sinks`, whose name is the kind's and whose object is a subclass of `SinkKind`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from msgspec import Struct

from projections.projectors import Projector
from projections.sinks import Sink
from projections.values.fields import wide_fields


class SinkTable(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the structs that tables of a sink are decoded into: an unknown key is an error."""


class SinkRequest(Struct, frozen=True):
    """Everything that a kind may need to make a sink: whose documents it takes, and where it runs.

    `server` is the table of the kind's server, with the address of an embedded server filled in, None for a
    kind without one. `folder` is that of the configuration: relative paths are relative to it. `patience` is
    how many seconds to wait for an answer; None: as long as a big write takes.
    """

    projection: str
    chain_id: int
    projector: Projector
    folder: Path
    server: Any = None
    patience: float | None = None

    @property
    def key(self) -> str:
        """The name of the documents' key field."""
        return self.projector.key

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the documents' fields, the key field among them, in the order of their declaration."""
        return self.projector.document.__struct_fields__

    @property
    def dates(self) -> frozenset[str]:
        """The fields that are times, in seconds since 1970."""
        return frozenset(self.projector.dates)

    @property
    def wide(self) -> frozenset[str]:
        """The fields that are integers of 256 bits."""
        return wide_fields(self.projector.document)


class SinkKind:
    """One kind of sink. Subclasses give `name` and `table`, and override `make`."""

    name: ClassVar[str]
    """The name of its table in a projection, and of every sink that it makes."""

    table: ClassVar[type[SinkTable]]
    """What the table of a projection is decoded into."""

    server: ClassVar[type[SinkTable] | None] = None
    """What the top-level table of its server is decoded into. Every key of it needs a default."""

    in_memory: ClassVar[bool] = False
    """Whether a sink in memory stands in where the embedded server cannot be installed."""

    def checked(self, table: Any, where: str) -> Any:
        """The settings that `make` gets, made of the decoded table at the path `where`.

        Raises `ConfigurationError`, with the path of the key, when a value cannot be used.
        """
        return table

    def place(self, settings: Any) -> tuple[str, str] | None:
        """The key of the table that says where documents go, and the place: no two projections may share one.

        None: projections cannot get in each other's way.
        """
        return None

    def make(self, settings: Any, request: SinkRequest) -> Sink:
        """A new sink, which opens nothing yet. Libraries that take long to import are imported here."""
        raise NotImplementedError
