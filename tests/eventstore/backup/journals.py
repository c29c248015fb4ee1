"""Journals to back up: random ones, and what must be the same in two stores that tell the same history."""

from __future__ import annotations

from random import Random
from typing import Any

from sqlalchemy import text

from eventstore.journal.coverage import Covered
from eventstore.journal.history import Question, ask
from eventstore.journal.journal import Journal
from eventstore.journal.tail import Tail
from eventstore.records import BlockRange, Filter, Header, Log
from eventstore.storage.store import Store
from tests.blocks import ALICE, BOB, hash_, header

CHAINS = (1, 137)
TOPICS = [bytes([0x70 + number]) * 32 for number in range(5)]
PROVED = ("proofs", "anchors", "disproofs")
TOLD = (
    "entries",
    "blocks",
    "orphans",
    "coverage",
    "finality",
    "tail",
    "progress",
    "chains",
    "skips",
    *PROVED,
)
"""The tables that hold the same rows, with any numbers for the kinds of logs."""


class Author:
    """Writes a random journal: appends, reorgs, late logs of other addresses, on two chains."""

    def __init__(self, store: Store, seed: int) -> None:
        self._store = store
        self._random = Random(seed)
        self._heads = dict.fromkeys(CHAINS, 0)
        self._branch = 0
        with store.write() as tx:
            for chain in CHAINS:
                row = {"chain": chain, "genesis": hash_(0)}
                tx.execute(text("INSERT INTO chains VALUES (:chain, :genesis)"), row)
                tx.execute(text("INSERT INTO progress VALUES (:chain, 0, 5, 'a ''word''')"), {"chain": chain})
            row = {"address": ALICE, "topic0": b"", "hash": hash_(2)}
            for statement in (
                "INSERT INTO proofs VALUES (1, :address, :topic0, 0, 9, 4, 6, 'node.example', 5)",
                "INSERT INTO anchors VALUES (1, 9, :hash)",
                "INSERT INTO disproofs VALUES (1, 12, :hash, 'wrong', 'a log is missing', 'node.example', 6)",
            ):
                tx.execute(text(statement), row)
            row = {"hash": hash_(3), "reason": "0xNo, it's broken"}
            tx.execute(text("INSERT INTO skips VALUES ('referrals', :hash, 2, :reason, 17)"), row)

    def write(self, turns: int) -> None:
        for _ in range(turns):
            chain = self._random.choice(CHAINS)
            with self._store.write() as tx:
                act = self._random.choice((self._append, self._append, self._append, self._reorg, self._late))
                act(Journal(tx, chain), Tail(tx, chain), chain)

    def _append(self, journal: Journal, tail: Tail, chain: int) -> None:
        first = self._heads[chain] + 1
        last = self._heads[chain] = first + self._random.randint(0, 6)
        logs = [log for number in range(first, last + 1) for log in self._logs(number, ALICE, 0)]
        covered = [Covered(Filter(ALICE), BlockRange(first, last))]
        journal.append(logs, self._headers(first, last), covered)
        if self._random.random() < 0.3:
            tail.finalize(self._header(self._random.randint(first, last)))

    def _reorg(self, journal: Journal, tail: Tail, chain: int) -> None:
        first = self._random.randint(1, self._heads[chain] + 1)
        journal.orphan(first)
        tail.cut_above(first - 1)
        self._heads[chain] = first - 1
        self._branch += 1

    def _late(self, journal: Journal, tail: Tail, chain: int) -> None:
        """Logs of blocks that are there already, of an address that was not asked for then."""
        last = self._heads[chain]
        known = {item.number: item for item in journal.canonical_blocks_below(last + 1, 1_000)}
        logs = [log for number in sorted(known) for log in self._logs(number, BOB, 100)]
        kinds = journal.kinds([Filter(ALICE), Filter(BOB)])
        page = journal.read(kinds, after=-1, to=last, limit=10**6)
        there = {(item.block_number, item.log_index) for item in page.logs}
        fresh = [log for log in logs if (log.block_number, log.log_index) not in there]
        journal.append(fresh, known, [Covered(Filter(BOB, TOPICS[0]), BlockRange(0, last))])

    def _logs(self, number: int, address: bytes, index: int) -> list[Log]:
        random = self._random
        return [
            Log(
                number,
                index + place,
                address,
                tuple(random.choices(TOPICS, k=random.randint(0, 4))),
                random.randbytes(random.choice((0, 1, 32, 100))),
                random.randbytes(32),
                place,
                hash_(number, str(self._branch)),
            )
            for place in range(random.randint(0, 3))
        ]

    def _headers(self, first: int, last: int) -> dict[int, Header]:
        return {number: self._header(number) for number in range(first, last + 1)}

    def _header(self, number: int) -> Header:
        return header(number, str(self._branch))


def told(store: Store) -> dict[str, Any]:
    """Everything that a backup keeps, as it is in this store; the kinds of logs by what they stand for."""
    with store.read() as tx:
        found: dict[str, Any] = {}
        for table in TOLD:
            found[table] = sorted(map(repr, tx.execute(text(f"SELECT * FROM {table}")).all()))
        found["kinds"] = sorted(
            tx.execute(
                text(
                    "SELECT e.chain_id, k.address, k.topic0, e.entry, e.first_block "
                    "FROM entry_kinds e JOIN log_kinds k ON k.kind = e.kind"
                )
            ).all()
        )
        found["history"] = {chain: list(ask(tx, chain, Question(orphaned=None))) for chain in CHAINS}
        found["canonical"] = {chain: list(ask(tx, chain, Question())) for chain in CHAINS}
    return found
