"""Towns in the states that the page is looked at in."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

from eventstore import clock
from eventstore.ingest.failed_ranges import FailedRanges
from eventstore.records import BlockRange
from eventstore.sources.simulated.chain import Emission
from eventstore.storage.lease import Lease
from projections.service.demo.chain import FLAGSHIP
from projections.service.records.incidents import Incidents, Key
from tests.http.site import CONTRACT, Town, registered

BLOCKS = 140
FINAL = 110
POISON = Emission(CONTRACT, (FLAGSHIP.topic0, b"\xff" * 32, b"\xff" * 32), b"\x01")
"""A registration that cannot be decoded."""


def person(number: int) -> int:
    """Somebody's address, as real ones look."""
    return int.from_bytes(sha256(str(number).encode()).digest()[:20])


def key(number: int) -> str:
    return f"0x{person(number):040x}"


def town(folder: Path, **options: Any) -> Town:
    """Nothing was read and nothing built."""
    began = int(time.time()) - 12 * (BLOCKS + 20)
    return Town(folder, store=f"sqlite:///{folder / 'store.db'}", timestamp=began, **options)


def lively(folder: Path, **options: Any) -> Town:
    """People who brought people, person 0 the most; two reorgs, and the later one orphaned four of them."""
    made = town(folder, **options)
    grow(made, BLOCKS)
    made.sync()
    made.chain.reorg(depth=1)
    made.sync()
    now = time.time()
    made.chain.reorg(depth=3, logs=[[joined(900 + number, 1, now)] for number in range(3)])
    made.mine((person(910), person(2)))
    made.sync()
    return made


def halted(folder: Path, **options: Any) -> Town:
    """An event that cannot be folded and the incident of it, and blocks that no node gives."""
    made = town(folder, **options)
    grow(made, 40)
    made.sync()
    made.chain.mine(logs=[POISON])
    made.mine((person(70), person(1)))
    made.sync()
    now = clock.now()
    with made.plan() as plan, plan.store.write() as tx:
        FailedRanges(tx, 31337).add(
            BlockRange(3, 5), "rpc[0] answered -32005: query returned too many results."
        )
        Incidents(tx).open(
            Key("projection-halted", "referrals"), "An event of block 41 cannot be folded.", now=now
        )
    return made


def restless(folder: Path, **options: Any) -> Town:
    """A short history, most of it not final."""
    made = town(folder, **options)
    grow(made, 20)
    made.chain.finalize(8)
    made.sync()
    return made


def grow(made: Town, blocks: int) -> None:
    """One or two registrations a block; who came early brings more."""
    dice = Random(7)
    came = 1
    for _ in range(blocks):
        pairs = []
        for _ in range(dice.choice([1, 1, 2])):
            pairs.append((came, min(int(dice.expovariate(0.4)), came - 1)))
            came += 1
        at = made.chain.head().timestamp + 12
        made.chain.mine(logs=[joined(user, referrer, at) for user, referrer in pairs])
    made.chain.finalize(min(FINAL, blocks))


def joined(user: int, referrer: int, at: float) -> Emission:
    return registered(person(user), person(referrer), int(at))


@contextmanager
def at_work(made: Town) -> Iterator[None]:
    """As if a process proved: no `sync` of ours wants its lease."""
    with made.plan() as plan:
        lease = Lease(plan.store, "prove:31337", ttl=600).acquire()
        yield
        lease.release()
