"""The journal: what was learned of a chain, in the order in which it was learned. This room is the only one
that speaks SQL to history; this file is the only one that adds to it while a chain is followed.

Laws: rows are only ever inserted. A log is keyed by (chain, block, index, entry); entries are numbered
without holes inside the append's own transaction; at most one log lives at a (block, index). Canonical
are the logs that have no orphan row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter

from sqlalchemy import text

from eventstore import clock
from eventstore.errors import HistoryConflict
from eventstore.journal import digest
from eventstore.journal.canonical import BY_KEY, LIVING, LIVING_BLOCK
from eventstore.journal.coverage import Coverage, Covered
from eventstore.journal.entries import digest_at
from eventstore.journal.kinds import interned
from eventstore.journal.proofs import Ledger
from eventstore.journal.reading import JournalReader
from eventstore.records import NO_END, Appended, CheckedLogs, Header, Log, Orphaned
from eventstore.storage import bulk, history_tables
from eventstore.storage.gc_pause import acyclic
from eventstore.storage.planner import by_index, key_by_key

_BY_FORCE = "Fetch the range again with `chainfold sync --force`, from an endpoint that you trust."


class Journal(JournalReader):
    """The journal of one chain, within the caller's transaction (to write) or snapshot (to read)."""

    def append(
        self, logs: CheckedLogs, blocks: Mapping[int, Header], covered: Iterable[Covered] = ()
    ) -> Appended | None:
        """Adds the logs that do not live yet, and covers what was asked for, in this transaction.

        `logs` ascend by (block, index) and every block that holds one is in `blocks`. Logs that live
        already with the same payload are subtracted, so an append may be repeated; None says that
        nothing was left, and no entry is made. Raises `HistoryConflict` where another payload, or a
        block of another hash, lives there: that block must be orphaned first.
        """
        fresh = self._subtract_living(logs, blocks)
        entry = self.head()
        appended = None
        if fresh:
            entry += 1
            with acyclic():
                appended = self._insert(entry, fresh, blocks)
        coverage = Coverage(self._tx, self._chain)
        for item in covered:
            coverage.add(item, entry=entry)
        return appended

    def orphan(self, first: int, last: int | None = None) -> Orphaned | None:
        """Takes every living block from `first` to `last` (None: to the end) off the canonical chain.

        Coverage and proofs are voided from `first` on, for every filter: it is fetched again. None says
        that no living block was there, and no entry is made; coverage is voided all the same.
        """
        by_index(self._tx)
        Coverage(self._tx, self._chain).void_from(first)
        Ledger(self._tx, self._chain).void_from(first)
        rows = self._tx.execute(
            text(
                "SELECT number, entry, hash FROM blocks l WHERE chain_id = :chain "
                "AND number BETWEEN :first AND :last AND " + LIVING_BLOCK + " ORDER BY number, entry"
            ),
            {"chain": self._chain, "first": first, "last": NO_END if last is None else last},
        ).all()
        if not rows:
            return None
        entry = self.head() + 1
        gone = [(number, of_entry) for number, of_entry, _ in rows]
        touched, count = self._touched_kinds(gone)
        bulk.insert(
            self._tx,
            history_tables.orphans,
            [(self._chain, number, of_entry, entry) for number, of_entry in gone],
        )
        orphaned = Orphaned(entry, rows[0].number, rows[-1].number, count)
        self._record(orphaned, rows[-1].hash, touched, digest.of_orphans(gone))
        return orphaned

    def _subtract_living(self, logs: Sequence[Log], blocks: Mapping[int, Header]) -> list[Log]:
        if not logs:
            return []
        span = {
            "chain": self._chain,
            "first": logs[0].block_number,
            "last": logs[-1].block_number,
        }
        by_index(self._tx)
        shared = []
        for number, living in self._tx.execute(
            text(
                "SELECT number, hash FROM blocks l WHERE chain_id = :chain "
                "AND number BETWEEN :first AND :last AND " + LIVING_BLOCK
            ),
            span,
        ):
            if number not in blocks:
                continue
            if blocks[number].hash != living:
                raise HistoryConflict(
                    f"Block {number} lives in the journal as 0x{living.hex()}, but 0x"
                    f"{blocks[number].hash.hex()} was to be appended: it must be orphaned first.",
                    hint=_BY_FORCE,
                )
            shared.append(number)
        if not shared:  # as nearly always: nothing lives where these logs go
            return list(logs)
        span |= {"first": min(shared), "last": max(shared)}
        kinds = key_by_key(self._tx, "address, topic0", "log_kinds", "k", "k.kind = l.kind")
        rows = self._tx.execute(
            text(
                "SELECT l.block_number, l.log_index, k.address, k.topic0, l.topic1, l.topic2, l.topic3, "
                f"l.data, l.tx_hash, l.tx_index FROM logs l {kinds} WHERE l.chain_id = :chain "
                f"AND l.block_number BETWEEN :first AND :last AND {LIVING} ORDER BY {BY_KEY}"
            ),
            span,
        )
        living_logs = {(row[0], row[1]): row for row in rows}
        fresh = []
        for log in logs:
            row = living_logs.get((log.block_number, log.log_index))
            if row is None:
                fresh.append(log)
                continue
            topics = tuple(topic for topic in row[3:7] if topic)
            if (row[2], topics, row[7], row[8], row[9]) != (
                log.address,
                log.topics,
                log.data,
                log.tx_hash,
                log.tx_index,
            ):
                raise HistoryConflict(
                    f"Log {log.log_index} of block {log.block_number} lives in the journal with another "
                    "payload: the block must be orphaned first.",
                    hint=_BY_FORCE,
                )
        return fresh

    def _insert(self, entry: int, logs: Sequence[Log], blocks: Mapping[int, Header]) -> Appended:
        chain = self._chain
        kind_of = interned(self._tx, {(log.address, log.topics[0] if log.topics else b"") for log in logs})
        touched: dict[int, int] = {}
        rows = []
        for log in logs:
            topics = log.topics
            kind = kind_of[(log.address, topics[0] if topics else b"")]
            if kind not in touched:  # logs ascend: the first one seen is in the lowest block
                touched[kind] = log.block_number
            rows.append(
                (
                    chain,
                    log.block_number,
                    log.log_index,
                    entry,
                    kind,
                    log.tx_index,
                    log.tx_hash,
                    topics[1] if len(topics) > 1 else None,
                    topics[2] if len(topics) > 2 else None,
                    topics[3] if len(topics) > 3 else None,
                    log.data,
                )
            )
        held = [blocks[number] for number in dict.fromkeys(map(attrgetter("block_number"), logs))]
        bulk.insert(
            self._tx,
            history_tables.blocks,
            [(chain, b.number, entry, b.hash, b.parent_hash, b.timestamp) for b in held],
        )
        bulk.insert(self._tx, history_tables.logs, rows)
        appended = Appended(entry, held[0].number, held[-1].number, len(logs))
        Ledger(self._tx, chain).void(
            appended.first_block, appended.last_block, addresses={address for address, _ in kind_of}
        )
        self._record(appended, held[-1].hash, touched, digest.of_logs(held, logs))
        return appended

    def _record(
        self, item: Appended | Orphaned, head_hash: bytes, touched: Mapping[int, int], rows: bytes
    ) -> None:
        """Writes the entry's own rows, and chains its digest to the one before it."""
        previous = digest_at(self._tx, self._chain, item.entry - 1)
        at = clock.now()
        self._tx.execute(
            text(
                "INSERT INTO entries VALUES "
                "(:chain, :entry, :kind, :first, :last, :count, :head, :at, :previous, :digest)"
            ),
            {
                "chain": self._chain,
                "entry": item.entry,
                "kind": "appended" if isinstance(item, Appended) else "orphaned",
                "first": item.first_block,
                "last": item.last_block,
                "count": item.log_count,
                "head": head_hash,
                "at": at,
                "previous": previous,
                "digest": digest.of_entry(
                    self._chain, item, head_hash=head_hash, recorded_at=at, previous=previous, rows=rows
                ),
            },
        )
        bulk.insert(
            self._tx,
            history_tables.entry_kinds,
            [(self._chain, kind, item.entry, first) for kind, first in touched.items()],
        )

    def _touched_kinds(self, gone: Sequence[tuple[int, int]]) -> tuple[dict[int, int], int]:
        """By kind the lowest of these (block, entry) that hold it, and how many logs they hold."""
        alive = set(gone)
        touched: dict[int, int] = {}
        count = 0
        for number, entry, kind in self._tx.execute(
            text(
                "SELECT block_number, entry, kind FROM logs WHERE chain_id = :chain "
                "AND block_number BETWEEN :first AND :last ORDER BY block_number, log_index, entry"
            ),
            {"chain": self._chain, "first": gone[0][0], "last": gone[-1][0]},
        ):
            if (number, entry) in alive:
                touched.setdefault(kind, number)
                count += 1
        return touched, count
