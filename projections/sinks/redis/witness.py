"""Witnesses: small keys all over a cluster by which the loss of one of its nodes shows.

Law: the marker is one key on one node, so a node that lost its keys alone would take documents with it and
leave a marker that says all is well. A witness is set when a sink is filled from the start, and never else:
one that is missing means that what lay beside it may be missing too, and all is sent again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from projections.sinks.redis.connection import pipeline

GROUPS = 64
"""Witnesses of one sink: a node that has at least so many times fewer slots in a row than there are
(512 in a row) has one. Moved slots take theirs along."""


class Witnesses:
    """The witnesses of the sink whose marker has this key."""

    def __init__(self, marker_key: str) -> None:
        self.names = [f"chainfold:witness:{{{tag}}}:{marker_key}" for tag in _tags()]

    def complete(self, client: Any) -> bool:
        """Is every one of them there?"""
        with pipeline(client) as pipe:
            for name in self.names:
                pipe.exists(name)
            return all(pipe.execute())

    def set(self, client: Any) -> None:
        """Sets them all."""
        with pipeline(client) as pipe:
            for name in self.names:
                pipe.set(name, "1")
            pipe.execute()


def _tags() -> Iterator[str]:
    """For each part of the slots, ascending, a word that hashes into it."""
    width = REDIS_CLUSTER_HASH_SLOTS // GROUPS
    found: dict[int, str] = {}
    number = 0
    while len(found) < GROUPS:
        found.setdefault(key_slot(str(number).encode()) // width, str(number))
        number += 1
    for part in range(GROUPS):
        yield found[part]
