"""What happens to the documents that one event put: one function, written out for each document type.

Every event of a replay ends with it, with four or five documents: walking fields and indexes costs twice as
much. It is written as `dataclasses` writes its methods. For a document with the key `name`, a `count`, an
indexed `boss` and the stamp `at` that is

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
                if not (type(count) is int and (type(boss) is str or boss is None) and type(name) is str
                        and type(at) is int and name == key
                        and -9223372036854775808 <= count <= 9223372036854775807 and ...):
                    look(key, after)
                if before is None:
                    moved.append((key, None, after))
                else:
                    if ((before.count is count or before.count == count)
                            and (before.name is name or ...) and (before.boss is boss or ...)):
                        set_field(after, "at", before.at)
                        continue
                    if before.boss is not boss and before.boss != boss:
                        moved.append((key, before, after))
                set_field(after, "at", timestamp)
            if key not in block:
                block[key] = before
        return moved
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any

from msgspec.structs import force_setattr

LOWEST, HIGHEST = -(2**63), 2**63 - 1

Moved = list[tuple[str, Any, Any]]
"""Keys whose document is in other places of an index now, with the documents before and after."""

Settle = Callable[[dict[str, Any], dict[str, Any], dict[str, Any], int, Callable[[str, Any], None]], Moved]
"""Takes the documents before the event, those now, those before the block (and adds to them), the block's
time and `Shape.look`, which raises `ValueRefused` for what is no document."""


def written(
    document: type,
    plain: Mapping[str, tuple[type, ...] | None],
    *,
    key: str,
    index: tuple[str, ...],
    touched: str | None,
) -> Settle:
    """The function for this document type. `plain` are the exact types that each field may have; None where
    only a deep look can tell."""
    names = {field: f"field_{place}" for place, field in enumerate(plain)}
    if None in plain.values():
        fits = "False"
    else:
        tests = [_fits(names[field], types) for field, types in plain.items() if types]
        fits = " and ".join([*tests, f"{names[key]} == key"])
    compared = sorted((field for field in plain if field != touched), key=lambda field: _rank(plain[field]))
    same = " and ".join(
        f"(before.{field} is {names[field]} or before.{field} == {names[field]})" for field in compared
    )
    moves = " or ".join(
        f"(before.{field} is not {names[field]} and before.{field} != {names[field]})"
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
        f"            if not ({fits}):",
        "                look(key, after)",
        "            if before is None:",
        "                moved.append((key, None, after))" if index else "                pass",
        "            else:",
        f"                if {same or 'True'}:",
        f'                    set_field(after, "{touched}", before.{touched})' if stamped else "",
        "                    continue",
        f"                if {moves}:" if index else "",
        "                    moved.append((key, before, after))" if index else "",
        f'            set_field(after, "{touched}", timestamp)' if stamped else "",
        "        if key not in block:",
        "            block[key] = before",
        "    return moved",
    ]
    found: dict[str, Any] = {"document": document, "set_field": force_setattr}
    exec("\n".join(lines), found)
    settle: Settle = found["settle"]
    return settle


def _fits(local: str, types: tuple[type, ...]) -> str:
    tests = [
        f"type({local}) is int and {LOWEST} <= {local} <= {HIGHEST}"
        if kind is int
        else f"{local} is None"
        if kind is NoneType
        else f"type({local}) is {kind.__name__}"
        for kind in types
    ]
    return f"({' or '.join(tests)})"


def _rank(types: tuple[type, ...] | None) -> int:
    """Numbers change most: where one differs nothing else is compared. What needs a deep look comes last."""
    return 2 if types is None else int not in types
