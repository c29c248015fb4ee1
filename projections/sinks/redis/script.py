"""The scripts by which Redis compares before it writes, and how they are run: many keys to a call."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from redis.cluster import RedisCluster
from redis.exceptions import ClusterCrossSlotError, NoScriptError, ResponseError

from eventstore.batches import batches
from projections.errors import KeyConflict
from projections.sinks.redis.connection import pipeline


class Call(Struct, frozen=True, gc=False):
    """The name of a hash, the words of its own, and those that it has in common with others of one call."""

    name: str
    own: list[str | int]
    shared: tuple[str | int, ...] = ()


WRITE = """
-- KEYS: hashes; ARGV: block, seconds to live (0: for ever), how many fields are set, how many go, names of
-- those, names of these; then for one hash after the other its revision and the values of the fields that are
-- set. Revisions are exact below 2^53.
local block, life, count, going = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local first, last = 5 + count, 4 + count + going  -- of the names that go
local only_mark = going == 1 and ARGV[first] == 'removed'  -- which few hashes have to lose
local set = {'revision', '', 'block', block}
for i = 1, count do set[3 + 2 * i] = ARGV[4 + i] end
local at = last + 1
local function write(key)
  local revision, values = ARGV[at], at
  at = at + 1 + count
  local held = redis.pcall('HMGET', key, 'revision', 'removed')
  if held.err then return held.err end
  local newest = tonumber(held[1] or '-1')
  if not newest then return 'WRONGTYPE its revision is no number' end
  if newest >= tonumber(revision) then return 0 end
  set[2] = revision
  for i = 1, count do set[4 + 2 * i] = ARGV[values + i] end
  redis.call('HSET', key, unpack(set))
  if going > 0 and (held[2] or not only_mark) then redis.call('HDEL', key, unpack(ARGV, first, last)) end
  if redis.call('HLEN', key) > count + 2 then
    if held[2] then redis.call('PERSIST', key) end
    return 1
  end
  if life == '0' then redis.call('PERSIST', key) else redis.call('EXPIRE', key, life) end
  return 2
end
local done = {}
for i, key in ipairs(KEYS) do done[i] = write(key) end
return done
"""
"""0: the hash holds as new a document; 1: written, its life is not ours; 2: written, with its life; or, in
words, what is wrong with this one hash."""

KEEP = """
-- KEYS[1] the hash; ARGV: the revision that it must hold, seconds to live, how many fields are ours.
if redis.call('HGET', KEYS[1], 'revision') ~= ARGV[1] then return {0} end
if ARGV[2] == '0' or redis.call('HLEN', KEYS[1]) > tonumber(ARGV[3]) then redis.call('PERSIST', KEYS[1])
else redis.call('EXPIRE', KEYS[1], ARGV[2]) end
return {1}
"""

COMPARE_AND_SET = """
-- KEYS[1] the marker; ARGV: how many fields and values the old one has (0: absent), old, new.
local count = tonumber(ARGV[1])
if count == 0 and redis.call('EXISTS', KEYS[1]) == 1 then return {0} end
for i = 2, count, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) ~= ARGV[i + 1] then return {0} end
end
redis.call('HSET', KEYS[1], unpack(ARGV, 2 + count))
return {1}
"""

_TOGETHER = 50
"""Keys in one call of `WRITE` on a server that has all of them: a call costs more than a key does."""


class _Sent(Struct, frozen=True):
    calls: list[Call]

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


def run(client: Any, script: str, calls: Sequence[Call]) -> list[int]:
    """What a script answers for each key. One that the server does not know is loaded, and sent again.

    In a cluster no call spans keys, also where it is one behind a single address. Raises `KeyConflict` where
    a key is not what we write.
    """
    alone = script is not WRITE or isinstance(client, RedisCluster)
    found = _run(client, script, calls, together=1 if alone else _TOGETHER)
    return _run(client, script, calls, together=1) or [] if found is None else found


def _run(client: Any, script: str, calls: Sequence[Call], *, together: int) -> list[int] | None:
    """None where keys that went together must go alone: none of such a call was written."""
    sha = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
    alike: dict[tuple[str | int, ...], list[int]] = {}
    for place, call in enumerate(calls):
        alike.setdefault(call.shared, []).append(place)
    places = [part for same in alike.values() for part in batches(same, together)]
    parts = [_Sent([calls[place] for place in part]) for part in places]
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
    if together > 1 and any(isinstance(answer, ClusterCrossSlotError) for answer in answers):
        return None
    done = [0] * len(calls)
    for part, sent, answer in zip(places, parts, answers, strict=True):
        for place, of in zip(part, _checked(sent, answer), strict=True):
            done[place] = of
    return done


def check(name: str, answer: Any) -> None:
    """Raises what a server answered for one key, if that is an error."""
    if isinstance(answer, ResponseError) and "WRONGTYPE" in str(answer):
        raise KeyConflict(
            f"The Redis key {name} is not one that chainfold wrote, and cannot be shared: {answer}",
            hint="Choose another redis.key, or move that key out of the way.",
        ) from answer
    if isinstance(answer, Exception):
        raise answer


def _checked(part: _Sent, answer: Any) -> list[int]:
    check(part.calls[0].name, answer)
    for call, done in zip(part.calls, answer, strict=True):
        if isinstance(done, str):
            check(call.name, ResponseError(done))
    return [int(done) for done in answer]
