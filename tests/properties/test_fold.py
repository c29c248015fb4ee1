"""Laws 4 and 6 of docs/laws.md: on every path the documents are the plain fold of the canonical logs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventstore.records import Log
from eventstore.storage.store import Store
from projections.fold.document_type import weight
from projections.fold.generation import Generations
from projections.fold.runner import Runner
from projections.fold.state import GenerationState
from tests.folding import Bench, address, registration
from tests.oracle import plain
from tests.stores import migrated

PAIR = st.tuples(st.integers(0, 6), st.integers(0, 6))
BLOCK = st.lists(PAIR, max_size=4)


def documents(store: Store) -> tuple[dict[str, dict[str, Any]], str, int]:
    """What the served generation holds, and its digest and count as kept up with each commit."""
    with store.read() as tx:
        served = Generations(tx, "referrals").served()
        assert served is not None
        rows = dict(GenerationState(tx, served.id).scan())
    summed = sum(weight(key, body) for key, body in rows.items()) % 2**256
    assert summed.to_bytes(32, "big") == served.digest
    assert len(rows) == served.documents
    return {key: msgspec.json.decode(body) for key, body in rows.items()}, served.digest.hex(), served.block


def expected(blocks: dict[int, list[tuple[int, int]]]) -> dict[str, dict[str, Any]]:
    return plain(
        (address(user), address(referrer), 7, 12 * number)
        for number in sorted(blocks)
        for user, referrer in blocks[number]
    )


def logs_of(blocks: dict[int, list[tuple[int, int]]], branch: str) -> list[Log]:
    return [
        registration(number, index, user, referrer, branch=branch)
        for number in sorted(blocks)
        for index, (user, referrer) in enumerate(blocks[number])
    ]


def without_stamp(found: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {key: {k: v for k, v in doc.items() if k != "updatedAt"} for key, doc in found.items()}


@given(
    first=st.lists(BLOCK, min_size=1, max_size=12),
    reorgs=st.lists(st.tuples(st.integers(0, 12), st.lists(BLOCK, max_size=5)), max_size=4),
    finalized=st.integers(0, 6),
    at_once=st.booleans(),
    restarted=st.booleans(),
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.long
def test_any_reorg_ends_in_the_plain_fold_of_the_canonical_logs(
    tmp_path_factory: Any,
    first: list[list[tuple[int, int]]],
    reorgs: list[tuple[int, list[list[tuple[int, int]]]]],
    finalized: int,
    *,
    at_once: bool,
    restarted: bool,
) -> None:
    """Also below finality (by a rebuild), and with the digest of a build that went straight through; the new
    branch is there `at_once` or not yet, the process has all documents in memory or was `restarted`."""
    for store in fresh(tmp_path_factory.mktemp("fold")):
        bench = Bench(store)
        chain = {0: [(8, 9)]} | dict(enumerate(first, start=1))  # an empty build would be refused
        bench.append(logs_of(chain, "a"), to=len(first), finalized=min(finalized, len(first)))
        bench.fold()
        if restarted:
            bench.runner = Runner(store, bench.lease, bench.projection, batch=7)
        for turn, (depth, blocks) in enumerate(reorgs):
            head = max(chain, default=0)
            stands = max(0, head - depth)
            chain = {n: events for n, events in chain.items() if n <= stands}
            bench.orphan(stands + 1)
            if not at_once:
                bench.fold()
            new = dict(enumerate(blocks, start=stands + 1))
            chain |= new
            bench.append(logs_of(new, f"r{turn}"), to=max([stands, *new]))
            bench.append([], to=max([stands, finalized, *new]))
            bench.fold()
        found, digest, _ = documents(store)
        assert without_stamp(found) == expected(chain)
        bench.operations.rebuild()
        bench.fold()
        again, digest_again, _ = documents(store)
        assert (again, digest_again) == (found, digest)


def fresh(folder: Path) -> Iterator[Store]:
    store = migrated(folder / "store.db")
    yield store
    store.close()
