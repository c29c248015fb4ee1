"""The fold's documents in memory: what handlers see, and what they changed since the last commit.

Law: a document is written once per batch, and above finality its before-image is kept once per block.
Three scopes nest: an event (whose puts are discarded if its handler raises), a block (whose before-images
become undo rows), a batch (which becomes one `Delta`, one commit). What is cached holds for the commit it
came from: after a failed commit everything is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import sha256
from types import NoneType, UnionType
from typing import Any, Protocol, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec.structs import force_setattr

from projections.errors import ValueRefused
from projections.projectors import Projector

CAPACITY = 200_000
"""Documents kept in memory between batches; the rest is read again when it is wanted."""


class Shape:
    """What the fold must know of a document type: key, indexes, stamp, canonical bytes, field types.

    The canonical body is JSON with the fields in order of declaration: bytes that are equal exactly
    where the documents are.
    """

    def __init__(self, projector: type[Projector]) -> None:
        self.type = projector.document
        self.key = projector.key
        self.index = projector.index
        self.links = projector.links
        self.touched = projector.touched
        self.encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode
        self.decode: Callable[[bytes], Any] = msgspec.json.Decoder(self.type).decode
        hints = get_type_hints(self.type)
        self._plain = [(name, _plain_types(hints[name])) for name in self.type.__struct_fields__]
        self._hints = hints

    def check(self, key: str, document: Any) -> None:
        """Raises `ValueRefused` where `document` is not one, or a value does not fit its field."""
        if type(document) is not self.type:
            raise ValueRefused(
                f"{type(document).__name__} was put under {key}; documents are {self.type.__name__}."
            )
        for name, types in self._plain:
            value = getattr(document, name)
            if types is None:
                self._check_deep(name, value)
            elif type(value) not in types:
                raise ValueRefused(
                    f"{name} = {value!r} does not fit its field: it is declared "
                    f"{' or '.join(item.__name__ for item in types)}."
                )
            elif type(value) is int and not -(2**63) <= value < 2**63:
                raise ValueRefused(
                    f"{name} = {value} does not fit its field: integers of a document have 63 bits.",
                    hint="Declare the field as str, and put decimal strings for wider ones.",
                )
        if getattr(document, self.key) != key:
            raise ValueRefused(
                f"The document put under {key} has {self.key} = {getattr(document, self.key)!r}."
            )

    def _check_deep(self, name: str, value: object) -> None:
        try:
            msgspec.convert(msgspec.to_builtins(value), self._hints[name])
        except (msgspec.ValidationError, TypeError) as error:
            raise ValueRefused(f"{name} does not fit its field: {error}.") from error

    def indexed(self, document: Any | None) -> list[tuple[str, str]]:
        """(field, value) for each declared index; null is in no index."""
        if document is None:
            return []
        return [
            (field, str(value)) for field in self.index if (value := getattr(document, field)) is not None
        ]


def _plain_types(hint: Any) -> tuple[type, ...] | None:
    """The exact types a value may have; None where only a deep look can tell."""
    members = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if all(item in (int, str, bool, float, bytes, NoneType) for item in members):
        return tuple(members)
    return None


def weight(key: str, body: bytes) -> int:
    """What a document adds to the digest: sha256 of length of key, key, canonical body, as a number."""
    raw = key.encode()
    return int.from_bytes(sha256(len(raw).to_bytes(8, "big") + raw + body).digest(), "big")


class Delta(msgspec.Struct, frozen=True):
    """What a batch changed: everything its commit writes."""

    changed: list[tuple[str, bytes | None, bytes | None]]  # key, body before, body after
    index_gone: list[tuple[str, str, str]]  # field, value, key
    index_new: list[tuple[str, str, str]]
    undo: list[tuple[int, str, bytes | None]]  # block, key, body before that block
    digest: int  # to add, modulo 2^256
    count: int  # to add


class State(Protocol):
    """Where documents come from: the committed state that a batch starts from."""

    def load(self, keys: Iterable[str]) -> Mapping[str, bytes]:
        """The bodies under these keys; absent keys are absent."""
        ...

    def find(self, field: str, value: str) -> list[str]:
        """The keys whose indexed field has this value."""
        ...


class TrackedDocuments:
    """Implements `projectors.Documents` over a committed state, and tracks every change.

    `complete` says that the cache began with an empty state and has held every document since: what is
    not in it is nowhere, and nothing is asked of the state.
    """

    def __init__(self, shape: Shape, *, complete: bool = False, capacity: int = CAPACITY) -> None:
        self._shape = shape
        self._state: State | None = None
        self._capacity = capacity
        self._complete = complete
        self._cache: dict[str, Any] = {}  # key -> document, or None: known to be absent
        self._event: dict[str, Any] = {}  # before the event
        self._block: dict[str, Any] = {}  # before the block
        self._batch: dict[str, Any] = {}  # before the batch
        self._undo: list[tuple[int, str, bytes | None]] = []
        self._overlay: dict[tuple[str, str], dict[str, bool]] = {}

    # --- what handlers see ---

    def get(self, key: str) -> Any:
        try:
            return self._cache[key]
        except KeyError:
            self.prefetch((key,))
            return self._cache[key]

    def put(self, key: str, document: Any) -> None:
        self._shape.check(key, document)
        self._set(key, document)

    def delete(self, key: str) -> None:
        if self.get(key) is not None:
            self._set(key, None)

    def find(self, field: str, value: str) -> list[str]:
        if field not in self._shape.index:
            raise ValueRefused(
                f"{field} is not indexed.",
                hint=f'Declare it: index = ("{field}",) in the projector.',
            )
        # Of a complete cache the overlay is the whole index: it saw every put since there was nothing.
        found = set() if self._complete or self._state is None else set(self._state.find(field, value))
        for key, present in self._overlay.get((field, value), {}).items():
            (found.add if present else found.discard)(key)
        return sorted(found)

    def held(self) -> Iterator[tuple[str, Any]]:
        """Every document in memory, by key: those of a complete cache are all there are."""
        return ((key, document) for key, document in self._cache.items() if document is not None)

    # --- what the runner does ---

    def begin(self, state: State) -> None:
        """Starts a batch over this committed state; the cache of the last commit stays valid."""
        self._state = state

    def prefetch(self, keys: Iterable[str]) -> None:
        """Loads what is not cached, and the documents that those link to, in two round trips."""
        wanted = self._load(keys)
        links = self._shape.links
        if links and wanted:
            self._load(
                link
                for key in wanted
                if (document := self._cache[key]) is not None
                for field in links
                if (link := getattr(document, field)) is not None
            )

    def end_event(self, timestamp: int) -> None:
        """Keeps what the event put; stamps the documents in which it changed anything else."""
        touched = self._shape.touched
        for key, before in self._event.items():
            after = self._cache[key]
            if after is None:
                if before is None:
                    continue
            elif touched is not None:
                force_setattr(after, touched, getattr(before, touched) if before else timestamp)
                if after == before:
                    continue
                force_setattr(after, touched, timestamp)
            elif after == before:
                continue
            self._block.setdefault(key, before)
        self._event.clear()

    def discard_event(self) -> None:
        """Takes back whatever the event put."""
        self._restore(self._event)

    def discard_block(self) -> None:
        """Takes back whatever the events of the unfinished block put."""
        self.discard_event()
        self._restore(self._block)

    def end_block(self, number: int, *, keep_undo: bool) -> None:
        """Closes a block; with `keep_undo` its before-images become undo rows."""
        encode = self._shape.encode
        for key, before in self._block.items():
            if keep_undo and self._cache[key] != before:
                self._undo.append((number, key, None if before is None else encode(before)))
            self._batch.setdefault(key, before)
        self._block.clear()

    def take(self) -> Delta:
        """What the batch changed. Call `committed` or `forget` next."""
        encode, indexed = self._shape.encode, self._shape.indexed
        changed: list[tuple[str, bytes | None, bytes | None]] = []
        gone: list[tuple[str, str, str]] = []
        new: list[tuple[str, str, str]] = []
        total = count = 0
        for key, before in self._batch.items():
            after = self._cache[key]
            if before == after:
                continue
            old = None if before is None else encode(before)
            body = None if after is None else encode(after)
            if old is not None:
                total -= weight(key, old)
                count -= 1
            if body is not None:
                total += weight(key, body)
                count += 1
            changed.append((key, old, body))
            was, now = indexed(before), indexed(after)
            if was != now:
                gone.extend((field, value, key) for field, value in was if (field, value) not in now)
                new.extend((field, value, key) for field, value in now if (field, value) not in was)
        changed.sort(key=lambda item: item[0])
        return Delta(changed, sorted(gone), sorted(new), self._undo, total % 2**256, count)

    def committed(self) -> None:
        """The batch is in the state now: the next one starts from it."""
        self._batch.clear()
        self._undo = []
        if not self._complete:
            self._overlay.clear()
        if len(self._cache) > self._capacity:
            self._complete = False
            self._overlay.clear()
            self._cache.clear()

    def forget(self) -> None:
        """Drops everything: the commit failed, or the state moved under the cache."""
        for scope in (self._cache, self._event, self._block, self._batch, self._overlay):
            scope.clear()
        self._undo = []
        self._complete = False

    # --- within ---

    def _set(self, key: str, document: Any) -> None:
        before = self.get(key)
        self._event.setdefault(key, before)
        self._cache[key] = document
        if self._shape.index:
            self._reindex(key, before, document)

    def _reindex(self, key: str, before: Any, after: Any) -> None:
        was, now = self._shape.indexed(before), self._shape.indexed(after)
        if was != now:
            for pair in was:
                self._overlay.setdefault(pair, {})[key] = False
            for pair in now:
                self._overlay.setdefault(pair, {})[key] = True

    def _restore(self, scope: dict[str, Any]) -> None:
        for key, before in scope.items():
            if self._shape.index:
                self._reindex(key, self._cache[key], before)
            self._cache[key] = before
        scope.clear()

    def _load(self, keys: Iterable[str]) -> list[str]:
        missing = [key for key in dict.fromkeys(keys) if key not in self._cache]
        if missing:
            found: Mapping[str, bytes] = {}
            if not self._complete and self._state is not None:
                found = self._state.load(missing)
            decode = self._shape.decode
            for key in missing:
                body = found.get(key)
                self._cache[key] = None if body is None else decode(body)
        return missing
