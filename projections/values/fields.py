"""The fields of a document type as they are declared: which values each takes, and what it is in JSON."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from msgspec import Struct

from projections.values.integers import WIDE, Integer256, from_decimal
from projections.values.kinds import HIGHEST, LOWEST


class Field(Struct, frozen=True):
    """A field: the types it may have beside null; `Integer256` stands for itself."""

    name: str
    kinds: tuple[Any, ...]
    nullable: bool

    @property
    def simple(self) -> Any:
        """Which of str, int, float, bool and Integer256 it is, null aside; None for any other type."""
        return self.kinds[0] if len(self.kinds) == 1 and self.kinds[0] in _SIMPLE else None

    @property
    def wide(self) -> bool:
        """Whether it is an integer of 256 bits: decimal text in JSON."""
        return self.simple is Integer256

    @property
    def counted(self) -> bool:
        """Whether it is always an integer, so that it can be summed."""
        return not self.nullable and self.simple in (int, Integer256)

    @property
    def called(self) -> str:
        """Its type for readers of JSON."""
        return next((name for kind, name in _CALLED if self.simple is kind), "other")

    def takes(self, value: Any) -> bool:
        """Whether a value of JSON is one that this simple field may have; null is taken as absent."""
        if value is None:
            return True
        if self.wide:
            return type(value) is str and from_decimal(value) is not None
        if self.simple is str:
            return type(value) is str and is_text(value)
        if self.simple is int:
            return type(value) is int and LOWEST <= value <= HIGHEST
        if self.simple is float:
            return type(value) in (int, float)
        return type(value) is self.simple


_SIMPLE = (str, int, float, bool, Integer256)
_CALLED = (
    (str, "text"),
    (int, "integer"),
    (float, "number"),
    (bool, "bool"),
    (Integer256, "integer256"),
)


def fields(document: type) -> dict[str, Field]:
    """The fields of a document type, by name, in the order of declaration."""
    hints = get_type_hints(document, include_extras=True)
    return {name: _field(name, hints[name]) for name in document.__struct_fields__}  # type: ignore[attr-defined]


def beside(taken: str, name: str) -> str:
    """A field's name in a list where `taken` stands for something else: with an underscore if it is that."""
    return f"{name}_" if name == taken else name


def is_text(text: str) -> bool:
    """Whether every store takes it: whole characters, and no NUL."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def is_wide(hint: Any) -> bool:
    """Whether a hint is that of an integer of 256 bits, null aside."""
    return get_origin(hint) is Annotated and WIDE in hint.__metadata__


def members(hint: Any) -> tuple[Any, ...]:
    """The types that a hint allows, without what is noted of them; `Integer256` as itself."""
    if get_origin(hint) is Annotated:
        return (Integer256,) if is_wide(hint) else members(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return tuple(dict.fromkeys(kind for item in get_args(hint) for kind in members(item)))
    return (hint,)


def _field(name: str, hint: Any) -> Field:
    kinds = members(hint)
    return Field(name, tuple(kind for kind in kinds if kind is not NoneType), NoneType in kinds)


def wide_fields(document: type[Any]) -> frozenset[str]:
    """The fields of a document type that are integers of 256 bits."""
    return frozenset(field.name for field in fields(document).values() if field.wide)
