"""A shop whose projector is a module of its user's, in an old and in a new version, and its history.

The new code waits, late in history, until a file `go` is there: so one can look at a build that is neither
at its beginning nor at its end.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from pymongo import MongoClient

from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.node import SimulatedNode
from tests.end_to_end.site import PATIENCE, SIGNATURE, Site, Workshop, register
from tests.servers.mongo import Mongo

EVENTS, PER_BLOCK, USERS = 60_000, 500, 2_000
GATE = 115
"""The block before which new code waits. A build commits after each page of up to 10,000 events."""

SHOP = """
import os, time
from msgspec import Struct
from msgspec.structs import replace
from projections.projectors import Projector, handles

class Member(Struct, frozen=True):
    address: str
    brought: int = 0

class Members(Projector):
    document = Member
    key = "address"

    @handles("{signature}")
    def registered(self, event, members):
        {wait}
        member = members.get(event.referrer) or Member(event.referrer)
        members.put(event.referrer, replace(member, brought=member.brought + {worth}))
"""
OLD = SHOP.format(signature=SIGNATURE, wait="", worth="1")
NEW = SHOP.format(
    signature=SIGNATURE,
    wait=f"while event.block.number == {GATE} and not os.path.exists('go'): time.sleep(0.01)",
    worth="(2 if int(event.user, 16) % 400 == 0 else 1)",
)

NOBODY = "http://127.0.0.1:9"
"""A node without a listener."""

Pairs = list[tuple[int, int]]
Seen = TypeVar("Seen")


class History:
    """A chain of registrations, and what either code makes of it."""

    def __init__(self) -> None:
        self._random = Random(3)
        self._pairs: Pairs = []
        self.chain = SimulatedChain(seed=3)
        for _ in range(EVENTS // PER_BLOCK):
            self.grow(PER_BLOCK)
        self.chain.finalize(self.chain.head().number)

    def grow(self, events: int) -> None:
        pairs = [(self._random.randint(1, USERS), self._random.randint(1, USERS)) for _ in range(events)]
        self.chain.mine(logs=[register(*pair) for pair in pairs])
        self._pairs += pairs

    def old(self) -> dict[str, int]:
        return _brought(self._pairs, lambda user: 1)

    def new(self) -> dict[str, int]:
        return _brought(self._pairs, lambda user: 2 if user % 400 == 0 else 1)

    @property
    def differing(self) -> set[str]:
        old, new = self.old(), self.new()
        return {key for key in new if old[key] != new[key]}


def _brought(pairs: Pairs, worth: Callable[[int], int]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for user, referrer in pairs:
        found[f"0x{referrer:040x}"] += worth(user)
    return dict(found)


def shop(workshop: Workshop, folder: Path, code: str, *, rpc: str, store: str) -> Site:
    """A folder with a module of the user's own."""
    made = Site(workshop, folder, rpc=rpc, store={"url": store})
    (folder / "shop.py").write_text(code)
    made.set("projections.referrals.projector", "shop:Members")
    made.set("fold.commit_every", "1ms")  # every 10,000 events or so
    return made


def standing(site: Site) -> dict[str, Any]:
    """What `status --json` says of the projection."""
    found: dict[str, Any] = site.run("status", "--json").json()["projections"]["referrals"]
    return found


def halfway(site: Site) -> dict[str, Any]:
    """The status, once a build of new code has committed all before the gate, where a page ends."""
    return until(
        lambda: standing(site), lambda found: bool(found["build"] and found["build"]["block"] == GATE - 1)
    )


def until(look: Callable[[], Seen], enough: Callable[[Seen], bool]) -> Seen:
    """What `look` sees once it is enough."""
    deadline = time.monotonic() + PATIENCE
    while not enough(found := look()):
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


def published(mongo: Mongo) -> dict[str, tuple[int, int]]:
    """Address to (what it brought, the revision of the document)."""
    client: MongoClient[dict[str, Any]]
    with MongoClient(mongo.url) as client:
        found = list(client[mongo.database]["users"].find({}))
    return {item["address"]: (item["brought"], item["chainfold"]["revision"]) for item in found}


def brought(mongo: Mongo) -> dict[str, int]:
    return {key: number for key, (number, _) in published(mongo).items()}


def moved(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> set[str]:
    """The documents that were sent in between: those with another revision."""
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


def fold(history: History, workshop: Workshop, folder: Path) -> Path:
    """A folder with a SQLite store that the old code serves, all of history folded; to be copied."""
    with SimulatedNode(history.chain) as node:
        site = shop(workshop, folder / "old", OLD, rpc=node.url, store=f"sqlite:///{folder}/store.db")
        assert site.run("sync").code == 0
    return folder


def copied(folded: Path, folder: Path) -> str:
    """A copy of that store; its URL."""
    folder.mkdir(exist_ok=True)
    for path in folded.glob("store.db*"):
        shutil.copy(path, folder)
    return f"sqlite:///{folder}/store.db"
