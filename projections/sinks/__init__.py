"""Sinks, the places where documents are published: the port that every sink implements.

A sink is `open`, `marker`, `mark`, `write` and `close`. What else a sink can do is a capability: `Readable`
here, the others in `capabilities`. Its users ask for the capability, never for a product's name. How a
configuration names and makes a sink is in `kinds`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from msgspec import Struct

Value = str | int | float | bool | bytes | None | list["Value"] | dict[str, "Value"]
"""A field's value on its way out; docs/writing-a-projector.md has the table of types."""


class Change(Struct, frozen=True, gc=False):
    """A document as it is now, or (`fields` None) the fact that it was removed.

    `fields` maps field name to value, key field included; times are in seconds. `block` is the
    block that the projection had reached.
    """

    key: str
    revision: int
    block: int
    fields: dict[str, Value] | None


_EMPTY_KEY = "(the empty key)".ljust(1_025, ".")
"""The empty key in a marker, where "" says that no key was sent. It is longer than any key may be."""


class Marker(Struct, frozen=True, gc=False):
    """The publisher's cursor, kept inside the sink: whose documents these are, and how far they go.

    Everything up to `revision` was sent, and of the next revision the keys up to `after`.
    `store` is the event store's id. `sends` counts the batches that it sent here, `nonce` is random for each
    batch. The store keeps both: they show it when it was itself put back to an older state.
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
        """The last key of the next revision that was sent; None when no key of it was."""
        return None if self.key == "" else "" if self.key == _EMPTY_KEY else self.key

    @staticmethod
    def of(key: str) -> str:
        """The value of `key` in a marker after this key was sent."""
        return key or _EMPTY_KEY


class Sink(Protocol):
    """One published copy of one projection. It converges: changes may come in any order and again.

    Every method raises a `SinkError` of the fitting kind, never a vendor's exception.
    """

    name: str

    def open(self) -> None:
        """Connects, and prepares what writing and reading need, such as indexes. Idempotent.

        In a sink that was never filled, what only readers need may be made later: before the marker says that
        the first fill is done.
        """
        ...

    def marker(self) -> Marker | None:
        """The marker inside the sink; None when no publisher has claimed it."""
        ...

    def mark(self, new: Marker, *, old: Marker | None) -> None:
        """Sets the marker to `new` if it is still exactly `old` (None: still absent).

        Raises `MarkerLost` otherwise. Durable when it returns.
        """
        ...

    def write(self, changes: Sequence[Change]) -> int:
        """Applies each change whose revision is above the sink's own for its key; returns how many.

        Anything in the sink that is not ours stays. Durable when it returns. A removal leaves its revision
        behind, so that an older write cannot bring the document back.

        A document that the sink cannot or may not hold keeps no other document out: raises
        `DocumentsRefused`, with the reason of each, once all others are written. A fault of the sink as a
        whole is another `SinkError`.
        """
        ...

    def close(self) -> None:
        """Releases the connection; what was written stays."""
        ...


@runtime_checkable
class Readable(Protocol):
    """A sink whose documents can be read back: it can be verified, repaired and taken over."""

    def read(self, keys: Sequence[str]) -> dict[str, Change]:
        """The changes that the sink holds under these keys, removals (fields None) included.

        A key without one is absent, also when something else lies there that is not a document of ours.
        """
        ...

    def as_held(self, change: Change) -> Change:
        """`change` as `read` returns it once it was written: our fields only, in the sink's own types."""
        ...

    def scan(self) -> Iterator[Change]:
        """Everything in the sink that carries our mark, in any order."""
        ...


@runtime_checkable
class ReadableSink(Sink, Readable, Protocol):
    """A sink that can be read back."""
