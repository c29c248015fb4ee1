"""The port of the fold's documents to the state that was committed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol


class CommittedState(Protocol):
    """The documents of the last commit, which a page starts from."""

    def load(self, keys: Iterable[str]) -> Mapping[str, bytes]:
        """The bodies under these keys; absent keys are absent."""
        ...

    def find(self, field: str, value: str) -> list[str]:
        """The keys whose indexed field has this value."""
        ...

    def find_all(self, field: str, values: Sequence[str], *, limit: int) -> Mapping[str, list[str]]:
        """The same for many values, `limit` keys at most; values that would take more are absent."""
        ...
