"""What the fields of a document may be: types checked by a look, types that need a trial, refused types.

Law: a document that is taken is what its bytes say. Text, integers of 64 bits with sign, numbers, bools and
null are checked by their type alone; everything else is encoded, decoded again and compared, bit by bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf
from types import NoneType
from typing import Any

import msgspec
from msgspec import inspect

from projections.errors import ProjectorError, ValueRefused
from projections.values.integers import WIDE


class Wide(int):
    """Stands for `Integer256` among the exact types of a field: its values are of type `int`."""


LOWEST, HIGHEST = -(2**63), 2**63 - 1
"""The integers of a document: what MongoDB, the SQL stores and Parquet hold exactly."""

KEY_BYTES = 1024
"""Bytes in UTF-8 that a key, or an indexed value, may have: with a field's name both fit into one entry of
PostgreSQL's indexes (2,704 bytes)."""

BODY_BYTES = 64 * 2**20
"""Bytes of a document's JSON. MongoDB takes a quarter of that: a sink sets aside what only it cannot hold."""

DEPTH = 64
"""How deep a document's lists, objects and structs may lie in each other; MongoDB takes 100."""

_PLAIN: dict[type, type] = {
    inspect.NoneType: NoneType,
    inspect.BoolType: bool,
    inspect.IntType: int,
    inspect.FloatType: float,
    inspect.StrType: str,
}
_NO_TEXT = (inspect.BytesType, inspect.ByteArrayType, inspect.MemoryViewType)
_NO_JSON = (inspect.CustomType, inspect.ExtType, inspect.RawType)
_CHANGES = (
    inspect.ListType,
    inspect.DictType,
    inspect.SetType,
    inspect.AnyType,
    inspect.TypedDictType,
    inspect.CollectionType,
)


def fields_of(document: type) -> dict[str, inspect.Type]:
    """Each field's type; raises `ProjectorError` for a document type that JSON cannot hold and give back."""
    name = document.__name__
    try:
        found = inspect.type_info(document)
        msgspec.json.Decoder(document)
    except (TypeError, NameError) as error:
        raise ProjectorError(f"{name} cannot be a document: {error}.") from error
    assert isinstance(found, inspect.StructType)
    config: Any = document.__struct_config__  # type: ignore[attr-defined]  # it is a Struct
    if config.array_like or config.omit_defaults or config.tag is not None:
        raise ProjectorError(
            f"{name} is array_like, omit_defaults or tagged: its fields would not all be published.",
            hint=f"Declare it class {name}(Struct, frozen=True).",
        )
    if any(item.name != item.encode_name for item in found.fields):
        raise ProjectorError(
            f"{name} renames its fields; documents carry their fields' own names.",
            hint='Give MongoDB other names in the configuration: mongo = { rename = { ours = "theirs" } }.',
        )
    for item in found.fields:
        for inner in _walk(item.type):
            if is_wide(inner) and Wide not in members(item.type):
                raise ProjectorError(
                    f"{name}.{item.name} holds Integer256 within another type; it stands for a whole field.",
                    hint="Declare text there, and put str(value).",
                )
            if isinstance(inner, _NO_TEXT):
                raise ProjectorError(
                    f"{name}.{item.name} is bytes; documents carry them as text.",
                    hint='Declare it str, and put "0x" + value.hex().',
                )
            if isinstance(inner, _NO_JSON):
                raise ProjectorError(
                    f"{name}.{item.name} is of a type that JSON does not have: {_called(inner)}.",
                    hint="Declare text, numbers, bools, and lists, dicts or structs of these.",
                )
    if any(map(unordered, (item.type for item in found.fields))) and any(
        isinstance(inner, inspect.DictType) and members(inner.key_type) != {str}
        for item in found.fields
        for inner in _walk(item.type)
    ):
        raise ProjectorError(
            f"{name} holds a set, and a dict whose keys are not text: they cannot be ordered together.",
            hint="Declare a list, kept sorted, in place of the set.",
        )
    return {item.name: item.type for item in found.fields}


def plain(kind: inspect.Type) -> tuple[type, ...] | None:
    """The exact types of a field's values, where nothing else is asked of them; else None."""
    found: list[type] = []
    for item in alternatives(kind):
        if is_wide(item):
            found.append(Wide)
            continue
        exact = _PLAIN.get(type(item))
        if exact is None or any(value is not None for value in _conditions(item)):
            return None
        found.append(exact)
    return tuple(found)


def members(kind: inspect.Type) -> set[type]:
    """The types of `str`, `int` and so on that a field may hold, before all other conditions on them."""
    return {Wide if is_wide(item) else _PLAIN.get(type(item), object) for item in alternatives(kind)}


def alternatives(kind: inspect.Type) -> tuple[inspect.Type, ...]:
    """The types that a value may have."""
    return kind.types if isinstance(kind, inspect.UnionType) else (kind,)


def named(kind: type) -> str:
    """A type as a projector's author writes it."""
    return "Integer256" if kind is Wide else kind.__name__


