"""What happens to the documents that one event put: one function, written out for each document type.

Every event of a replay ends with it, with four or five documents: walking fields and indexes costs twice as
much. It is written as `dataclasses` writes its methods. What is new is asked whether it fits; of what stood
there before only what is another object now. For a document with the key `name`, a `count`, an indexed `boss`
and the stamp `at` that is

    def settle(event, cache, block, timestamp, look):
        moved = []
        for key, before in event.items():
            after = cache[key]
            if after is None:
                if before is None:
                    continue
                moved.append((key, before, None))
            else:
                if type(after) is not document:
                    look(key, after)
                name = after.name; count = after.count; boss = after.boss; at = after.at
                if before is None:
                    if not (type(count) is int and -9223372036854775808 <= count <= 9223372036854775807
                            and (boss is None or type(boss) is str and len(boss) <= 1024 and ...) and ...
                            and name == key and type(key) is str):
                        look(key, after)
                    moved.append((key, None, after))
                else:
                    if not ((count is before.count or type(count) is int and ...) and ...):
                        look(key, after)
                    if ((before.count is count or before.count == count)
                            and (before.name is name or ...) and (before.boss is boss or ...)):
                        cache[key] = before
                        continue
                    if before.boss is not boss and before.boss != boss:
                        moved.append((key, before, after))
                if at != timestamp:
                    after = cache[key] = copy(after)
                    set_field(after, "at", timestamp)
            if key not in block:
                block[key] = before
        return moved

The fast test takes no text but ASCII: `look` decides about all other. A stamp is set on a copy: what was put
may be a constant of the projector's, and stand as it is in the state of an earlier block.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from math import inf
from types import NoneType
from typing import Any, Protocol

from msgspec.structs import force_setattr

from projections.generated_code import define
from projections.values import integers
from projections.values.kinds import HIGHEST, KEY_BYTES, LOWEST, Wide

Moved = list[tuple[str, Any, Any]]
"""Keys whose document is in other places of an index now, with the documents before and after."""

Settle = Callable[[dict[str, Any], dict[str, Any], dict[str, Any], int, Callable[[str, Any], None]], Moved]
"""Takes the documents before the event, those now, those before the block (and adds to them), the block's
time and `Shape.look`, which raises `ValueRefused` for what is not a document."""


class Tried(Protocol):
    """Of a `Shape` what `tried` must know."""

    key: str
    index: tuple[str, ...]
    touched: str | None
    encode: Callable[[Any], bytes]

    def trial(self, document: Any) -> Any: ...


def tried(shape: Tried) -> Settle:
    """The function for a document type whose values can only be checked by encoding them: each document is
    decoded again from its bytes, so that an object that a handler keeps changes nothing."""

    def settle(
        event: dict[str, Any],
        cache: dict[str, Any],
        block: dict[str, Any],
        timestamp: int,
        look: Callable[[str, Any], None],
    ) -> Moved:
        moved: Moved = []
        for key, before in event.items():
            after = cache[key]
            if after is not None:
                look(key, after)
                after = after.__copy__()
                if before is not None:
                    if shape.touched is not None:
                        force_setattr(after, shape.touched, getattr(before, shape.touched))
                    if shape.encode(after) == shape.encode(before):
                        cache[key] = before
                        continue
                if shape.touched is not None:
                    force_setattr(after, shape.touched, timestamp)
                after = cache[key] = shape.trial(after)
                force_setattr(after, shape.key, key)  # one string under both names
            elif before is None:
                continue
            if shape.index:
                moved.append((key, before, after))
            block.setdefault(key, before)
        return moved

    return settle


def compile_settle(
    document: type,
    plain: Mapping[str, tuple[type, ...]],
    *,
    key: str,
    index: tuple[str, ...],
    touched: str | None,
    loose: Collection[str],
) -> Settle:
    """The function for this document type. `plain` are the exact types that each field may have; two values
    of a `loose` field may be equal and have other bytes."""
    names = {field: f"field_{place}" for place, field in enumerate(plain)}
    short = {key, *index}
    tests = {field: _fits(names[field], types, short=field in short) for field, types in plain.items()}
    fits = " and ".join([*tests.values(), f"{names[key]} == key and type(key) is str"])
    kept = " and ".join(
        f"({names[field]} is before.{field} or {test})" for field, test in tests.items() if field != key
    )
    kept = f"{kept or 'True'} and {names[key]} == key and type({names[key]}) is type(key) is str"
    compared = sorted((field for field in plain if field != touched), key=lambda field: _rank(plain[field]))
    same = " and ".join(
        f"(before.{field} is {names[field]} or {_equal(field, names[field], loose)})" for field in compared
    )
    moves = " or ".join(
        f"(before.{field} is not {names[field]} and not ({_equal(field, names[field], loose)}))"
        for field in index
        if field != touched
    )
    moves = "True" if touched in index else moves
    stamped = touched is not None
    lines = [
        "def settle(event, cache, block, timestamp, look):",
        "    moved = []",
        "    for key, before in event.items():",
        "        after = cache[key]",
        "        if after is None:",
        "            if before is None:",
        "                continue",
        "            moved.append((key, before, None))" if index else "",
        "        else:",
        "            if type(after) is not document:",
        "                look(key, after)",
        f"            {'; '.join(f'{local} = after.{field}' for field, local in names.items())}",
        "            if before is None:",
        f"                if not ({fits}):",
        "                    look(key, after)",
        "            else:",
        f"                if not ({kept}):",
        "                    look(key, after)",
        f"                if {same or 'True'}:",
        "                    cache[key] = before",
        "                    continue",
        f"            if {names[touched]} != timestamp:" if touched is not None else "",
        "                after = cache[key] = copy(after)" if stamped else "",
        f'                set_field(after, "{touched}", timestamp)' if stamped else "",
        f"            if before is None or {moves}:" if index else "",
        "                moved.append((key, before, after))" if index else "",
        "        if key not in block:",
        "            block[key] = before",
        "    return moved",
    ]
    known = {
        "document": document,
        "copy": document.__copy__,  # type: ignore[attr-defined]  # it is a Struct
        "set_field": force_setattr,
        "inf": inf,
    }
    settle: Settle = define("settle", lines, known, of=document.__name__)
    return settle


_LONG = 4_096
"""Characters of a text that are taken without a look at how long the whole document is."""


def _fits(local: str, types: tuple[type, ...], *, short: bool) -> str:
    tests = []
    for kind in sorted(types, key=lambda kind: kind is not NoneType):
        if kind is Wide:
            tests.append(f"type({local}) is int and {integers.LOWEST} <= {local} <= {integers.HIGHEST}")
        elif kind is int:
            tests.append(f"type({local}) is int and {LOWEST} <= {local} <= {HIGHEST}")
        elif kind is float:
            tests.append(f"type({local}) is float and -inf < {local} < inf")
        elif kind is NoneType:
            tests.append(f"{local} is None")
        elif kind is str and short:
            tests.append(
                f"type({local}) is str and len({local}) <= {KEY_BYTES} and {local}.isascii() "
                f"and '\\0' not in {local}"
            )
        elif kind is str:
            tests.append(f"type({local}) is str and len({local}) <= {_LONG} and {local}.isascii()")
        else:
            tests.append(f"type({local}) is {kind.__name__}")
    return f"({' or '.join(tests)})"


def _equal(field: str, local: str, loose: Collection[str]) -> str:
    exact = f" and repr(before.{field}) == repr({local})" if field in loose else ""
    return f"before.{field} == {local}{exact}"


def _rank(types: tuple[type, ...]) -> int:
    """Numbers change most: where one differs nothing else is compared."""
    return int not in types and Wide not in types
