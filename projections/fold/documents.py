"""The fold's documents in memory: what handlers see, and what they changed since the last commit.

`state.py` writes the changes to SQL.

Law: a document is written once per commit, and above finality its before-image is kept once per block.
Three scopes nest: an event (whose puts are discarded if its handler raises), a block (whose before-images
become undo rows), and what lies between two commits (which becomes `Delta`s). What is cached holds for the
commit it came from: after a failed commit everything is forgotten.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from msgspec.structs import force_setattr

from eventstore.storage.batches import batches
from projections.errors import ValueRefused
from projections.fold.committed import CommittedState
from projections.fold.delta import PART, Delta, Whole, differing
from projections.fold.document_type import Shape
from projections.fold.index import KNOWN, Known, Lookup
from projections.values.kinds import is_key, shown

ROOM = 256 * 2**20
"""Bytes that documents may take in memory: the default."""

_ENTRY, _FOUND = 80, 40
"""Bytes of a document's place in the dictionaries, and in the lookup of one field, as measured."""

_SAMPLE = 64
"""Documents that are looked at to know how large they are."""


class TrackedDocuments:
    """Implements `projectors.Documents` over a committed state, and tracks every change.

    `complete` says that memory began with an empty state and has held every document since: what is not in
    it is nowhere, nothing is asked of the state, and `get` is the dictionary's own.
    """

    get: Callable[[str], Any]
    """The document under a key, or None; a copy, where something within it could be changed in place."""

    _held: Callable[[str], Any]
    """The document itself."""

    def __init__(self, shape: Shape, *, complete: bool = False, room: int = ROOM) -> None:
        self._shape = shape
        self._state: CommittedState | None = None
        self._room = room
        self._cache: dict[str, Any] = {}  # key -> document, or None: known to be absent
        self._event: dict[str, Any] = {}  # before the event
        self._block: dict[str, Any] = {}  # before the block
        self._batch: dict[str, Any] = {}  # before the batch; not kept while nothing was ever committed
        self._undo: list[tuple[int, str, bytes | None]] = []
        self._lookup = Lookup(shape.index, whole=complete)
        self._known = Known()
        self._fresh = complete
        self._placed: dict[str, Any] = {}  # what the lookup learnt within the event
        self._settle, self._look = shape.settle, shape.look
        self._become(complete=complete)

    # --- what handlers see ---

    def put(self, key: str, document: Any) -> None:
        """The document is validated when the event ends or an index is asked: once, however often put."""
        event = self._event
        if key not in event:
            event[key] = self._held(key)
        self._cache[key] = document

    def delete(self, key: str) -> None:
        before = self._held(key)
        if before is not None:
            key = str.__str__(key)  # a plain str, of a subclass too: only that may become a key
            self._event.setdefault(key, before)
            self._cache[key] = None

    def find(self, field: str, value: str) -> list[str]:
        if field not in self._shape.index:
            raise ValueRefused(
                f"{field} is not indexed.",
                hint=f'Declare it: index = ("{field}",) in the projector.',
            )
        if value is not None and not isinstance(value, str):
            raise ValueRefused(
                f"find was asked for {field} = {shown(value)}; it takes text.", hint="Ask for str(...) of it."
            )
        if self._event:
            self._place()
        if value is None or not is_key(value):
            return []  # null is in no index, and what no document may hold stands nowhere
        value = str.__str__(value)
        if self._complete or self._state is None:
            return self._lookup.over(field, value, ())
        keys = self._lookup.over(field, value, self._known.find(field, value, self._state.find))
        self._load(keys)  # a handler that looks for them wants them
        return keys

    def held(self) -> Iterator[tuple[str, Any]]:
        """Every document in memory, by key: those of a complete cache are all there are."""
        return ((key, document) for key, document in self._cache.items() if document is not None)

    # --- what the runner does ---

    def begin(self, state: CommittedState) -> None:
        """Starts a page over this committed state; the cache of the last commit stays valid."""
        self._state = state

    def prefetch(self, keys: Iterable[str]) -> None:
        """Loads what is not cached, and what those link to, two links far, in a round trip each."""
        if self._complete:
            return
        wanted, links = list(dict.fromkeys(filter(is_key, keys))), self._shape.links
        self._load(wanted)
        for _ in range(2 if links else 0):
            found = (self._cache[key] for key in wanted)
            named = (getattr(item, field) for item in found if item is not None for field in links)
            wanted = list(dict.fromkeys(key for key in named if key is not None))
            self._load(wanted)

    def look_up(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Asks for these (field, value), which handlers will `find`, together, and loads what is found."""
        if self._complete or self._state is None:
            return
        by_field: dict[str, set[str]] = {}
        for field, value in wanted:
            if field in self._shape.index and is_key(value) and not self._known.knows(field, value):
                by_field.setdefault(field, set()).add(value)
        for field, values in by_field.items():
            answers = self._state.find_all(field, sorted(values), limit=KNOWN // 2)
            self._known.learn(field, answers)
            self._load(dict.fromkeys(key for keys in answers.values() for key in keys))

    def restore(self, bodies: Mapping[str, bytes | None]) -> None:
        """Puts documents back to what they were at an earlier block; None: there was none then. The next
        commit writes what then differs from the state."""
        self._load(bodies)
        for key, body in bodies.items():
            now, then = self._cache[key], None if body is None else self._shape.decode(body)
            if not self._fresh:
                self._batch.setdefault(key, now)
            self._cache[key] = then
            self._lookup.move(key, now, then)

    def end_event(self, timestamp: int) -> None:
        """Keeps what the event put; stamps the documents in which it changed anything else.

        Raises `ValueRefused` when something is not a document; the caller then discards the event.
        """
        event, cache, placed = self._event, self._cache, self._placed
        moved = self._settle(event, cache, self._block, timestamp, self._look)
        if placed:
            moved = [(key, placed.get(key, before), cache[key]) for key, before in event.items()]
            placed.clear()
        for key, before, after in moved:
            self._lookup.move(key, before, after)
        event.clear()

    def discard_event(self) -> None:
        """Takes back all that the event put."""
        for key, placed in self._placed.items():
            self._lookup.move(key, placed, self._event[key])
        self._placed.clear()
        self._restore(self._event)

    def discard_block(self) -> None:
        """Takes back all that the events of the unfinished block put."""
        self.discard_event()
        for key, before in self._block.items():
            self._lookup.move(key, self._cache[key], before)
        self._restore(self._block)

    def end_block(self, number: int, *, keep_undo: bool) -> None:
        """Closes a block; with `keep_undo` its before-images become undo rows."""
        if keep_undo:
            encode, same = self._shape.encode, self._shape.same
            for key, before in self._block.items():
                if not same(self._cache[key], before):
                    self._undo.append((number, key, None if before is None else encode(before)))
        if not self._fresh:
            batch = self._batch
            for key, before in self._block.items():
                if key not in batch:
                    batch[key] = before
        self._block.clear()

    @property
    def crowded(self) -> bool:
        """Do the documents take more memory than they may? Then commit, which makes room."""
        return self._size() > self._room

    @property
    def whole(self) -> Whole | None:
        """All documents, where nothing was ever committed; else `take` says what changed."""
        return Whole(self._shape, self._cache, self._lookup) if self._fresh else None

    def take(self) -> Iterator[Delta]:
        """What changed since the last commit, but for what `whole` has. Call `committed` or `forget` when all
        of it is written."""
        for keys in batches(() if self._fresh else sorted(self._batch), PART):
            yield from differing(keys, self._batch, self._cache, self._shape)
        if self._undo:
            yield Delta([], [], [], self._undo, 0, 0)

    def committed(self) -> None:
        """All of it is in the state now: what comes next starts from there."""
        self._batch.clear()
        self._undo = []
        self._fresh = False
        if not self._complete:
            self._known.commit(self._lookup)
            self._lookup.clear(whole=False)
        if self.crowded or (not self._complete and 2 * self._size() > self._room):
            self._shed()  # so much that the next commit is not due at once

    def forget(self) -> None:
        """Drops everything: the commit failed, or the state moved under the cache."""
        for scope in (self._cache, self._event, self._placed, self._block, self._batch):
            scope.clear()
        self._undo = []
        self._fresh = False
        self._lookup.clear(whole=False)
        self._known.clear()
        self._become(complete=False)

    # --- within ---

    def _become(self, *, complete: bool) -> None:
        self._complete = complete
        self._held = self._cache.get if complete else self._loaded
        self.get = self._copied if self._shape.changeable else self._held

    def _copied(self, key: str) -> Any:
        """A copy: what a handler changes in place is in no document before it is put."""
        held = self._held(key)
        return None if held is None else self._shape.own(held)

    def _loaded(self, key: str) -> Any:
        try:
            return self._cache[key]
        except KeyError:
            if not is_key(key):
                return None  # no document stands there, and no database is asked
            self.prefetch((str.__str__(key),))
            return self._cache[key]

    def _place(self) -> None:
        """Brings the lookup up to what the event has put so far."""
        for key, before in self._event.items():
            after = self._cache[key]
            if after is not None:
                self._look(key, after)
                after = after.__copy__()  # what was put is stamped when the event ends
            self._lookup.move(key, self._placed.get(key, before), after)
            self._placed[key] = after

    def _restore(self, scope: dict[str, Any]) -> None:
        for key, before in scope.items():
            if before is not None or key.__class__ is str:
                self._cache[key] = before
            else:
                del self._cache[key]  # what was put under it was refused for that
        scope.clear()

    def _load(self, keys: Iterable[str]) -> None:
        cache, shape = self._cache, self._shape
        missing = [key for key in keys if key not in cache]
        if not missing:
            return
        found = {} if self._state is None else self._state.load(missing)
        for key in missing:
            body = found.get(key)
            if body is None:
                cache[key] = None
                continue
            document = cache[key] = shape.decode(body)
            force_setattr(document, shape.key, key)  # one string under both names

    def _shed(self) -> None:
        """Keeps the newest, a third of what there is room for; the rest is read again when it is wanted."""
        whole, held = self._size(), len(self._cache)
        self._become(complete=False)
        self._lookup.clear(whole=False)
        kept = list(islice(self._cache.items(), held - held * self._room // (3 * whole), None))
        self._cache.clear()
        self._cache.update(kept)

    def _size(self) -> int:
        """About how many bytes all this takes, by the newest documents."""
        newest = [item for item in islice(reversed(self._cache.values()), _SAMPLE) if item is not None]
        sizes = [sys.getsizeof(item) + len(self._shape.encode(item)) for item in newest]
        each = sum(sizes) // max(1, len(sizes)) + _ENTRY
        found = len(self._shape.index) * _FOUND if self._complete else 0
        return len(self._cache) * (each + found) + (len(self._batch) + len(self._undo)) * each
