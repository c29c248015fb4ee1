"""What some sinks can do besides taking changes. Users of a capability ask `isinstance(sink, Capability)`.

A sink has a capability by having its methods: nothing is declared or registered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

from msgspec import Struct

from projections.projectors import Invariant
from projections.sinks import Change, Marker, Readable, Value


@runtime_checkable
class HasTrial(Protocol):
    """A sink behind a server, whose rights and settings may not suffice."""

    def trial(self) -> list[str]:
        """Tries what publishing needs and leaves nothing behind.

        Returns remarks on what works but needs attention; raises `SinkError` when publishing would fail.
        """
        ...


@runtime_checkable
class Aggregating(Protocol):
    """A sink that counts and checks its documents by itself."""

    def totals(self, fields: Sequence[str]) -> dict[str, int]:
        """How many documents there are (`count`), and the sum of each field, as the server counts them."""
        ...

    def violations(self, invariants: Sequence[Invariant], *, limit: int) -> list[tuple[str, str]] | str:
        """The key of each document that breaks an invariant, and how; or why the server cannot say."""
        ...


@runtime_checkable
class Evicting(Protocol):
    """A sink that may drop any of its keys, its marker included."""

    def evicts(self) -> bool:
        """Has it dropped keys that had no expiry?"""
        ...


@runtime_checkable
class Expiring(Protocol):
    """A sink in which documents expire: a missing document is not a difference."""

    expires: Literal[True]


class PageRequest(Struct, frozen=True, kw_only=True):
    """Documents whose fields have the values of `where`, ordered by `sort` and then by key, ascending.

    Without `sort` the order is that of keys. `after` is the value of the sorted field and the key of the last
    document of the previous page; null comes before every value.
    """

    where: dict[str, Value]
    sort: str | None = None
    descending: bool = False
    after: tuple[Value, str] | None = None
    limit: int


@runtime_checkable
class Paged(Protocol):
    """A sink that finds documents by value and lists them in order, page by page."""

    name: str

    def marker(self) -> Marker | None:
        """See `Sink`."""
        ...

    def page(self, wanted: PageRequest) -> list[Change]:
        """The documents of one page, in its order."""
        ...


@runtime_checkable
class Fillable(Readable, Protocol):
    """A sink that serves as a cache of documents as text: what readers miss is written to live briefly."""

    name: str

    def marker(self) -> Marker | None:
        """See `Sink`."""
        ...

    def write(self, changes: Sequence[Change]) -> int:
        """See `Sink`."""
        ...

    def close(self) -> None:
        """See `Sink`."""
        ...

    def fill(self, changes: Sequence[Change], *, seconds: int) -> list[Change]:
        """Writes as `write` does, to live `seconds` only; returns the changes that were given that life."""
        ...

    def keep(self, changes: Sequence[Change]) -> None:
        """Gives what was filled the life of published documents, if the sink still holds that revision."""
        ...


class ForeignDocument(Struct, frozen=True):
    """A document of a collection that another program filled: `key` as written there, and those of
    our fields that it has."""

    key: str
    fields: dict[str, Any]


class Normalised(Struct, frozen=True):
    """What became of keys in mixed case: written in lower case, merged with a twin, or left in `conflicts`,
    which names each key and the fields that stand against each other."""

    rewritten: int
    merged: int
    conflicts: dict[str, list[str]]


class ForeignSurvey(Protocol):
    """A collection that another program filled, as `chainfold adopt` reads it."""

    def survey(self) -> Iterator[ForeignDocument]:
        """Every document that has a key, in any order."""
        ...

    def holding(self, keys: Sequence[str]) -> set[str]:
        """Those of these keys that a document has, written exactly so."""
        ...

    def normalise(self) -> Normalised:
        """Writes every key in lower case. It may be killed at any point and run again."""
        ...


@runtime_checkable
class Adoptable(Protocol):
    """A sink that may publish into a collection that another program filled."""

    def foreign(self) -> ForeignSurvey:
        """The collection as the other program left it."""
        ...
