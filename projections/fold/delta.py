"""What a commit takes: all documents of a state, or those that changed since the last commit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Any

import msgspec

from projections.fold.document_type import Shape, weight
from projections.fold.index import Lookup

PART = 5_000
"""Documents in one `Delta`: no more of them stand in memory as bytes at once."""

PART_BYTES = 32 * 2**20
"""Bytes of bodies after which a `Delta` ends: PostgreSQL takes 1 GB in one statement."""


def _no_value(_document: object) -> None:
    """The index key of a document type without indexes: a constant."""


class Delta(msgspec.Struct, frozen=True):
    """What changed since the last commit, or a part of it: what the next one writes, ascending by key."""

    changed: list[tuple[str, bytes | None, bytes | None]]  # key, body before, body after
    index_gone: list[tuple[str, str, str]]  # field, value, key
    index_new: list[tuple[str, str, str]]
    undo: list[tuple[int, str, bytes | None]]  # block, key, body before that block
    digest: int  # to add, modulo 2^256
    count: int  # to add


class Whole:
    """All documents of a state that was never committed; each row is made when it is asked for.

    `digest` and `count` are what they come to, once `documents` was read to its end.
    """

    def __init__(self, shape: Shape, cache: Mapping[str, Any], lookup: Lookup) -> None:
        self.digest = self.count = 0
        self._shape = shape
        self._cache = cache
        self._lookup = lookup

    def documents(self, generation: int) -> Iterator[tuple[int, str, bytes]]:
        """Generation, key, body; ascending."""
        cache, encode, total = self._cache, self._shape.encode, 0
        for key in self.keys():
            body = encode(cache[key])
            total += weight(key, body)
            self.count += 1
            yield generation, key, body
        self.digest = total % 2**256

    def index(self, generation: int) -> Iterator[tuple[int, str, str, str]]:
        """Generation, field, value, key; ascending."""
        return ((generation, *row) for row in self._lookup.rows())

    def keys(self) -> list[str]:
        """Of all documents, ascending."""
        return sorted(key for key, document in self._cache.items() if document is not None)


def differing(
    keys: Iterable[str], befores: Mapping[str, Any], afters: Mapping[str, Any], shape: Shape
) -> Iterator[Delta]:
    """What differs under these keys between two states of the documents, in parts of about `PART_BYTES`."""
    encode, indexed, same = shape.encode, shape.indexed, shape.same
    exact = shape.exact
    value_of = attrgetter(*shape.index) if shape.index else _no_value
    changed: list[tuple[str, bytes | None, bytes | None]] = []
    gone: list[tuple[str, str, str]] = []
    new: list[tuple[str, str, str]] = []
    total = count = held = 0
    for key in keys:
        before, after = befores[key], afters[key]
        if same(before, after):
            continue
        if held >= PART_BYTES:
            yield Delta(changed, sorted(gone), sorted(new), [], total % 2**256, count)
            changed, gone, new, total, count, held = [], [], [], 0, 0, 0
        old = None if before is None else encode(before)
        body = None if after is None else encode(after)
        if old is not None:
            total -= weight(key, old)
            count -= 1
        if body is not None:
            total += weight(key, body)
            count += 1
            held += len(body)
        changed.append((key, old, body))
        if exact and before is not None and after is not None and value_of(before) == value_of(after):
            continue  # most changes are in no indexed field
        was, now = indexed(before), indexed(after)
        if was != now:
            gone.extend((field, value, key) for field, value in was if (field, value) not in now)
            new.extend((field, value, key) for field, value in now if (field, value) not in was)
    if changed:
        yield Delta(changed, sorted(gone), sorted(new), [], total % 2**256, count)
