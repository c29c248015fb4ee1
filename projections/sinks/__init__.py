"""Where documents are published: the port that every sink keeps. One file beside this is one sink."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from msgspec import Struct

Value = str | int | float | bool | bytes | None | list["Value"] | dict[str, "Value"]
"""A field's value on its way out; the table of types is in `projections.fold.documents`."""


class Change(Struct, frozen=True, gc=False):
    """A document as it now is, or (`fields` None) the fact that it is no more.

    `fields` maps field name to value, key field included; times are in seconds. `block` is the
    block that the projection had reached.
    """

    key: str
    revision: int
    block: int
    fields: dict[str, Value] | None


_EMPTY_KEY = "(the empty key)".ljust(1_025, ".")
"""Stands for the empty key in a marker, where "" says that none was sent: longer than any key may be."""


class Marker(Struct, frozen=True, gc=False):
    """The publisher's cursor, kept inside the sink: whose documents these are, and how far they go.

    Everything up to `revision` was sent, and of the next one the keys up to the one that `after` says.
    `store` is the event store's id; `sends` counts what it sent here, `nonce` is drawn anew for each send,
    and the store knows both: it sees by them when it was itself put back to an older state.
    """

    store: str
    chain_id: int
    projection: str
    revision: int
    nonce: str
    key: str = ""
    sends: int = 0

    @property
    def after(self) -> str | None:
        """The last key of the next revision that was sent; None where none was."""
        return None if self.key == "" else "" if self.key == _EMPTY_KEY else self.key

    @staticmethod
    def of(key: str) -> str:
        """What `key` says after this one was sent."""
        return key or _EMPTY_KEY


class Sink(Protocol):
    """One published copy of one projection. It converges whatever is sent how often in which order.

    Every method raises a `SinkError` of the fitting kind, never a vendor's exception.
    """

    name: str

    def open(self) -> None:
        """Connects, and makes the indexes that reading needs, which in a sink that was never full may come
        with the marker that says that it is. Idempotent."""
        ...

    def marker(self) -> Marker | None:
        """The marker inside the sink, None in a sink that nobody has claimed."""
        ...

    def mark(self, new: Marker, *, old: Marker | None) -> None:
        """Sets the marker to `new` if it is still exactly `old` (None: still absent).

        Raises `MarkerLost` otherwise. Durable when it returns.
        """
        ...

    def write(self, changes: Sequence[Change]) -> int:
        """Applies each change whose revision is above what the sink holds for its key; returns how many.

        Whatever the sink holds that is not ours stays. Durable when it returns. A removal leaves its
        revision behind, so that an older write cannot bring the document back.

        What it cannot or may not hold of single documents keeps no other one out: raises `DocumentsRefused`
        once all others are written, with the reason of each. What ails the sink as a whole is another error.
        """
        ...

    def read(self, keys: Sequence[str]) -> dict[str, Change]:
        """What the sink holds under these keys, removed ones (fields None) included; absent: absent.

        What is there under a key and is nothing that a document could be is absent too."""
        ...

    def as_held(self, change: Change) -> Change:
        """`change` as `read` gives it back once it was written: our fields only, in the sink's own types."""
        ...

    def scan(self) -> Iterator[Change]:
        """Everything in the sink that carries our mark, in any order."""
        ...

    def close(self) -> None:
        """Lets go of the connection; what was written stays."""
        ...


class ForeignDocument(Struct, frozen=True):
    """A document of a collection that another program filled: `key` as written there, and those of
    our fields that it has."""

    key: str
    fields: dict[str, Any]


class ForeignSurvey(Protocol):
    """A collection that another program filled, as `adopt` reads it."""

    def survey(self) -> Iterator[ForeignDocument]:
        """Every document that has a key, in any order."""
        ...

    def holding(self, keys: Sequence[str]) -> set[str]:
        """Those of these keys that a document has, written exactly so."""
        ...
