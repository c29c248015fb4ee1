"""Raw log -> typed values, compiled once per event.

`projections.decoding.abi` says what the data of each type must look like. A parameter that cannot be read
leaves the others readable: only a handler that wants it gets an error, which says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from eth_abi.grammar import parse as parse_type
from msgspec import Struct

from projections.decoding.abi import AbiWord, Purse, Read, TooMuch, reader, word
from projections.decoding.event import Event, Parameter
from projections.errors import DecodingError

Values = tuple[Any, ...]


class UnreadableParameter(Struct, frozen=True):
    """In the place of a value: the parameter is not what its type says, and why not."""

    reason: str


class Decoder:
    """Decodes the logs of one event into its parameters' values, in the order of declaration.

    address -> lower-case 0x hex; intN, uintN -> int; bool; bytesN, bytes -> bytes; string -> str; fixedMxN,
    ufixedMxN -> Decimal with N decimals; arrays and tuples -> tuples. Indexed parameters of dynamic types are
    the 32 bytes of their hash. `asked` are other types to read single parameters as, by their place: a
    `string` as `bytes`, which are the text's own.
    """

    def __init__(self, event: Event, *, asked: Mapping[int, str] | None = None) -> None:
        self.event = event
        self._topic_count = sum(item.indexed for item in event.parameters) + (not event.anonymous)
        self._plan: list[tuple[str, int, AbiWord | None, Read | None]] = []
        types = [(asked or {}).get(place, item.type) for place, item in enumerate(event.parameters)]
        body, self._width = reader(
            [kind for kind, item in zip(types, event.parameters, strict=True) if not item.indexed]
        )
        heads, topic = iter(body), 0 if event.anonymous else 1
        for kind, item in zip(types, event.parameters, strict=True):
            if item.indexed:
                self._plan.append((item.name, topic, word(kind) or bytes, None))
                topic += 1
            else:
                at, read = next(heads)
                self._plan.append((item.name, at, None, read))

    def __call__(self, topics: tuple[bytes, ...], data: bytes) -> Values:
        """The values; raises `DecodingError` naming event, parameter and value."""
        values = self.read(topics, data)
        for value in values:
            if value.__class__ is UnreadableParameter:
                raise DecodingError(value.reason)
        return values

    def read(self, topics: tuple[bytes, ...], data: bytes) -> Values:
        """The values; a parameter that cannot be read is an `UnreadableParameter`. Raises `DecodingError` if
        the log does not have the shape of the event, or would decode to more than is allowed."""
        if len(topics) != self._topic_count:
            raise DecodingError(
                f"{self.event.name}: the log has {len(topics)} topics, {self.event} needs "
                f"{self._topic_count}."
            )
        if len(data) < self._width:
            raise DecodingError(
                f"{self.event.name}: the log has {len(data)} bytes of data, {self.event} needs {self._width}."
            )
        purse, values = Purse(data), list[Any]()
        for name, at, of_topic, of_data in self._plan:
            try:
                if of_data is None:
                    assert of_topic is not None
                    values.append(of_topic(topics[at]))
                else:
                    values.append(of_data(data, at, 0, purse))
            except TooMuch as error:
                raise DecodingError(f"{self.event.name}.{name}: {error}.") from error
            except ValueError as error:
                values.append(UnreadableParameter(f"{self.event.name}.{name}: {error}."))
        return tuple(values)


class EventMarker:
    """Says of the logs of an event which parameters are not shown as they are, and why."""

    def __init__(self, event: Event) -> None:
        bytes_of = {
            place: item.type.replace("string", "bytes")
            for place, item in enumerate(event.parameters)
            if "string" in item.type and not item.indexed
        }
        self._event = event
        self._exact = Decoder(event, asked=bytes_of) if bytes_of else None
        self._texts = bytes_of

    def __call__(self, values: Values, topics: tuple[bytes, ...], data: bytes) -> dict[str, str]:
        """By name what is to be known of `values`, which a decoder read of this log."""
        marks = {
            item.name: value.reason
            for item, value in zip(self._event.parameters, values, strict=True)
            if isinstance(value, UnreadableParameter)
        }
        if self._exact is None or not any(map(_replaced, values)):
            return marks
        exact = self._exact.read(topics, data)
        for place, kind in self._texts.items():
            if _replaced(values[place]) and not _is_text(exact[place]):
                name = self._event.parameters[place].name
                shown = _flat(presented(exact[place], kind))
                marks[name] = f"{self._event.name}.{name} is not UTF-8, its bytes are {shown}"
        return marks


def _replaced(value: Any) -> bool:
    """Is there text in it that may stand for bytes that are not UTF-8?"""
    if isinstance(value, tuple):
        return any(map(_replaced, value))
    return isinstance(value, str) and "\ufffd" in value


def _is_text(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_text, value))
    if not isinstance(value, bytes):
        return True
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _flat(shown: Any) -> str:
    return f"[{', '.join(map(_flat, shown))}]" if isinstance(shown, list) else str(shown)


EXACT = 53
"""Bits of an integer that every reader of JSON holds exactly."""


def presented(value: Any, kind: str) -> Any:
    """A decoded value as JSON shows it: bytes as hex, integers whose type is wider than 53 bits as decimal
    strings: readers of JSON round them (by type, so that a field does not change its kind with its value)."""
    if isinstance(value, UnreadableParameter):
        return None
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, tuple):
        parsed = parse_type(kind)
        if parsed.arrlist:
            return [presented(item, parsed.item_type.to_type_str()) for item in value]
        inner = [part.to_type_str() for part in parsed.components]
        return [presented(item, part) for item, part in zip(value, inner, strict=True)]
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if parse_type(kind).sub > EXACT else value
    return format(value, "f") if isinstance(value, Decimal) else value


def wants(parameter: Parameter, kind: str) -> bool:
    """Does a handler's parameter type accept the contract's? Integers of any width do for integers,
    fixed-point numbers for such numbers, and `bytes` for `string`: then the handler gets the bytes."""
    mine, theirs = parse_type(kind), parse_type(parameter.type)
    if mine.arrlist or theirs.arrlist or hasattr(mine, "components") or hasattr(theirs, "components"):
        return kind == parameter.type or asks_bytes(kind, parameter.type)
    pair = {mine.base, theirs.base}
    alike = mine.base == theirs.base or pair in ({"int", "uint"}, {"fixed", "ufixed"})
    return alike or asks_bytes(kind, parameter.type)


def asks_bytes(kind: str, of: str) -> bool:
    """Does a handler that declares `kind` ask for the bytes of a text, or of texts in an array or tuple?"""
    return kind != of and "string" not in kind and kind == of.replace("string", "bytes")
