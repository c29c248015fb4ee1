"""What a measured step hands back, and what says that two roads led to the same graph."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from time import perf_counter, process_time

from msgspec import Struct, field


class User(Struct, frozen=True, gc=False):
    """What all roads must agree on. Times are left out: the floor keeps none."""

    direct: str | None
    indirect: str | None
    level1: int
    level2: int


class Stopwatch:
    """Counts while its block runs: `seconds` on the wall, `cpu` of this process."""

    seconds = 0.0
    cpu = 0.0

    def __enter__(self) -> Stopwatch:
        self._began, self._computed = perf_counter(), process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds, self.cpu = perf_counter() - self._began, process_time() - self._computed


class Outcome(Struct, frozen=True):
    """`seconds` is the step alone, without imports and connections; `parts` of it, where it has any.

    `cpu` are the seconds that our own process computed meanwhile: node and database server are not in it,
    and neither is what a busy machine made us wait. `peak` is the process's largest resident set in bytes.
    """

    seconds: float
    cpu: float
    events: int
    documents: int = 0
    digest: str = ""
    parts: dict[str, float] = field(default_factory=dict)
    peak: int = 0


def fingerprint(users: Mapping[str, User]) -> str:
    """Equal exactly where the graphs are."""
    digest = sha256()
    for key in sorted(users):
        user = users[key]
        digest.update(f"{key} {user.direct} {user.indirect} {user.level1} {user.level2}\n".encode())
    return digest.hexdigest()
