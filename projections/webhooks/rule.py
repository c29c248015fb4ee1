"""What a rule waits for, and when it fires: pure functions of what it remembers of a key and what is now.

Law: a document that is not there has null in every field, and null is below every number. So the memory of
a key that was never seen is that of a document that is not there, and only what differs from it is kept.
"""

from __future__ import annotations

import re
from types import NoneType, UnionType
from typing import Any, Union, assert_never, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from projections.errors import ConfigurationError
from projections.sinks import Value
from projections.values.integers import from_decimal

Fields = dict[str, Value] | None
"""A document as it is published; None: it is not there."""

FORMS = "FIELD reached NUMBER, FIELD = VALUE, FIELD changed, appeared, removed"


class Reached(Struct, frozen=True):
    """The field came to `number` or above, for the first time ever."""

    field: str
    number: int | float


class Equals(Struct, frozen=True):
    """The field became this value, having had another; each time."""

    field: str
    value: str | int | float | bool | None


class ChangedCondition(Struct, frozen=True):
    """The field has another value than when the rule last looked."""

    field: str


class Appeared(Struct, frozen=True):
    """There is a document where there was none; each time."""


class Removed(Struct, frozen=True):
    """There is no document where there was one; each time."""


Condition = Reached | Equals | ChangedCondition | Appeared | Removed


class Rule(Struct, frozen=True):
    """A condition under a name; `when` is its text as it is compared and shown."""

    name: str
    condition: Condition

    @property
    def when(self) -> str:
        match self.condition:
            case Reached(field, number):
                return f"{field} reached {number}"
            case Equals(field, value):
                return f"{field} = {msgspec.json.encode(value).decode()}"
            case ChangedCondition(field):
                return f"{field} changed"
            case Appeared():
                return "appeared"
            case Removed():
                return "removed"
            case _:
                assert_never(self.condition)

    @property
    def field(self) -> str | None:
        """The field that it looks at, None where it looks at none."""
        return None if isinstance(self.condition, Appeared | Removed) else self.condition.field


class Memory(Struct, frozen=True):
    """What a rule remembers of a key: the state it last saw, and how often it has fired."""

    state: Value
    fired: int = 0


class RuleDecision(Struct, frozen=True):
    """The memory from now on, and whether the rule fires."""

    memory: Memory
    fires: bool


def unseen(rule: Rule) -> Memory:
    """What is remembered of a key that was never seen."""
    return Memory(_seen(rule.condition, None))


def decide(rule: Rule, before: Memory, fields: Fields) -> RuleDecision:
    """What a rule makes of a document as it now is, given what it remembers of the key."""
    now = _seen(rule.condition, fields)
    match rule.condition:
        case Reached():
            now = bool(before.state) or bool(now)  # once is for ever: falling and rising again fires nothing
            fires = now and not before.state
        case ChangedCondition():
            fires = now != before.state
        case Equals() | Appeared() | Removed():
            fires = bool(now) and not before.state
        case _:
            assert_never(rule.condition)
    return RuleDecision(Memory(now, before.fired + fires), fires)


def _seen(condition: Condition, fields: Fields) -> Value:
    held = None if isinstance(condition, Appeared | Removed) else (fields or {}).get(condition.field)
    match condition:
        case Reached(number=number):
            count = _number(held)
            return count is not None and count >= number
        case Equals(value=value) if isinstance(held, str) and type(value) is int:
            return from_decimal(held) == value  # a wide integer is text in a document's JSON
        case Equals(value=value):
            return held == value and isinstance(held, bool) == isinstance(value, bool)
        case ChangedCondition():
            return held
        case Appeared():
            return fields is not None
        case Removed():
            return fields is None
        case _:
            assert_never(condition)


def _number(held: Value) -> int | float | None:
    """A field that may reach a number: wide integers are decimal text."""
    if isinstance(held, str):
        return from_decimal(held)
    return held if isinstance(held, int | float) else None


def parse(text: str, where: str) -> Condition:
    """The condition that `text` states; `ConfigurationError` naming `where` if it states none."""
    said = " ".join(text.split())
    if said == "appeared":
        return Appeared()
    if said == "removed":
        return Removed()
    if found := re.fullmatch(r"(\w+) changed", said):
        return ChangedCondition(found[1])
    if found := re.fullmatch(r"(\w+) reached (-?\d+)(\.\d+)?", said):
        return Reached(found[1], float(found[2] + found[3]) if found[3] else int(found[2]))
    if found := re.fullmatch(r"(\w+) = (.+)", said):
        try:
            value = msgspec.json.decode(found[2], type=str | int | float | bool | None)
        except (msgspec.DecodeError, msgspec.ValidationError):
            raise ConfigurationError(
                f"{where}: {found[2]} is not a value.",
                hint='Values are numbers, "text" in double quotes, true, false and null.',
            ) from None
        return Equals(found[1], value)
    raise ConfigurationError(f"{where}: {text!r} is not a condition.", hint=f"Conditions are {FORMS}.")


def fitted(rule: Rule, document: type[Any], where: str) -> Rule:
    """`rule`, if documents of this type have what it looks at; else `ConfigurationError`."""
    field = rule.field
    if field is None:
        return rule
    hints = get_type_hints(document)
    if field not in hints:
        raise ConfigurationError(
            f"{where}: {document.__name__} has no field {field}.", hint=f"It has {', '.join(hints)}."
        )
    hint = hints[field]
    members = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    kinds = set(members) - {NoneType}
    match rule.condition:
        case Reached() if not kinds <= {int, float}:
            raise ConfigurationError(
                f"{where}: {field} of {document.__name__} is not a number, so it reaches none.",
                hint="Declare it int or Integer256: text is not counted.",
            )
        case Equals(value=value) if not _fits(value, set(members)):
            raise ConfigurationError(
                f"{where}: {field} of {document.__name__} never is {msgspec.json.encode(value).decode()}."
            )
    return rule


def _fits(value: object, kinds: set[Any]) -> bool:
    plain = {int, float, str, bool, NoneType}
    return not kinds <= plain or type(value) in kinds or (isinstance(value, int) and float in kinds)
