"""The plain definition of the referral documents, without any of our code: edges, then counting."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

ZERO = "0x" + "00" * 20


def plain(events: Iterable[tuple[str, str | None, int, int]]) -> dict[str, dict[str, Any]]:
    """The documents that (user, referrer or None, timestamp, block time) in chain order lead to.

    `updatedAt` is left out: it is about the road, not the place; see `folded` for it.
    """
    edge: dict[str, tuple[str, int] | None] = {}
    named: set[str] = set()
    for user, referrer, timestamp, _ in events:
        if user == ZERO:
            continue
        named.add(user)
        if referrer in (None, ZERO, user):
            edge[user] = None
            continue
        assert referrer is not None
        named.add(referrer)
        held = edge.get(user)
        if held is None or held[0] != referrer:
            edge[user] = (referrer, timestamp)
    direct = {user: held[0] for user, held in edge.items() if held}
    indirect = {user: direct[first] for user, first in direct.items() if first in direct}
    return {
        user: {
            "address": user,
            "directReferrer": direct.get(user),
            "indirectReferrer": indirect.get(user),
            "level1Count": sum(1 for other in direct.values() if other == user),
            "level2Count": sum(1 for other in indirect.values() if other == user),
            "referralTimestamp": held[1] if (held := edge.get(user)) else None,
        }
        for user in named
    }


def folded(events: Iterable[tuple[str, str | None, int, int]]) -> dict[str, dict[str, Any]]:
    """`plain` with `updatedAt`: the block time of the last event after which the document differed.

    Recounts everything after every event: slow and obvious.
    """
    seen: list[tuple[str, str | None, int, int]] = []
    before: dict[str, dict[str, Any]] = {}
    stamps: dict[str, int] = {}
    for event in events:
        seen.append(event)
        after = plain(seen)
        for key, document in after.items():
            if before.get(key) != document:
                stamps[key] = event[3]
        before = after
    return {key: document | {"updatedAt": stamps[key]} for key, document in before.items()}
