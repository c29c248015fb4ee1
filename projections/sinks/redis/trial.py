"""A trial before the first document: may we run scripts and write, does the guard hold, is the marker safe?

Law: three hashes and a marker of the trial's own, under our key pattern and beside our markers, that live a
minute at most and are deleted in any case.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from redis.exceptions import RedisError

from projections.errors import SinkError
from projections.sinks.redis.script import COMPARE_AND_SET, ScriptCall, run, write

LIFE = 60
"""Seconds after which what a trial left is gone, when it could not be deleted."""


def tried(client: Any, told: Sequence[Mapping[str, Any]], *, before: str, after: str) -> list[str]:
    """Remarks on what works and needs a look; `told` is what each server says of itself. Raises `SinkError`
    where the guard does not hold; the driver's own errors go up as they are."""
    mark = f"chainfold:trial:{secrets.token_hex(4)}"
    names = [f"{before}{mark}:{place}{after}" for place in "abc"]
    marker = f"chainfold:marker:{mark}"
    try:
        first = run(client, COMPARE_AND_SET, [ScriptCall(marker, [0, "nonce", "1"])])
        client.expire(marker, LIFE)
        second = run(client, COMPARE_AND_SET, [ScriptCall(marker, [2, "nonce", "0", "nonce", "2"])])
        write(client, [_call(names[0], 5)])
        done = write(client, [_call(names[0], 4), _call(names[1], 5), _call(names[2], 5)])
        held = client.hget(names[0], "revision")
    finally:
        _forget(client, [marker, *names])
    refused = next((said for said in done if isinstance(said, str)), None)
    if refused is not None:
        raise SinkError(f"Redis does not take a hash under {before}...{after}: {refused}")
    if (first, second, done, held) != ([1], [0], [0, 2, 2], "5"):
        raise SinkError(
            f"The guard does not hold on this server: a write of revision 4 over revision 5 was answered "
            f"{done[0]}, and left {held}.",
            hint="An old write could replace a new document. Use Redis 7 or later, or Valkey.",
        )
    return list(_remarks(told))


def _remarks(told: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    policies = {str(node.get("maxmemory_policy", "")) for node in told if node.get("maxmemory")}
    for policy in sorted(policies):
        if policy.startswith("allkeys"):
            yield (
                f"maxmemory-policy {policy} may evict the marker; it is put back, and a document that is "
                "missing is not a difference. With volatile-lru and a ttl only documents are evicted"
            )
        elif policy == "noeviction":
            yield "maxmemory-policy noeviction: with the memory full nothing is written before there is room"
    if any(node.get("role") == "slave" for node in told):
        yield "this is a replica that may be written into: its primary overwrites what is written here"


def _call(name: str, revision: int) -> ScriptCall:
    return ScriptCall(name, [revision, "trial"], (0, LIFE, LIFE, 1, 0, "address"))


def _forget(client: Any, names: Sequence[str]) -> None:
    """They run out by themselves where they cannot be deleted."""
    for name in names:
        try:
            client.delete(name)
        except RedisError:
            return
