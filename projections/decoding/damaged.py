"""Events with a parameter that cannot be read: a handler that wants it learns why."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from projections.decoding.decoder import UnreadableParameter
from projections.errors import DecodingError


@cache
def damaged(kind: type) -> type:
    """The type of events that are of this `kind`, and whose unreadable parameters raise `DecodingError`."""

    def read(self: Any, name: str) -> Any:
        value = object.__getattribute__(self, name)
        if value.__class__ is UnreadableParameter:
            raise DecodingError(value.reason)
        return value

    return msgspec.defstruct(
        kind.__name__,
        [],
        bases=(kind,),
        namespace={"__getattribute__": read},
        frozen=True,
        gc=False,
    )
