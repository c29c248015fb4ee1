"""Declarations of events: read from human-readable signatures or items of an ABI, by name, type and topic."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from eth_abi.grammar import parse as parse_type
from eth_hash.auto import keccak
from msgspec import Struct

from projections.decoding.solidity import NAME, bare, hint_for, hint_for_type, hint_for_words
from projections.errors import SignatureError

_ALIASES = {
    "uint": "uint256",
    "int": "int256",
    "byte": "bytes1",
    "fixed": "fixed128x18",
    "ufixed": "ufixed128x18",
}


NESTING = 16
"""How deep the arrays and tuples of a parameter's type may lie in each other."""

Layout = tuple[str, tuple[bool, ...], bool]
"""The canonical signature, which parameters are indexed, and whether it is anonymous."""


class Parameter(Struct, frozen=True):
    """One parameter: `type` is canonical (uint256, (address,uint8)[])."""

    name: str
    type: str
    indexed: bool = False


class Event(Struct, frozen=True):
    """An event as a contract declares it."""

    name: str
    parameters: tuple[Parameter, ...]
    anonymous: bool = False

    @property
    def canonical(self) -> str:
        """What the topic is the hash of: Name(type,type)."""
        return f"{self.name}({','.join(item.type for item in self.parameters)})"

    @property
    def topic0(self) -> bytes:
        """keccak256 of the canonical signature; logs of an anonymous event do not carry it."""
        return keccak(self.canonical.encode())

    @property
    def topics(self) -> int:
        """How many topics its logs have, the hash of the signature included."""
        return self.indexed + (not self.anonymous)

    @property
    def indexed(self) -> int:
        """How many parameters are indexed."""
        return sum(item.indexed for item in self.parameters)

    @property
    def layout(self) -> Layout:
        """What events whose logs are decoded alike have in common, under any names of parameters."""
        return self.canonical, tuple(item.indexed for item in self.parameters), self.anonymous

    def __str__(self) -> str:
        inner = ", ".join(
            f"{item.type}{' indexed' if item.indexed else ''} {item.name}" for item in self.parameters
        )
        return f"{self.name}({inner})"


def parse(signature: str) -> Event:
    """The event of a declaration such as `Sent(address indexed to, uint256 amount)`.

    Comments, `event`, a final `;` and `anonymous` may stand as in Solidity; parameters without a name are
    called arg0, arg1 ... Raises `SignatureError`: the text, what is wrong with it, what to write instead.
    """
    text = bare(signature)
    anonymous = text.endswith((" anonymous", ")anonymous"))
    if anonymous:
        text = text.removesuffix("anonymous").strip()
    if nesting(text) > NESTING + 1:
        raise _too_deep(text)
    found = re.fullmatch(rf"({NAME.pattern}) ?\((.*)\)", text)
    if not found:
        raise SignatureError(f"The event {signature!r} cannot be parsed.", hint=hint_for(signature))
    name, inner = found.groups()
    parameters = [_parameter(part, index, signature) for index, part in enumerate(_split(inner, signature))]
    return _checked(Event(name, _named(parameters), anonymous), signature)


def from_abi(abi: Sequence[Any], where: str) -> list[Event]:
    """The events among an ABI's items: objects, or human-readable texts. Raises `SignatureError` for one that
    cannot be, beginning with `where`."""
    found = []
    for item in abi:
        if isinstance(item, str) and re.match(r"\s*event\s", item):
            found.append(parse(item))
        elif isinstance(item, Mapping) and item.get("type") == "event":
            name = item.get("name")
            if not isinstance(name, str):
                raise SignatureError(f"{where}: an event has no name.")
            said = f"{where}: {name}"
            found.append(_checked(_from_item(item, name, said), said))
    return found


def _from_item(item: Mapping[str, Any], name: str, said: str) -> Event:
    inputs, anonymous = item.get("inputs", []), item.get("anonymous", False)
    if not isinstance(inputs, list):
        raise SignatureError(f"The event {said!r} has inputs that are not a list.")
    if not isinstance(anonymous, bool):
        raise SignatureError(
            f"The event {said!r} has anonymous = {anonymous!r}, which is neither true nor false.",
            hint="Write it without quotation marks.",
        )
    return Event(name, _named([_input(inner, said) for inner in inputs]), anonymous)


def _input(item: Any, said: str) -> Parameter:
    if not isinstance(item, Mapping) or not isinstance(item.get("type"), str):
        raise SignatureError(f"The event {said!r} has a parameter without a type.")
    name, indexed = item.get("name") or "", item.get("indexed", False)
    if not isinstance(name, str):
        raise SignatureError(f"The event {said!r} has a parameter whose name is {name!r}.")
    if not isinstance(indexed, bool):
        raise SignatureError(
            f"In the event {said!r} the parameter {name} has indexed = {indexed!r}, neither true nor false.",
            hint="Write it without quotation marks.",
        )
    return Parameter(name, _abi_type(item, said), indexed)


def _named(parameters: Sequence[Parameter]) -> tuple[Parameter, ...]:
    """Those without a name are called by their place."""
    taken = {item.name for item in parameters}
    found = []
    for place, item in enumerate(parameters):
        name = item.name or f"arg{place}"
        while not item.name and name in taken:
            name += "_"
        taken.add(name)
        found.append(Parameter(name, item.type, item.indexed))
    return tuple(found)


