"""A sink in memory: the plain meaning of the port, for tests and where no server is available."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from threading import Lock

import msgspec

from projections.errors import DocumentsRefused, MarkerLost
from projections.sinks import Change, Marker, Value


class MemorySink:
    """Keeps everything, tombstones included, until the process ends. Safe to share among threads.

    `refuses` gives the reason why a change is not taken, None where it is: by default all are.
    """

    def __init__(
        self, name: str = "memory", *, refuses: Callable[[Change], str | None] | None = None
    ) -> None:
        self.name = name
        self.refuses = refuses
        self._held: dict[str, Change] = {}
        self._marker: Marker | None = None
        self._lock = Lock()

    def open(self) -> None:
        """Nothing to connect to."""

    def close(self) -> None:
        """Nothing to let go of; what is held stays, as it would in a server."""

    def marker(self) -> Marker | None:
        with self._lock:
            return self._marker

    def mark(self, new: Marker, *, old: Marker | None) -> None:
        with self._lock:
            if self._marker != old:
                raise MarkerLost(
                    f"The marker in the sink {self.name} is not the one this publisher left there.",
                    hint="It reads the sink's marker again.",
                )
            self._marker = new

    def write(self, changes: Sequence[Change]) -> int:
        newest = {change.key: change for change in sorted(changes, key=lambda c: c.revision)}
        reasons: dict[str, str] = {}
        with self._lock:
            newer = {
                key: change
                for key, change in newest.items()
                if key not in self._held or self._held[key].revision < change.revision
            }
            for key, change in newer.items():
                if self.refuses is not None and (why := self.refuses(change)) is not None:
                    reasons[key] = why
            newer = {key: _copied(change) for key, change in newer.items() if key not in reasons}
            self._held.update(newer)
        if reasons:
            raise DocumentsRefused(f"The sink {self.name}", reasons, written=len(newer))
        return len(newer)

    def read(self, keys: Sequence[str]) -> dict[str, Change]:
        with self._lock:
            return {key: _copied(self._held[key]) for key in keys if key in self._held}

    def scan(self) -> Iterator[Change]:
        with self._lock:
            held = list(self._held.values())
        for change in held:
            yield _copied(change)

    def as_held(self, change: Change) -> Change:
        """`change` as `read` gives it back: here, as it is."""
        return change


def _copied(change: Change) -> Change:
    if change.fields is None:
        return change
    return msgspec.structs.replace(
        change, fields={name: _own(value) for name, value in change.fields.items()}
    )


def _own(value: Value) -> Value:
    """A copy of what can be changed; the rest is shared."""
    match value:
        case list():
            return [_own(item) for item in value]
        case dict():
            return {name: _own(item) for name, item in value.items()}
        case _:
            return value
