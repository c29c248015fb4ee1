"""A store whose documents were never folded: written straight, served, and all of them yet to be sent."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from itertools import islice
from random import Random

import msgspec
from msgspec.structs import replace

from bench.scenario import CHAIN
from eventstore.storage.store import Store
from projections.fold.changes import Changes
from projections.fold.delta import Delta
from projections.fold.generation import Generation, Generations
from projections.fold.state import GenerationState
from projections.projectors.referrals import User

PROJECTION = "referrals"
BLOCK = 1_000_000
"""The block that the documents stand at."""

_PART = 50_000
_NOW = 1_700_000_000


def users(count: int, seed: int) -> Iterator[User]:
    """Users as the referral projection has them after years; who refers is drawn by Zipf's law."""
    random = Random(seed)

    def key(number: int) -> str:
        return "0x" + sha256(b"%d %d" % (seed, number)).hexdigest()[:40]

    for number in range(count):
        direct, indirect = (key(int(count ** random.random()) - 1) for _ in range(2))
        brought = int(1 / (1 - random.random())) - 1
        yield User(key(number), direct, indirect, brought, 2 * brought, _NOW + number, _NOW + 2 * number)


def fill(store: Store, count: int, *, seed: int) -> None:
    """`count` documents in a generation that is served, at the first revision."""
    encode, drawn, made = msgspec.json.Encoder().encode, users(count, seed), 0
    with store.write() as tx:
        build = Generations(tx, PROJECTION).create(chain_id=CHAIN, fingerprint="bench", before=0)
    while part := list(islice(drawn, _PART)):
        changed = [(user.address, None, encode(user)) for user in part]
        index = [("directReferrer", user.directReferrer or "", user.address) for user in part]
        with store.write() as tx:
            GenerationState(tx, build.id).apply(Delta(changed, [], index, [], 0, len(part)))
        made += len(part)
    with store.write() as tx:
        generations = Generations(tx, PROJECTION)
        built = replace(build, block=BLOCK, documents=made)
        generations.advance(build, built)
        generations.promote(built, [])


def touch(store: Store) -> None:
    """Gives every document a new revision, as if a batch had changed each of them."""
    with store.write() as tx:
        generations = Generations(tx, PROJECTION)
        served = _served(generations)
        Changes(tx, PROJECTION).mark_all(served.revision + 1)
        generations.advance(served, replace(served, revision=served.revision + 1))


def bodies(store: Store) -> list[tuple[str, bytes]]:
    """Every (key, body), ascending by key: in the order in which they are sent."""
    with store.read() as tx:
        return list(GenerationState(tx, _served(Generations(tx, PROJECTION)).id).scan())


def _served(generations: Generations) -> Generation:
    served = generations.served()
    if served is None:
        raise RuntimeError("Nothing is served: fill the store first.")
    return served
