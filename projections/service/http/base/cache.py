"""Redis before the store: what a hash says of a document, typed again; what is missed is filled.

Redis that is away slows answers by a moment now and then and breaks none: the store has everything. Redis
whose marker is not ours (another store's, or of a later state than this one was put back to) is not read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from eventstore.errors import ChainfoldError
from eventstore.net.nesting import too_deep
from eventstore.storage.store import Store
from projections.fold.fold import Projection
from projections.publish.publications import refusal
from projections.service.http.base.circuit_breaker import Breaker
from projections.service.http.base.fill import Filler
from projections.service.status.poller import Beat
from projections.sinks import Value
from projections.sinks.capabilities import Fillable
from projections.values.fields import Field, fields
from projections.values.integers import from_decimal

PATIENCE = 0.5
"""Seconds that Redis may take for an answer."""

Count = Callable[[str, int], None]


class Cached(Struct, frozen=True):
    """A hash: the document's fields (None: it was removed), its revision, and the block of its write."""

    fields: Mapping[str, Any] | None
    revision: int
    block: int


class Cache:
    """The hashes of one projection, read through. Any thread may ask."""

    def __init__(
        self, store: Store, sink: Fillable, projection: Projection, *, read: Count, filled: Count
    ) -> None:
        self._store = store
        self._sink = sink
        self._projection = projection
        self._types = Types(projection)
        self._breaker = Breaker()
        self._trusted = False
        self._through: int | None = None
        self._read = read
        self.filler = Filler(
            store, sink, projection=projection.name, chain_id=projection.chain_id, tell=filled
        )

    def get(self, key: str) -> Cached | None:
        """What Redis holds, None where it holds nothing, is away, or is not ours."""
        if not (self._trusted and self._types.usable and self._breaker.may_ask()):
            self._read("down", 1)
            return None
        try:
            held = self._sink.read([key]).get(key)
        except ChainfoldError:
            self._breaker.failed()
            self._read("down", 1)
            return None
        self._breaker.worked()
        if held is None:
            self._read("miss", 1)
            return None
        fields = None if held.fields is None else self._types.revived(held.fields)
        if held.fields is not None and fields is None:
            self._read("miss", 1)  # somebody wrote into our fields
            return None
        self._read("hit", 1)
        through = held.block if self._through is None else self._through
        return Cached(fields, held.revision, through)

    def want(self, key: str) -> None:
        """Has a missed document filled."""
        if self._trusted and not self._breaker.is_open:
            self.filler.want(key)

    def refresh(self, beat: Beat) -> None:
        """Looks whether Redis is still ours, and whether it shows all that is served."""
        served = beat.served.get(self._projection.name)
        if not self._breaker.may_ask() or beat.error is not None:
            return
        try:
            marker = self._sink.marker()
            with self._store.read() as tx:
                foreign = marker is not None and refusal(
                    tx,
                    marker,
                    self._sink.name,
                    chain_id=self._projection.chain_id,
                    projection=self._projection.name,
                )
        except ChainfoldError:
            self._breaker.failed()
            return
        self._breaker.worked()
        self._trusted = marker is not None and not foreign
        current = marker is not None and served is not None and marker.revision >= served.revision
        self._through = served.block if served is not None and current else None

    def start(self) -> None:
        self.filler.start()

    def close(self) -> None:
        self.filler.stop()
        self._sink.close()


class Types:
    """The fields of a document as Redis holds them, and back: text, by the declared types.

    A field that may hold text or another type cannot be restored from its text: then the cache is not usable.
    """

    def __init__(self, projection: Projection) -> None:
        projector = projection.projector
        known = fields(projector.document)
        self.fields = projector.redis_fields or projector.document.__struct_fields__
        self._fields = {name: known[name] for name in self.fields}
        self.usable = all(len(field.kinds) == 1 for field in self._fields.values())

    def revived(self, held: Mapping[str, Value]) -> dict[str, Any] | None:
        """The document; None where a field is missing or is not of its type."""
        try:
            return {name: _revived(str(held[name]), field) for name, field in self._fields.items()}
        except (KeyError, ValueError, msgspec.MsgspecError):
            return None

    def short(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """The same fields of a document of the fold, with what Redis cannot tell apart made the same."""
        return {
            name: None if document[name] == "" and field.nullable else document[name]
            for name, field in self._fields.items()
        }


def _revived(text: str, field: Field) -> Any:
    """The value that a field's text stands for. Raises `ValueError` if the text does not fit the type."""
    if text == "" and field.nullable:
        return None
    [kind] = field.kinds
    if field.wide:
        if from_decimal(text) is None:
            raise ValueError(text)
        return text
    if kind is str:
        return text
    if kind is bool:
        return {"1": True, "0": False}[text]
    if kind in (int, float):
        return kind(text)
    if too_deep(text.encode()):
        raise ValueError(text)
    return msgspec.json.decode(text, type=kind)
