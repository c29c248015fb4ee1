"""Which keys have which value in a declared field, as far as memory knows: what `Documents.find` asks.

A whole one saw every put since there was nothing, and is the index. One over a committed state says only
where the batch differs from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import Any


class Lookup:
    """Per field and value the keys: those that have it, and over a committed state those that lost it."""

    def __init__(self, fields: Iterable[str], *, whole: bool) -> None:
        self._whole = whole
        self._fields: list[tuple[str, Callable[[Any], Any], dict[str, dict[str, bool]]]] = [
            (field, attrgetter(field), {}) for field in fields
        ]
        self._found = {field: found for field, _, found in self._fields}

    def move(self, key: str, before: Any, after: Any) -> None:
        """The document under `key` (None: there is none) is another now. Most puts change no such field."""
        for _, value_of, found in self._fields:
            was = None if before is None else value_of(before)
            now = None if after is None else value_of(after)
            if was is now or was == now:
                continue
            if was is not None:
                self._leave(found, str(was), key)
            if now is not None:
                found.setdefault(str(now), {})[key] = True

    def over(self, field: str, value: str, committed: Iterable[str]) -> list[str]:
        """The keys that have this value, ascending, where the committed state has it under `committed`."""
        here = self._found[field].get(value)
        if not here:
            return sorted(committed)
        keys = set(committed)
        for key, present in here.items():
            (keys.add if present else keys.discard)(key)
        return sorted(keys)

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """(field, value, key) of a whole one, ascending: how an index is written fastest."""
        for field, found in sorted(self._found.items()):
            for value in sorted(found):
                yield from ((field, value, key) for key in sorted(found[value]))

    def clear(self, *, whole: bool) -> None:
        """Forgets everything; from now on it is whole, or what lies over a committed state."""
        self._whole = whole
        for found in self._found.values():
            found.clear()

    def _leave(self, found: dict[str, dict[str, bool]], value: str, key: str) -> None:
        if not self._whole:
            found.setdefault(value, {})[key] = False
            return
        keys = found[value]
        del keys[key]
        if not keys:
            del found[value]
