"""Which keys have which value in a declared field, as far as memory knows: what `Documents.find` asks.

A whole one saw every put since there was nothing, and is the index. One over a committed state says only
where the batch differs from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Any

Keys = dict[str, bool]
"""The keys that have a value (True), and over a committed state those that lost it (False)."""

Found = dict[str, str | Keys]
"""By value. A single key of a whole lookup stands there itself: most values have one, and a dictionary for
each would take more than the documents."""


KNOWN = 20_000
"""Answers of a committed state that are remembered, and keys in them: a few megabytes."""


class Lookup:
    """Per field and value the keys: those that have it, and over a committed state those that lost it."""

    def __init__(self, fields: Iterable[str], *, whole: bool) -> None:
        self._whole = whole
        self._fields: list[tuple[Callable[[Any], Any], Found]] = []
        self._found: dict[str, Found] = {}
        for field in fields:
            found = self._found[field] = {}
            self._fields.append((attrgetter(field), found))

    def move(self, key: str, before: Any, after: Any) -> None:
        """The document under `key` (None: there is none) is another now."""
        for value_of, found in self._fields:
            was = None if before is None else value_of(before)
            now = None if after is None else value_of(after)
            if was is now or (was == now and str(was) == str(now)):  # 1 and True are equal, and not the same
                continue
            if was is not None:
                self._leave(found, str(was), key)
            if now is not None:
                self._enter(found, str(now), key)

    def over(self, field: str, value: str, committed: Iterable[str]) -> list[str]:
        """The keys that have this value, ascending, where the committed state has it under `committed`."""
        here = self._found[field].get(value)
        if here is None:  # a key may be empty text
            return sorted(committed)
        if isinstance(here, str):
            return [here]
        keys = set(committed)
        for key, present in here.items():
            (keys.add if present else keys.discard)(key)
        return sorted(keys)

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """(field, value, key) of a whole one, ascending: how an index is written fastest."""
        for field, found in sorted(self._found.items()):
            for value in sorted(found):
                keys = found[value]
                if isinstance(keys, str):
                    yield field, value, keys
                else:
                    yield from ((field, value, key) for key in sorted(keys))

    def touched(self) -> Iterator[tuple[str, str]]:
        """(field, value) wherever one over a committed state may differ from it."""
        return ((field, value) for field, found in self._found.items() for value in found)

    def clear(self, *, whole: bool) -> None:
        """Forgets everything; from now on it is whole, or what lies over a committed state."""
        self._whole = whole
        for found in self._found.values():
            found.clear()

    def _enter(self, found: Found, value: str, key: str) -> None:
        keys = found.get(value)
        if keys is None:
            found[value] = key if self._whole else {key: True}
        elif isinstance(keys, str):
            found[value] = {keys: True, key: True}
        else:
            keys[key] = True

    def _leave(self, found: Found, value: str, key: str) -> None:
        if not self._whole:
            lost = found.setdefault(value, {})
            assert not isinstance(lost, str)
            lost[key] = False
            return
        keys = found[value]
        if not isinstance(keys, str):
            del keys[key]
        if isinstance(keys, str) or not keys:
            del found[value]


class Known:
    """What the committed state answered, for as long as that is so: a reorg's replay asks what the branch
    before it asked, and on PostgreSQL each question is a way to the server and back."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str], list[str]] = {}
        self._size = 0

    def find(self, field: str, value: str, ask: Callable[[str, str], list[str]]) -> list[str]:
        """The keys that have this value, as `ask` says where it was not asked yet. Long answers are not kept,
        and when there are many all are forgotten."""
        keys = self._answers.get((field, value))
        if keys is None:
            keys = ask(field, value)
            if len(keys) < KNOWN // 100:
                if self._size > KNOWN:
                    self.clear()
                self._answers[field, value] = keys
                self._size += 1 + len(keys)
        return keys

    def learn(self, field: str, answers: Mapping[str, list[str]]) -> None:
        """Answers that were asked for in one go, short and long: no more than are remembered."""
        size = len(answers) + sum(map(len, answers.values()))
        if self._size + size > KNOWN:
            self.clear()
        self._size += size
        for value, keys in answers.items():
            self._answers[field, value] = keys

    def knows(self, field: str, value: str) -> bool:
        return (field, value) in self._answers

    def commit(self, lookup: Lookup) -> None:
        """What this lookup added to the answers is in the state now: the state is asked again."""
        for place in lookup.touched():
            self._answers.pop(place, None)

    def clear(self) -> None:
        self._answers.clear()
        self._size = 0
