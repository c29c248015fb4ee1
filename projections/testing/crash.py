"""Dying on purpose: the places where a process can die, a lease and a sink that die there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Connection

from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from projections.sinks import Change, Marker
from projections.sinks.memory import MemorySink


class Crash(BaseException):
    """The process is gone. No handler of errors sees it."""


class Fuse:
    """Counts the places where a process can die, and lets it die at one of them."""

    def __init__(self) -> None:
        self._left: int | None = None
        self.where = ""

    def arm(self, place: int) -> None:
        self._left = place

    def passes(self, where: str) -> None:
        """Called at each place; raises at the chosen place, and nowhere after it."""
        if self._left is None:
            return
        self._left -= 1
        if self._left < 0:
            self._left, self.where = None, where
            raise Crash(where)


class MortalLease(Lease):
    """The lease of a process that may die before or after a commit, and of the one after it."""

    def __init__(self, store: Store, name: str, fuse: Fuse) -> None:
        super().__init__(store, name, owner="kit||0|0")
        self._fuse = fuse

    @contextmanager
    def commit(self) -> Iterator[Connection]:
        with super().commit() as tx:
            yield tx
            self._fuse.passes(f"before a commit of {self.name}")
        self._fuse.passes(f"after a commit of {self.name}")

    def renew(self) -> None:
        """Writes nothing that a crash could lose."""
        with super().commit():
            pass


class MortalSink(MemorySink):
    """The sink in memory, which outlives the process that dies while it writes."""

    def __init__(self, fuse: Fuse) -> None:
        super().__init__()
        self._fuse = fuse

    def write(self, changes: Sequence[Change]) -> int:
        self._fuse.passes("before a write to the sink")
        half = len(changes) // 2
        written = super().write(changes[:half])
        self._fuse.passes("within a write to the sink")
        written += super().write(changes[half:])
        self._fuse.passes("after a write to the sink")
        return written

    def mark(self, new: Marker, *, old: Marker | None) -> None:
        self._fuse.passes("before the sink's marker was set")
        super().mark(new, old=old)
        self._fuse.passes("after the sink's marker was set")
