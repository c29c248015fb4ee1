"""What the fold must know of a document type: its fields, its bytes, and what it adds to the digest."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from math import inf
from operator import eq
from typing import Any, get_type_hints

import msgspec

from projections.errors import ValueRefused
from projections.fold.compiled import compile_settle, tried
from projections.projectors import Projector
from projections.values import integers, kinds
from projections.values.kinds import HIGHEST, LOWEST
from projections.values.twin import Twin

_UNTOLD = (ValueError, TypeError, OverflowError, RecursionError)
"""What encoding or decoding raises for what it cannot tell."""


class Shape:
    """A document type: key, indexes, stamp, canonical bytes, field types.

    The canonical body is JSON with the fields in order of declaration, sets sorted: bytes that are equal
    exactly where the documents are. `same` tells whether two documents have the same body, `own` makes a
    copy that shares nothing that could be changed in place; where nothing can, it gives the document itself.
    """

    def __init__(self, projector: type[Projector]) -> None:
        self.type = projector.document
        self.key = projector.key
        self.index = projector.index
        self.links = projector.links
        self.touched = projector.touched
        fields = kinds.fields_of(self.type)
        self.sets = any(map(kinds.unordered, fields.values()))
        self._written: Callable[[Any], bytes] = msgspec.json.Encoder(
            order="deterministic" if self.sets else None
        ).encode
        self.encode: Callable[[Any], bytes] = self._written
        self.decode: Callable[[bytes], Any] = msgspec.json.Decoder(self.type).decode
        if (twin := Twin.of(self.type)) is not None:
            self.encode, self.decode = twin.encoding(self._written), twin.decode
        self._plain = {name: kinds.plain(kind) for name, kind in fields.items()}
        self._loose = {name for name, types in self._plain.items() if types is None or _is_loose(types)}
        self._deep = None in self._plain.values() or hasattr(self.type, "__post_init__")
        self.changeable = any(map(kinds.changeable, fields.values()))
        self.exact = not self._loose and self.type.__struct_config__.eq
        self.same: Callable[[Any, Any], bool] = eq if self.exact else self._same
        if self._deep:
            self.settle = tried(self)
        else:
            types = {name: kind for name, kind in self._plain.items() if kind is not None}
            self.settle = compile_settle(
                self.type, types, key=self.key, index=self.index, touched=self.touched, loose=self._loose
            )

    def look(self, key: str, document: Any) -> None:
        """Raises `ValueRefused` where `document` is not one, or is not what its bytes would say."""
        if type(document) is not self.type:
            raise ValueRefused(
                f"{type(document).__name__} was put under {kinds.shown(key)}; documents are "
                f"{self.type.__name__}."
            )
        if (refused := kinds.key_refused(key, "The key")) is not None:
            raise refused
        for name, types in self._plain.items():
            value = getattr(document, name)
            if types is None:
                if (said := kinds.unfit(value)) is not None:
                    raise ValueRefused(f"{name} does not fit its field: {said}.", hint=_wide(said))
                continue
            self._check_plain(name, value, types)
        if getattr(document, self.key) != key:
            raise ValueRefused(
                f"The document put under {kinds.shown(key)} has {self.key} = "
                f"{kinds.shown(getattr(document, self.key))}."
            )
        for name, value in self.indexed(document):
            if (refused := kinds.key_refused(value, f"The indexed {name}")) is not None:
                raise refused
        self.trial(document)

    def trial(self, document: Any) -> Any:
        """The document as its bytes tell it; raises `ValueRefused` where that is another one, or none."""
        try:
            body = self.encode(document)
            again = self.decode(body)
        except _UNTOLD as error:
            raise self._untold(document, str(error)) from error
        if len(body) > kinds.BODY_BYTES:
            raise ValueRefused(
                f"The document {kinds.shown(getattr(document, self.key))} has {len(body):,} bytes; "
                f"it may have {kinds.BODY_BYTES:,}.",
                hint="Keep less of it, or spread it over several documents.",
            )
        if not kinds.same(document, again) or self.encode(again) != body:
            raise self._untold(document, "")
        return again

    def own(self, document: Any) -> Any:
        """A copy that shares nothing with `document` that could be changed in place."""
        return self.decode(self.encode(document)) if self.changeable else document

    def indexed(self, document: Any | None) -> list[tuple[str, str]]:
        """(field, value) for each declared index; null is in no index."""
        if document is None:
            return []
        return [
            (field, str(value)) for field in self.index if (value := getattr(document, field)) is not None
        ]

    def _same(self, one: Any, other: Any) -> bool:
        if one is None or other is None:
            return one is other
        return self.encode(one) == self.encode(other)

    def _check_plain(self, name: str, value: Any, types: tuple[type, ...]) -> None:
        kind = type(value)
        if kind is int and kinds.Wide in types:
            if not integers.fits(value):
                raise ValueRefused(f"{name} = {value} does not fit its field: Integer256 has 256 bits.")
            return
        if kind not in types:
            raise ValueRefused(
                f"{name} = {kinds.shown(value)} does not fit its field: it is declared "
                f"{' or '.join(map(kinds.named, types))}."
            )
        if kind is int and not LOWEST <= value <= HIGHEST:
            said = f"{name} = {value} does not fit its field: integers of a document have 63 bits"
            raise ValueRefused(f"{said}.", hint=_wide(said))
        if kind is float and not -inf < value < inf:
            raise ValueRefused(
                f"{name} = {value} does not fit its field: JSON has no such number.",
                hint="Declare the field float | None, and put None.",
            )

    def _untold(self, document: Any, said: str) -> ValueRefused:
        """Names the field whose value is not what its bytes would say."""
        for name, hint in get_type_hints(self.type, include_extras=True).items():
            value = getattr(document, name)
            try:
                again = msgspec.json.decode(self._written(value), type=hint)
            except _UNTOLD as error:
                return ValueRefused(f"{name} = {kinds.shown(value)} does not fit its field: {error}.")
            if not kinds.same(value, again):
                return ValueRefused(
                    f"{name} = {kinds.shown(value)} does not fit its field: read back it would be "
                    f"{kinds.shown(again)}.",
                    hint="Put exactly what the field is declared to hold: a list where it says list.",
                )
        return ValueRefused(f"{self.type.__name__} does not fit: {said or 'read back it is another'}.")


def _is_loose(types: tuple[type, ...]) -> bool:
    """Can two values of these be equal for Python, and have other bytes? 0.0 and -0.0; 1, 1.0 and True."""
    return float in types or {int, bool} <= set(types)


def _wide(said: str) -> str:
    return "Declare the field Integer256, which holds any uint256 and int256." if "63 bits" in said else ""


def weight(key: str, body: bytes) -> int:
    """What a document adds to the digest: sha256 of length of key, key, canonical body, as a number."""
    raw = key.encode()
    return int.from_bytes(sha256(len(raw).to_bytes(8) + raw + body).digest())
