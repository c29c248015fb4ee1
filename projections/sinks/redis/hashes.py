"""Documents as hashes: the key of each, the fields that are written into it, and back."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from projections.errors import ConfigurationError
from projections.sinks import Change, Value
from projections.sinks.redis.script import ScriptCall
from projections.sinks.redis.text import text

MARK = ("revision", "block", "removed")
"""The fields of a hash that carry our mark."""


class Hashes:
    """The hashes of one projection under the pattern `key`, such as `user:{address}`.

    A hash lives `ttl` seconds after its last write (None: for ever), and the revision of a removed document
    `grace` seconds. Raises `ConfigurationError` when pattern, fields or ttl cannot be used.
    """

    def __init__(
        self,
        key: str,
        key_field: str,
        fields: tuple[str, ...],
        *,
        ttl: int | None,
        grace: float,
        projection: str,
    ) -> None:
        self.before, found, self.after = key.partition(f"{{{key_field}}}")
        if not found or "{" in self.before + self.after:
            raise ConfigurationError(
                f"The Redis key {key} of {projection} must name {{{key_field}}} once, and no other field."
            )
        if taken := sorted(set(fields) & set(MARK)):
            raise ConfigurationError(
                f"{projection} has the field {taken[0]}, which in Redis carries chainfold's own mark.",
                hint="Leave it out of redis.fields.",
            )
        if ttl is not None and ttl <= 0:
            raise ConfigurationError(f"The Redis ttl of {projection} is {ttl}; it must be positive.")
        self.names = [*MARK, *fields]
        self._key_field = key_field
        self._fields = fields
        self._all = frozenset(fields)
        self._ttl = ttl or 0
        self._grace = max(1, math.ceil(grace))

    def name(self, key: str) -> str:
        """The key in Redis of the document under `key`."""
        return f"{self.before}{key}{self.after}"

    def call(self, change: Change, seconds: int | None = None) -> ScriptCall:
        """What the script writes for a change, to live `seconds` at most.

        Nearly all changes have the same names of fields: the calls of a batch share them.
        """
        names: tuple[str, ...]
        gone: tuple[str, ...]
        if change.fields is None:
            names, gone, values, life = ("removed",), self._fields, ["1"], self._grace
        else:
            given, names, gone, life = change.fields, self._fields, ("removed",), self._ttl
            if not self._all <= given.keys():
                given = {self._key_field: change.key, **given}
                names = tuple(name for name in names if name in given)
                gone += tuple(name for name in self._fields if name not in given)
            values = [text(given[name]) for name in names]
        life = life if seconds is None else min(seconds, life or seconds)
        longest = max(self._ttl, self._grace)
        shared: tuple[str | int, ...] = (change.block, life, longest, len(names), len(gone), *names, *gone)
        return ScriptCall(self.name(change.key), [change.revision, *values], shared)

    def keep_call(self, change: Change) -> ScriptCall:
        """What the script needs to give a filled hash the life of a published one."""
        life = self._grace if change.fields is None else self._ttl
        ours = 3 if change.fields is None else 2 + len(self.as_held(change).fields or {})
        return ScriptCall(self.name(change.key), [change.revision, life, ours])

    def change(self, key: str, answer: Sequence[str | None]) -> Change | None:
        """The change behind the values of `names`; None when the hash does not carry our mark."""
        revision, block, removed, *values = answer
        if revision is None or not revision.isdecimal():
            return None
        held: dict[str, Value] = {
            name: value for name, value in zip(self._fields, values, strict=True) if value is not None
        }
        return Change(key, int(revision), int(block or 0), None if removed else held)

    def as_held(self, change: Change) -> Change:
        """`change` as it is read back: our fields only, as text."""
        if change.fields is None:
            return change
        given = {self._key_field: change.key, **change.fields}
        fields: dict[str, Value] = {n: text(given[n]) for n in self._fields if n in given}
        return msgspec.structs.replace(change, fields=fields)
