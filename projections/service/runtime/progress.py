"""How work is shown while it lasts: the application takes these callbacks, the terminal provides them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from msgspec import Struct

from projections.service.records.requests import Requests
from projections.service.runtime.loops import Failed, Observer, Stepped

Advance = Callable[[int, int], None]
"""Called with how much is done, and of how much."""

Steps = Callable[[], AbstractContextManager[Observer]]
"""Opens a display of stages, and yields the observer of their steps."""


class Progress(Struct, frozen=True):
    """Displays of work, each open as long as the work lasts.

    `steps` shows stages by their records, `counted` one piece of work by its name, and `following` how far
    the holder of a lease is with a request: it takes the requests, the lease and the name to show.
    """

    steps: Steps
    counted: Callable[[str], AbstractContextManager[Advance]]
    following: Callable[[Requests, str, str], AbstractContextManager[None]]


@contextmanager
def _no_steps() -> Iterator[Observer]:
    def ignore(_event: Stepped | Failed) -> None: ...

    yield ignore


@contextmanager
def _no_count(_name: str) -> Iterator[Advance]:
    def ignore(_done: int, _of: int) -> None: ...

    yield ignore


@contextmanager
def _no_following(_requests: Requests, _lease: str, _name: str) -> Iterator[None]:
    yield


SILENT = Progress(_no_steps, _no_count, _no_following)
"""Shows nothing: for tests, benchmarks and programs that embed the service."""
