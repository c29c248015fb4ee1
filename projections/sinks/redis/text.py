"""Values as Redis holds them: text."""

from __future__ import annotations

import msgspec

from projections.sinks import Value


def text(value: Value) -> str:
    """A value as Redis holds it."""
    if value.__class__ is str:  # nearly all are that, or integers
        return value
    if value.__class__ is int:
        return str(value)
    match value:
        case None:
            return ""
        case bool():
            return "1" if value else "0"
        case int() | float():
            return str(value)
        case bytes():
            return f"0x{value.hex()}"
        case _:
            return msgspec.json.encode(value).decode()
