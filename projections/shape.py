"""What the fold must know of a document type: its fields, its bytes, and what it adds to the digest."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

from projections.errors import ValueRefused
from projections.projectors import Projector
from projections.settle import HIGHEST, LOWEST, written


class Shape:
    """A document type: key, indexes, stamp, canonical bytes, field types.

    The canonical body is JSON with the fields in order of declaration: bytes that are equal exactly
    where the documents are.
    """

    def __init__(self, projector: type[Projector]) -> None:
        self.type = projector.document
        self.key = projector.key
        self.index = projector.index
        self.links = projector.links
        self.touched = projector.touched
        self.encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode
        self.decode: Callable[[bytes], Any] = msgspec.json.Decoder(self.type).decode
        self._hints = get_type_hints(self.type)
        self._plain = {name: _plain_types(self._hints[name]) for name in self.type.__struct_fields__}
        self.settle = written(self.type, self._plain, key=self.key, index=self.index, touched=self.touched)

    def look(self, key: str, document: Any) -> None:
        """Raises `ValueRefused` where `document` is not one, or a value does not fit its field."""
        if type(document) is not self.type:
            raise ValueRefused(
                f"{type(document).__name__} was put under {key}; documents are {self.type.__name__}."
            )
        for name, types in self._plain.items():
            value = getattr(document, name)
            if types is None:
                self._check_deep(name, value)
            elif type(value) not in types:
                raise ValueRefused(
                    f"{name} = {value!r} does not fit its field: it is declared "
                    f"{' or '.join(item.__name__ for item in types)}."
                )
            elif type(value) is int and not LOWEST <= value <= HIGHEST:
                raise ValueRefused(
                    f"{name} = {value} does not fit its field: integers of a document have 63 bits.",
                    hint="Declare the field as str, and put decimal strings for wider ones.",
                )
        if getattr(document, self.key) != key:
            raise ValueRefused(
                f"The document put under {key} has {self.key} = {getattr(document, self.key)!r}."
            )

    def _check_deep(self, name: str, value: object) -> None:
        try:
            msgspec.convert(msgspec.to_builtins(value), self._hints[name])
        except (msgspec.ValidationError, TypeError) as error:
            raise ValueRefused(f"{name} does not fit its field: {error}.") from error

    def indexed(self, document: Any | None) -> list[tuple[str, str]]:
        """(field, value) for each declared index; null is in no index."""
        if document is None:
            return []
        return [
            (field, str(value)) for field in self.index if (value := getattr(document, field)) is not None
        ]


def _plain_types(hint: Any) -> tuple[type, ...] | None:
    """The exact types a value may have; None where only a deep look can tell."""
    members = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if all(item in (int, str, bool, float, bytes, NoneType) for item in members):
        return tuple(members)
    return None


def weight(key: str, body: bytes) -> int:
    """What a document adds to the digest: sha256 of length of key, key, canonical body, as a number."""
    raw = key.encode()
    return int.from_bytes(sha256(len(raw).to_bytes(8) + raw + body).digest())
