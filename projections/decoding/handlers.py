"""Can a projector's methods be called as the fold calls them? Said at the start, not at the first event."""

from __future__ import annotations

import inspect
import keyword
from collections.abc import Mapping

from projections.decoding.event import Event, parse
from projections.errors import ProjectorError, SignatureError

FACTS = ("block", "log_index", "tx_hash", "contract")
"""What every event knows of its place, beside its own parameters."""

_HINTS = {"keys": ("event",), "finds": ("event", "get")}


def check_methods(kind: type, handlers: Mapping[str, str]) -> None:
    """Raises `ProjectorError`, naming class and method, for a handler or a hint that cannot be called, and
    for a handler whose event cannot be parsed or has parameters that no attribute can have."""
    for method, signature in handlers.items():
        where = f"{kind.__name__}.{method}"
        try:
            event = parse(signature)
        except SignatureError as error:
            raise ProjectorError(f"{where}: {error.message}", hint=error.hint) from error
        for item in event.parameters:
            if not item.name.isidentifier() or item.name.startswith("__"):
                raise ProjectorError(
                    f"{where}: the parameter {item.name} cannot be an attribute of an event.",
                    hint="Call it otherwise in @handles, and map that to the contract's name with roles.",
                )
        _check_method(kind, method, ("event", "documents"))
    for method, given in _HINTS.items():
        _check_method(kind, method, given)


def attributes(event: Event) -> list[str]:
    """Under which names a handler finds an event's parameters: their own, with underscores where that is a
    keyword, a fact or taken."""
    kept = {item.name for item in event.parameters if not _is_taken(item.name)}
    found: list[str] = []
    for item in event.parameters:
        name = item.name
        while _is_taken(name) or (name != item.name and (name in kept or name in found)):
            name += "_"
        found.append(name)
    return found


def _is_taken(name: str) -> bool:
    return keyword.iskeyword(name) or name in FACTS


def _check_method(kind: type, method: str, given: tuple[str, ...]) -> None:
    raw, found = inspect.getattr_static(kind, method), getattr(kind, method)
    wanted = f"def {method}(self, {', '.join(given)})"
    if not callable(found):
        raise ProjectorError(f"{kind.__name__}.{method} is not a method.", hint=f"Declare it as {wanted}.")
    if inspect.iscoroutinefunction(found) or inspect.isasyncgenfunction(found):
        raise ProjectorError(
            f"{kind.__name__}.{method} is asynchronous, and nothing awaits it.",
            hint=f"Declare it as {wanted}.",
        )
    if inspect.isgeneratorfunction(found) and method not in _HINTS:
        raise ProjectorError(
            f"{kind.__name__}.{method} is a generator: its body would never run.",
            hint="Leave out yield; a handler puts documents and returns nothing.",
        )
    bound = isinstance(raw, staticmethod | classmethod)
    try:
        inspect.signature(found).bind(*(given if bound else ("self", *given)))
    except TypeError as error:
        raise ProjectorError(
            f"{kind.__name__}.{method}{inspect.signature(found)} cannot be called with "
            f"{' and '.join(given)}: {error}.",
            hint=f"Declare it as {wanted}.",
        ) from error
