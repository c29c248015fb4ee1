"""`[fold]` as it is used: how much memory the folds of a process may take, and how often a build commits."""

from __future__ import annotations

import re
from collections.abc import Callable

from msgspec import Struct

from eventstore.storage.store import PAGE_CACHE
from projections.errors import ConfigurationError
from projections.service.config.tables import FoldTable

BASE = 96 * 2**20
"""Bytes that documents do not take: the interpreter and its libraries, a page of logs with its events, the
part of a commit that is being written, and the holes that documents leave."""

HOLES = 24
"""Beyond 256 MB one byte in so many is left to more of those holes: five million events took 2 MiB more."""

LEAST = 32 * 2**20
"""Bytes for documents in any case: with less, the fold would read the same ones again and again."""

LEAST_ANSWER = 2**20
"""Bytes of a node's answer that must be allowed."""

MOST_ANSWER = 512 * 2**20
"""Bytes of a node's answer that may be allowed: what is in one must find room in a line of a backup."""

_UNITS = {"KB": 2**10, "MB": 2**20, "GB": 2**30}


class Folding(Struct, frozen=True):
    """`memory` in bytes for the whole process, `commit_every` in seconds."""

    memory: int
    commit_every: float

    def room(self, folds: int, *, sqlite: bool) -> int:
        """Bytes for the documents of each of so many folds."""
        holes = max(0, self.memory - 256 * 2**20) // HOLES
        return max(self.memory - BASE - PAGE_CACHE * sqlite - holes, LEAST) // max(1, folds)


def amount(text: str, where: str) -> int:
    """Bytes, written as 512MB or 2GB."""
    found = re.fullmatch(r"([0-9]{1,9}) ?(KB|MB|GB)", text)
    if found is None:
        raise ConfigurationError(f"{where}: {text!r} is not an amount of memory.", hint="Write 512MB or 2GB.")
    return int(found.group(1)) * _UNITS[found.group(2)]


def answers(chosen: str | None, where: str, *, memory: int) -> int:
    """The most bytes of a node's answer: as chosen, else a quarter of the fold's memory."""
    if chosen is None:
        return min(memory // 4, MOST_ANSWER)
    most = amount(chosen, where)
    if most > MOST_ANSWER:
        raise ConfigurationError(f"{where}: {chosen} is too much: at most {MOST_ANSWER // 2**20}MB are read.")
    if most < LEAST_ANSWER:
        raise ConfigurationError(
            f"{where}: {chosen} is too little: single blocks were seen to take {LEAST_ANSWER // 2**20}MB."
        )
    return most


def folding(table: FoldTable, seconds: Callable[[str, str], float]) -> Folding:
    """`[fold]`, checked."""
    memory = amount(table.memory, "fold.memory")
    least = BASE + PAGE_CACHE + LEAST
    if memory < least:
        raise ConfigurationError(
            f"fold.memory: {table.memory} is too little: {least // 2**20}MB are needed without any "
            "documents to speak of."
        )
    return Folding(memory, seconds(table.commit_every, "fold.commit_every"))
