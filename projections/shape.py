"""What the fold must know of a document type: its fields, its bytes, and what it adds to the digest."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec.structs import astuple

from projections.errors import ValueRefused
from projections.projectors import Projector

LOWEST, HIGHEST = -(2**63), 2**63 - 1


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
        self._names = self.type.__struct_fields__
        self._key_place = self._names.index(self.key)
        self._hints = get_type_hints(self.type)
        self._plain = [_plain_types(self._hints[name]) for name in self._names]
        self._deep = [place for place, types in enumerate(self._plain) if types is None]
        self._fitting: dict[tuple[type, ...], list[int]] = {}

    def check(self, key: str, document: Any) -> None:
        """Raises `ValueRefused` where `document` is not one, or a value does not fit its field.

        Every put comes through here. So a combination of value types is looked at field by field once, and
        known from then on; what is left are the integers among them, the key, and what only a deep look can
        tell.
        """
        if type(document) is not self.type:
            raise ValueRefused(
                f"{type(document).__name__} was put under {key}; documents are {self.type.__name__}."
            )
        values = astuple(document)
        types = tuple(map(type, values))
        integers = self._fitting.get(types)
        if integers is None:
            integers = self._fitting[types] = self._integers(values)
        for place in integers:
            if not LOWEST <= values[place] <= HIGHEST:
                raise ValueRefused(
                    f"{self._names[place]} = {values[place]} does not fit its field: integers of a document "
                    "have 63 bits.",
                    hint="Declare the field as str, and put decimal strings for wider ones.",
                )
        for place in self._deep:
            self._check_deep(self._names[place], values[place])
        if values[self._key_place] != key:
            raise ValueRefused(f"The document put under {key} has {self.key} = {values[self._key_place]!r}.")

    def _integers(self, values: tuple[Any, ...]) -> list[int]:
        """Which of these values are integers; `ValueRefused` where one is not of its field's type."""
        for name, types, value in zip(self._names, self._plain, values, strict=True):
            if types is not None and type(value) not in types:
                raise ValueRefused(
                    f"{name} = {value!r} does not fit its field: it is declared "
                    f"{' or '.join(item.__name__ for item in types)}."
                )
        plain = zip(self._plain, values, strict=True)
        return [place for place, (types, value) in enumerate(plain) if types and type(value) is int]

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
    return int.from_bytes(sha256(len(raw).to_bytes(8, "big") + raw + body).digest(), "big")
