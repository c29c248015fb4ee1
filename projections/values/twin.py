"""A document type with decimal text in place of its wide integers: what its JSON is, everywhere.

JSON has no bound for integers, and nearly every reader of JSON has one. So the form is decided by the
declared type, never by the value: an `int` is a number, an `Integer256` is text. The stored body is of this
form, so that what reads bodies (the API, the stream, sinks, webhooks) need not know the type.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import msgspec

from projections.values.fields import fields
from projections.values.integers import DECIMAL

Text = Annotated[str, msgspec.Meta(pattern=DECIMAL, description="An integer of up to 256 bits.")]
"""A wide integer in JSON."""


class Twin:
    """The type as it is published, and both ways between it and the document type."""

    def __init__(self, document: type[msgspec.Struct], wide: tuple[str, ...]) -> None:
        self._document = document
        self._names = document.__struct_fields__
        self._wide = tuple(self._names.index(name) for name in wide)
        self._published = published(document)
        self._read = msgspec.json.Decoder(self._published).decode

    @classmethod
    def of(cls, document: type[msgspec.Struct]) -> Twin | None:
        """None where the document type has no wide integer: then it is what is published."""
        wide = tuple(name for name, field in fields(document).items() if field.wide)
        return cls(document, wide) if wide else None

    def encoding(self, written: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
        """Encodes documents of this type by way of the published one."""
        make, names, wide = self._published, self._names, self._wide

        def encode(document: Any) -> bytes:
            values = list(msgspec.structs.astuple(document))
            for place in wide:
                if values[place] is not None:
                    values[place] = str(values[place])
            return written(make(**dict(zip(names, values, strict=True))))

        return encode

    def decode(self, body: bytes) -> Any:
        """The document behind a body; raises `msgspec.ValidationError` for other bytes."""
        values = list(msgspec.structs.astuple(self._read(body)))
        for place in self._wide:
            if values[place] is not None:
                values[place] = int(values[place])
        return self._document(**dict(zip(self._names, values, strict=True)))


def published(document: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """The document type as its JSON is: text for each wide integer, all else as declared."""
    known = fields(document)
    if not any(field.wide for field in known.values()):
        return document
    hints: dict[str, Any] = get_type_hints(document, include_extras=True)
    made: list[Any] = []
    for item in msgspec.structs.fields(document):
        hint, default = hints[item.name], item.default
        if known[item.name].wide:
            hint = Text | None if known[item.name].nullable else Text
            default = str(default) if type(default) is int else default
        if item.default_factory is not msgspec.NODEFAULT:
            default = msgspec.field(default_factory=item.default_factory)
        made.append((item.name, hint) if default is msgspec.NODEFAULT else (item.name, hint, default))
    return msgspec.defstruct(
        document.__name__, made, frozen=True, kw_only=True, namespace={"__doc__": document.__doc__}
    )
