"""Redis: one hash per document. No command needs to span keys: a cluster serves as well as one server.

The law: a small script compares revisions, key by key, and writes in one step: the newest wins. A
hash may hold the application's fields beside ours; they stay, and such a hash gets no expiry of us. One that
we gave before the application added its field is taken back by our next write, if it is no longer than ours.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import Any, Literal

import msgspec
import redis
from redis.cluster import RedisCluster
from redis.exceptions import RedisClusterException, RedisError

from eventstore.redaction import public
from eventstore.storage.batches import batches
from projections.errors import (
    ConfigurationError,
    DocumentsRefused,
    MarkerLost,
    SinkError,
    SinkUnavailable,
)
from projections.sinks import Change, Marker
from projections.sinks.redis.connection import connect, is_cluster, pipeline, told
from projections.sinks.redis.hashes import Hashes
from projections.sinks.redis.script import (
    COMPARE_AND_SET,
    KEEP,
    ScriptCall,
    ServerFault,
    may_write,
    run,
    write,
)
from projections.sinks.redis.trial import tried
from projections.sinks.redis.witness import Witnesses

PATIENCE = 60.0
"""Seconds in which an answer to the largest write has come."""

_BATCH = 1_000
_LARGE = 2**20
"""Characters from which on a value may be why a server hung up: none of its limits is lower
(`proto-max-bulk-len`, `client-query-buffer-limit`)."""


class RedisSink:
    """One projection's documents as hashes under `key`, whose `{address}` stands for the key field.

    Values are text: integers decimal, booleans 1 and 0, null the empty string, times in seconds,
    anything deeper JSON. `ttl` is how many seconds a hash lives after its last write (None: for ever);
    an expired one is not a difference. Of a removed document the revision stays for `grace` seconds,
    which must be longer than any lease. What was written is as durable as the server's persistence.
    An answer is waited for `patience` seconds.
    """

    name = "redis"
    expires: Literal[True] = True

    def __init__(
        self,
        url: str,
        *,
        key: str = "user:{address}",
        key_field: str = "address",
        fields: tuple[str, ...],
        ttl: int | None,
        projection: str,
        grace: float = 3600,
        patience: float = PATIENCE,
    ) -> None:
        self._url = url
        self._patience = patience
        self._pattern = key
        self._hashes = Hashes(key, key_field, fields, ttl=ttl, grace=grace, projection=projection)
        self._projection = projection
        self._client: redis.Redis | RedisCluster | None = None
        self._connecting = Lock()
        self._witnesses = Witnesses(self._marker_key) if is_cluster(url) else None
        self._lost: tuple[Marker, Marker] | None = None
        """What was shown as the marker, and what it is, where a part of the cluster was lost."""

    def open(self) -> None:
        with self._translated():
            self._connected().ping()

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def marker(self) -> Marker | None:
        """The marker; where a part of a cluster was lost, as if nothing had been sent yet."""
        self._lost = None
        with self._translated():
            held: Any = self._connected().hgetall(self._marker_key)
            if not held:
                return None
            found = msgspec.convert(held, Marker, strict=False)
            if self._witnesses is None or self._witnesses.complete(self._connected()):
                return found
        shown = msgspec.structs.replace(found, revision=0, key="")
        self._lost = (shown, found)
        return shown

    def mark(self, new: Marker, *, old: Marker | None) -> None:
        restored = old is None
        if old is not None and self._lost is not None and old == self._lost[0]:
            old, restored = self._lost[1], True
        known = _flat(old) if old else []
        with self._translated():
            words: list[str | int] = [len(known), *known, *_flat(new)]
            [done] = run(self._connected(), COMPARE_AND_SET, [ScriptCall(self._marker_key, words)])
        if not done:
            raise MarkerLost(
                f"The marker of {self._pattern} in Redis is not the one this publisher left there.",
                hint="It reads the sink's marker again.",
            )
        self._lost = None
        if restored and self._witnesses is not None:  # after the marker: who dies between fills once more
            with self._translated():
                self._witnesses.set(self._connected())

    def evicts(self) -> bool:
        """Has the server dropped keys that were to live for ever, so that the marker may be among them?"""
        with self._translated():
            return any(
                str(node.get("maxmemory_policy", "")).startswith("allkeys") and node.get("evicted_keys", 0)
                for node in told(self._connected(), "memory", "stats")
            )

    def trial(self) -> list[str]:
        """Tries what publishing needs, and leaves nothing behind: see `trial.tried`."""
        with self._translated():
            of = told(self._connected(), "memory", "replication")
            return tried(self._connected(), of, before=self._hashes.before, after=self._hashes.after)

    def write(self, changes: Sequence[Change]) -> int:
        newest = list({change.key: change for change in sorted(changes, key=lambda c: c.revision)}.values())
        applied, reasons = 0, dict[str, str]()
        with self._translated():
            for some in batches(newest, _BATCH):
                done = self._write([self._hashes.call(change) for change in some])
                reasons |= {c.key: said for c, said in zip(some, done, strict=True) if isinstance(said, str)}
                applied += sum(1 for answer in done if answer and not isinstance(answer, str))
            if len(reasons) == len(newest) > 0:
                may_write(self._connected(), self._hashes.name("chainfold"))
        if reasons:
            raise DocumentsRefused(f"Redis ({self._pattern})", reasons, written=applied)
        return applied

    def _write(self, calls: list[ScriptCall]) -> list[int | str]:
        """Writes, of every hash by itself: where a server hangs up on a value that is too large for it, the
        calls are halved until that one stands alone."""
        client = self._connected()
        try:
            return write(client, calls)
        except redis.ConnectionError as error:
            if sum(call.size for call in calls) < _LARGE:
                raise
            client.ping()
            if len(calls) == 1:
                return [f"{calls[0].size:,} characters are more than the server takes: {error}"]
        middle = len(calls) // 2
        return self._write(calls[:middle]) + self._write(calls[middle:])

    def fill(self, changes: Sequence[Change], *, seconds: int) -> list[Change]:
        """Writes as `write` does, what a reader missed, to live `seconds` only; those that it gave that life.

        They live on when they are `keep`t, which is for who has looked that they are still the newest.
        """
        if not changes:
            return []
        with self._translated():
            done = write(self._connected(), [self._hashes.call(change, seconds) for change in changes])
        return [change for change, answer in zip(changes, done, strict=True) if answer == 2]

    def keep(self, changes: Sequence[Change]) -> None:
        """Gives what was filled the life of what was published, where it is still what the hash holds."""
        if not changes:
            return
        calls = [self._hashes.keep_call(change) for change in changes]
        with self._translated():
            run(self._connected(), KEEP, calls)

    def read(self, keys: Sequence[str]) -> dict[str, Change]:
        found: dict[str, Change] = {}
        with self._translated():
            for start in range(0, len(keys), _BATCH):
                found |= {change.key: change for change in self._read(keys[start : start + _BATCH])}
        return found

    def scan(self) -> Iterator[Change]:
        """Every hash under our key pattern that carries a revision.

        A key may show twice while the server resizes its table: that is SCAN's own promise.
        """
        match = f"{_literal(self._hashes.before)}*{_literal(self._hashes.after)}"
        some: list[str] = []
        with self._translated():
            for name in self._connected().scan_iter(match, count=_BATCH, _type="hash"):
                some.append(str(name)[len(self._hashes.before) : len(str(name)) - len(self._hashes.after)])
                if len(some) == _BATCH:
                    yield from self._read(some)
                    some = []
            yield from self._read(some)

    def as_held(self, change: Change) -> Change:
        return self._hashes.as_held(change)

    def _read(self, keys: Sequence[str]) -> Iterator[Change]:
        with pipeline(self._connected()) as pipe:
            for key in keys:
                pipe.hmget(self._hashes.name(key).encode("utf-8", "surrogateescape"), self._hashes.names)
            answers = pipe.execute(raise_on_error=False)
        for key, answer in zip(keys, answers, strict=True):
            if isinstance(answer, redis.ResponseError) and "WRONGTYPE" in str(answer):
                continue  # a key of another type, which is not ours, is not a document
            if isinstance(answer, Exception):
                raise answer
            if (change := self._hashes.change(key, answer)) is not None:
                yield change

    @property
    def _marker_key(self) -> str:
        return f"chainfold:marker:{self._pattern}"

    def _connected(self) -> Any:
        with self._connecting:  # readers of several threads may be the first
            if self._client is None:
                try:
                    self._client = connect(self._url, patience=self._patience)
                except ValueError:  # it quotes the address
                    raise ConfigurationError(
                        f"The address of Redis, {public(self._url)}, cannot be used.",
                        hint="It has the form redis://user:password@host:port/0.",
                    ) from None
            return self._client

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (RedisError, RedisClusterException, ServerFault, OSError) as error:
            raise SinkUnavailable(f"Redis at {public(self._url)} failed: {error}") from error
        except UnicodeError as error:
            raise SinkError(f"A value cannot be stored in Redis: {error}") from error


def _flat(marker: Marker) -> list[str]:
    return [str(item) for pair in msgspec.structs.asdict(marker).items() for item in pair]


def _literal(part: str) -> str:
    """`part` with the glob characters of SCAN MATCH taken literally."""
    return re.sub(r"([\\*?\[\]^])", r"\\\1", part)
