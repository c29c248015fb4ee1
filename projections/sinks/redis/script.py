"""The scripts by which Redis compares before it writes, and how they are run: many keys to a call."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from typing import Any

from msgspec import Struct
from redis.cluster import RedisCluster
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterCrossSlotError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from eventstore.storage.batches import batches
from projections.sinks.redis.connection import pipeline


class ScriptCall(Struct, frozen=True, gc=False):
    """The name of a hash, the words of its own, and those that it has in common with others of one call."""

    name: str
    own: list[str | int]
    shared: tuple[str | int, ...] = ()

    @property
    def size(self) -> int:
        """Characters of its name and its own words."""
        return len(self.name) + sum(len(word) for word in self.own if isinstance(word, str))


def _source(name: str) -> str:
    return files("projections.sinks.redis").joinpath(f"{name}.lua").read_text()


WRITE = _source("write")
"""0: the hash holds as new a document; 1: written, its life is not ours; 2: written, with its life; or, in
words, what is wrong with this one hash."""

KEEP = _source("keep")

COMPARE_AND_SET = _source("compare_and_set")

_TOGETHER = 50
"""Keys in one call of `WRITE` on a server that has all of them: a call costs more than a key does."""


_OWN = (
    AskError,
    AuthenticationError,
    ClusterDownError,
    MasterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    TryAgainError,
)
_ALONE = (ClusterCrossSlotError, NoPermissionError)
_OWN_WORDS = frozenset(
    ["OOM", "READONLY", "MASTERDOWN", "LOADING", "NOAUTH", "MISCONF", "NOREPLICAS", "CLUSTERDOWN", "BUSY"]
)
"""Answers that say nothing of a key: by the driver's classes and, where a script hands one on, by word."""


class _Sent(Struct, frozen=True):
    """Calls that go as one."""

    calls: list[ScriptCall]

    def words(self, sha: str) -> list[str | int | bytes]:
        """The command. Names go as bytes: other people's need not be UTF-8, which the driver insists on."""
        names = [call.name.encode("utf-8", "surrogateescape") for call in self.calls]
        shared = self.calls[0].shared
        return [
            "EVALSHA",
            sha,
            len(names),
            *names,
            *shared,
            *(word for call in self.calls for word in call.own),
        ]


class ServerFault(Exception):
    """What a server answered says nothing of a key, but of itself; the message is its own."""


def run(client: Any, script: str, calls: Sequence[ScriptCall]) -> list[int]:
    """What a script answers for each key. One that the server does not know is loaded, and sent again.

    No call spans keys: a cluster takes it as well. Raises what the server answered where that is an error.
    """
    answers = _answers(client, script, [_Sent([call]) for call in calls])
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return [int(done) for [done] in answers]


def write(client: Any, calls: Sequence[ScriptCall]) -> list[int | str]:
    """What `WRITE` answers for each key: a number, or in words why it was not written.

    Many keys go to a call, unless one of them is of a call that is refused: then each goes by itself. In a
    cluster no call spans keys, also where it is one behind a single address. Raises `ServerFault`, or the
    driver's own error, for what says nothing of a key.
    """
    together = 1 if isinstance(client, RedisCluster) else _TOGETHER
    done: list[int | str] = [0] * len(calls)
    alone: list[int] = []
    for places, answer in _parts(client, calls, range(len(calls)), together=together):
        if isinstance(answer, ResponseError) and len(places) > 1:
            _own_trouble(answer)
            alone += places
        else:
            _settle(done, places, answer)
    for places, answer in _parts(client, calls, alone, together=1):
        _settle(done, places, answer)
    return done


def may_write(client: Any, name: str) -> None:
    """Raises `ServerFault` where this user may not so much as look into a hash of this name by a script."""
    [answer] = _answers(client, KEEP, [_Sent([ScriptCall(name, ["-1", 0, 0])])])
    if isinstance(answer, Exception):
        raise ServerFault(str(answer)) from answer


def _parts(
    client: Any, calls: Sequence[ScriptCall], chosen: Iterable[int], *, together: int
) -> Iterator[tuple[list[int], Any]]:
    """The places of those that went in one call, and what it was answered."""
    alike: dict[tuple[str | int, ...], list[int]] = {}
    for place in chosen:
        alike.setdefault(calls[place].shared, []).append(place)
    parts = [part for same in alike.values() for part in batches(same, together)]
    answers = _answers(client, WRITE, [_Sent([calls[place] for place in part]) for part in parts])
    return zip(parts, answers, strict=True)


def _answers(client: Any, script: str, parts: Sequence[_Sent]) -> list[Any]:
    sha = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
    answers: list[Any] = [None] * len(parts)
    missing = list(range(len(parts)))
    for _ in range(3):
        with pipeline(client) as pipe:
            for index in missing:
                pipe.execute_command(*parts[index].words(sha))
            for index, answer in zip(missing, pipe.execute(raise_on_error=False), strict=True):
                answers[index] = answer
        missing = [index for index in missing if isinstance(answers[index], NoScriptError)]
        if not missing:
            break
        client.script_load(script)
    return answers


def _settle(done: list[int | str], places: Sequence[int], answer: Any) -> None:
    """Writes down what a call was answered, for each of its keys."""
    if isinstance(answer, ResponseError):
        _own_trouble(answer)
        answer = [str(answer)]
    elif isinstance(answer, Exception):
        raise answer
    for place, of in zip(places, answer, strict=True):
        if isinstance(of, str):
            _own_trouble(ResponseError(of))
        done[place] = of if isinstance(of, str) else int(of)


def _own_trouble(error: ResponseError) -> None:
    """Raises `ServerFault` for an answer that says nothing of a key: no room, a replica, loading."""
    said = str(error)
    if not isinstance(error, _ALONE) and (isinstance(error, _OWN) or said.partition(" ")[0] in _OWN_WORDS):
        raise ServerFault(said) from error
