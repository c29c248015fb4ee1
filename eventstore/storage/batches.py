"""Items in groups of a bounded size, as they come: what is asked for or written together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of `size` items each, the last one perhaps shorter, never empty."""
    every = iter(items)
    while some := list(islice(every, size)):
        yield some
