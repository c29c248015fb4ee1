"""On PostgreSQL no statement depends on what the statistics know: as a rule they know older builds only."""

from __future__ import annotations

from random import Random

import pytest
from sqlalchemy import text

from eventstore.records import Log
from eventstore.storage.store import Store
from projections.fold.generation import Generations
from projections.fold.operations import Operations
from projections.fold.runner import Runner
from projections.publish.publisher import Publisher
from projections.sinks.memory import MemorySink
from tests.explain import Read, explained
from tests.folding import CHAIN, Bench, referrals, registration

USERS = 1_000
FAR = 100
"""So many times the rows that a statement changes, gives back or is asked for it may have in hand."""

WHOLE = ("INSERT INTO changes (projection, key, revision) SELECT", "SELECT count(*)", "SELECT coalesce(sum")
"""Statements that compare or count a whole generation, or the logs of a range: each row a few times."""
FEW = 500
"""Rows that any statement may have in hand: the blocks of a reorg; all were orphaned already."""

TABLES = ("documents", "document_index", "undo", "changes", "generations", "logs", "blocks", "orphans")
KNOWN = ("the generation before", "nothing")


@pytest.mark.parametrize("known", KNOWN)
def test_no_statement_reads_far_more_than_it_changes(postgres_store: Store, known: str) -> None:
    store, random = postgres_store, Random(3)
    with store.write() as tx:
        for table in TABLES:
            tx.execute(text(f"ALTER TABLE {table} SET (autovacuum_enabled = false)"))
    with explained(store) as reads:
        bench = Bench(store, undo=200)
        bench.runner = Runner(store, bench.lease, bench.projection, batch=500)
        publisher = Publisher(
            store, bench.lease, MemorySink(), projection="referrals", chain_id=CHAIN, batch=400
        )

        def catch_up() -> None:
            bench.fold()
            while not publisher.step().idle:
                pass

        def drawn(first: int, last: int, *, branch: str = "a") -> list[Log]:
            return [
                registration(block, index, _user(random), _user(random), branch=branch)
                for block in range(first, last + 1)
                for index in range(10)
            ]

        bench.append(drawn(1, 160), to=160, finalized=160)
        catch_up()
        if known == "the generation before":
            with store.write() as tx:
                tx.execute(text("ANALYZE"))
        # a rebuild in too little memory, which is compared and promoted
        bench.runner = Runner(store, bench.lease, bench.projection, batch=500, room=100_000)
        bench.operations.rebuild(promote=False)
        bench.fold()
        with store.read() as tx:
            generations = Generations(tx, "referrals")
            served, waiting = generations.served(), generations.building()
            assert served is not None
            assert waiting is not None
            assert generations.compare(served, waiting).equal
        bench.operations.rebuild()
        catch_up()
        with store.read() as tx:
            assert Generations(tx, "referrals").get(served.id) is not None
        # what is served goes on, in a process that has nothing in memory
        bench.runner = Runner(store, bench.lease, bench.projection, batch=500, room=100_000)
        for first in (161, 191, 221):
            bench.append(drawn(first, first + 29), to=first + 29, finalized=160)
            catch_up()
        # the chain turns, and then somebody goes back
        bench.orphan(210)
        bench.append(drawn(210, 260, branch="b"), to=260, branch="b", finalized=160)
        catch_up()
        bench.operations.rollback(200, hold=False)
        catch_up()
        # other code, and back to this
        _promoted_by_other_code(bench)
        bench.runner = Runner(store, bench.lease, bench.projection, batch=500, room=100_000)
        bench.append(drawn(261, 263), to=263, branch="b", finalized=250)
        bench.operations.back()
        catch_up()
    worst = {item.sql: item for item in sorted(reads, key=lambda item: item.rows) if _is_far(item)}
    assert not worst, "\n\n".join(str(item) for item in worst.values())
    assert len(reads) > 200


def _user(random: Random) -> int:
    return 1 + random.randrange(USERS)


def _is_far(read: Read) -> bool:
    allowed = max(FEW, FAR * (1 + read.named))
    if read.sql.startswith(WHOLE):
        allowed = max(allowed, 40 * USERS)
    return read.rows > allowed


def _promoted_by_other_code(bench: Bench) -> None:
    other = referrals(fingerprint="f2", undo=200)
    runner = Runner(bench.store, bench.lease, other, batch=500, room=100_000)
    Operations(runner).rebuild()
    while not runner.step().idle:
        pass