def _abi_type(item: Mapping[str, Any], said: str, within: int = 0) -> str:
    kind = item.get("type")
    if within > NESTING:
        raise _too_deep(said)
    if not isinstance(kind, str):
        raise SignatureError(f"The event {said!r} has a tuple with a member without a type.")
    if not kind.startswith("tuple"):
        return _canonical_type(kind)
    members = item.get("components")
    if not isinstance(members, list) or not all(isinstance(inner, Mapping) for inner in members):
        raise SignatureError(f"The event {said!r} has a tuple without its components.")
    return f"({','.join(_abi_type(inner, said, within + 1) for inner in members)}){kind[5:]}"


def _parameter(part: str, index: int, signature: str) -> Parameter:
    if part.startswith(("(", "tuple(")):
        end = _closing(part, part.index("("), signature)
        suffix = re.match(r"(?:\[\d*\])*", part[end + 1 :])
        assert suffix is not None
        inner = _split(part[part.index("(") + 1 : end], signature)
        members = [_parameter(item, place, signature).type for place, item in enumerate(inner)]
        kind = f"({','.join(members)}){suffix.group()}"
        words = part[end + 1 + suffix.end() :].split()
    else:
        words = part.split()
        if not words:
            raise SignatureError(f"The event {signature!r} has an empty parameter at place {index + 1}.")
        kind = _canonical_type(words.pop(0))
        if words[:1] == ["payable"] and kind == "address":
            words.pop(0)
    indexed = words[:1] == ["indexed"]
    if indexed:
        words.pop(0)
    if len(words) > 1 or words[:1] == ["indexed"]:
        raise SignatureError(
            f"In the event {signature!r} the parameter {part!r} has too many words.",
            hint=hint_for_type(kind) or hint_for_words(words),
        )
    return Parameter(words[0] if words else "", kind, indexed)


def _canonical_type(kind: str) -> str:
    base, bracket, rest = kind.partition("[")
    return _ALIASES.get(base, base) + bracket + rest


def _checked(event: Event, said: str) -> Event:
    if not NAME.fullmatch(event.name):
        raise SignatureError(f"The event {said!r} has an invalid name: {event.name!r}.")
    for place, item in enumerate(event.parameters):
        if not NAME.fullmatch(item.name):
            raise SignatureError(f"In the event {said!r} a parameter has an invalid name: {item.name!r}.")
        if item.name in [other.name for other in event.parameters[:place]]:
            raise SignatureError(f"In the event {said!r} two parameters are called {item.name}.")
        if nesting(item.type) > NESTING:
            raise _too_deep(said)
        try:
            parsed = parse_type(item.type)
            parsed.validate()
            known = _is_known(parsed)
        except Exception as error:
            raise _unknown_type(item, said) from error
        if not known:
            raise _unknown_type(item, said)
    most = 4 if event.anonymous else 3
    if sum(item.indexed for item in event.parameters) > most:
        raise SignatureError(f"The event {said!r} has more than {most} indexed parameters.")
    return event


def nesting(kind: str) -> int:
    """How deep the arrays and tuples of a type lie in each other: 2 for (address[],bool)."""
    within, last = [0], 0
    for letter in kind:
        if letter == "(":
            within.append(0)
        elif letter == ")" and len(within) > 1:
            last = within.pop() + 1
        elif letter == "[":
            last += 1
        elif letter == ",":
            last = 0
        within[-1] = max(within[-1], last)
    return max(within[0], len(within) - 1)


def _too_deep(said: str) -> SignatureError:
    shown = said if len(said) <= 100 else f"{said[:100]}..."
    return SignatureError(
        f"In the event {shown!r} the arrays and tuples of a parameter lie more than {NESTING} levels deep.",
        hint="No deeper ones are decoded: leave the event out.",
    )


def _unknown_type(item: Parameter, said: str) -> SignatureError:
    return SignatureError(
        f"In the event {said!r} the parameter {item.name} has no known type: {item.type}.",
        hint=hint_for_type(item.type),
    )


def _is_known(parsed: Any) -> bool:
    if hasattr(parsed, "components"):
        return all(_is_known(item) for item in parsed.components)
    return parsed.base in ("address", "bool", "uint", "int", "bytes", "string", "fixed", "ufixed", "function")


def _split(inner: str, signature: str) -> list[str]:
    """The parts between the commas that stand outside all parentheses."""
    parts, depth, start = [], 0, 0
    for place, letter in enumerate(inner):
        depth += (letter == "(") - (letter == ")")
        if depth < 0:
            break
        if letter == "," and depth == 0:
            parts.append(inner[start:place].strip())
            start = place + 1
    if depth:
        raise _unmatched(signature)
    last = inner[start:].strip()
    return [*parts, last] if last or parts else []


def _closing(part: str, start: int, signature: str) -> int:
    depth = 0
    for place in range(start, len(part)):
        depth += (part[place] == "(") - (part[place] == ")")
        if depth == 0:
            return place
    raise _unmatched(signature)


def _unmatched(signature: str) -> SignatureError:
    hint = hint_for(signature) if ";" in bare(signature) else ""
    return SignatureError(f"The parentheses of the event {signature!r} do not match.", hint=hint)


def names(events: Iterable[Event]) -> str:
    """The events' names, for a sentence."""
    return ", ".join(sorted({event.name for event in events})) or "none"