def is_wide(kind: object) -> bool:
    """Is it an integer of 256 bits?"""
    return isinstance(kind, inspect.Metadata) and kind.extra == WIDE.extra


def changeable(kind: inspect.Type) -> bool:
    """May a value of it be changed in place?"""
    return any(
        isinstance(item, _CHANGES)
        or (isinstance(item, inspect.StructType) and not item.cls.__struct_config__.frozen)
        or (isinstance(item, inspect.DataclassType) and not _frozen(item.cls))
        for item in _walk(kind)
    )


def unordered(kind: inspect.Type) -> bool:
    """Does it hold a set, whose order is another in each process?"""
    return any(isinstance(item, inspect.SetType | inspect.FrozenSetType) for item in _walk(kind))


def key_refused(key: object, what: str) -> ValueRefused | None:
    """Why this cannot be a key, or an indexed value, on every database alike; None where it can."""
    if type(key) is not str:
        return ValueRefused(
            f"{what} is a {type(key).__name__}, {key!r}; keys are text.", hint="Put str(...)."
        )
    if "\0" in key:
        return ValueRefused(
            f"{what}, {shown(key)}, holds a NUL, which PostgreSQL does not keep.", hint=_OTHER_KEY
        )
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        return ValueRefused(
            f"{what}, {shown(key)}, holds half of a surrogate pair, which is not text.", hint=_OTHER_KEY
        )
    if size > KEY_BYTES:
        return ValueRefused(
            f"{what}, {shown(key)}, has {size:,} bytes; it may have {KEY_BYTES:,}.", hint=_OTHER_KEY
        )
    return None


_OTHER_KEY = 'Put what every database keeps, for example its hash: "0x" + keccak(text.encode()).hex().'


def is_key(key: object) -> bool:
    """May a document, or an indexed value, be looked for under it?"""
    if not isinstance(key, str):
        return False
    if key.isascii():
        return len(key) <= KEY_BYTES and "\0" not in key
    return key_refused(str.__str__(key), "") is None


def shown(value: object) -> str:
    """A value for a sentence: no longer than one can read."""
    said = repr(value)
    return said if len(said) <= 200 else f"{said[:160]}... ({len(said):,} characters)"


def same(one: Any, other: Any) -> bool:
    """Are these the same value of the same types, all the way down? Zeros differ by their sign."""
    kind = type(one)
    if kind is not type(other):
        return False
    if kind is float:
        return repr(one) == repr(other)
    if kind in (list, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if kind is dict:
        return len(one) == len(other) and all(map(same, one.items(), other.items()))
    if kind in (set, frozenset):
        return sorted(map(repr, one)) == sorted(map(repr, other))
    if isinstance(one, msgspec.Struct):
        return all(same(getattr(one, name), getattr(other, name)) for name in one.__struct_fields__)
    return bool(one == other)


def unfit(value: Any) -> str | None:
    """What of a nested value no document holds: a number beyond its bounds, or too much of it; else None."""
    todo, count = [(value, 0)], 0
    while todo:
        item, depth = todo.pop()
        count += 1
        kind = type(item)
        if kind is int and not LOWEST <= item <= HIGHEST:
            return f"{item} does not fit: integers of a document have 63 bits"
        if kind is float and not -inf < item < inf:
            return f"{item} is not a number that JSON has"
        inner = _inner(item)
        if inner and depth == DEPTH:
            return f"it lies more than {DEPTH} levels deep"
        if 2 * (count + len(todo) + len(inner)) > BODY_BYTES:
            return f"it would take more than {BODY_BYTES:,} bytes"
        todo.extend((each, depth + 1) for each in inner)
    return None


def _inner(value: Any) -> Sequence[Any]:
    if isinstance(value, dict):
        return (*value, *value.values())
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, set | frozenset):
        return tuple(value)
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.astuple(value)
    if hasattr(value, "__dataclass_fields__"):
        return tuple(getattr(value, name) for name in value.__dataclass_fields__)
    return ()


def _walk(kind: inspect.Type) -> Iterator[inspect.Type]:
    """The type and all within it, each struct once."""
    seen: set[int] = set()
    todo: list[Any] = [kind]
    while todo:
        item = todo.pop()
        if isinstance(item, list | tuple):
            todo.extend(item)
            continue
        if isinstance(item, inspect.Field):
            item = item.type
        if not isinstance(item, inspect.Type) or id(item) in seen:
            continue
        seen.add(id(item))
        yield item
        todo.extend(getattr(item, name) for name in item.__struct_fields__)


def _conditions(kind: inspect.Type) -> list[Any]:
    """What is asked of a plain type beyond itself: bounds, lengths, patterns."""
    return list(msgspec.structs.astuple(kind))


def _called(kind: inspect.Type) -> str:
    return getattr(getattr(kind, "cls", None), "__name__", type(kind).__name__)


def _frozen(cls: Any) -> bool:
    return bool(getattr(getattr(cls, "__dataclass_params__", None), "frozen", False))
