"""The journal: what was learned of a chain, in the order it was learned. The only file that speaks SQL
to history.

Laws: rows are only ever inserted. A log is keyed by (chain, block, index, entry); entries are numbered
without holes inside the append's own transaction; at most one log lives at a (block, index). Canonical
are the logs that have no orphan row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import starmap
from operator import attrgetter
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, bindparam

from eventstore import clock
from eventstore.errors import HistoryConflict
from eventstore.journal import digest
from eventstore.journal.by_kind import LISTED, among, by_kind
from eventstore.journal.coverage import Coverage, Covered
from eventstore.journal.proofs import Ledger
from eventstore.records import NO_END, Appended, CheckedLogs, Filter, Header, Log, Orphaned, Query
from eventstore.storage import bulk
from eventstore.storage.batches import batches
from eventstore.storage.gc_pause import acyclic
from eventstore.storage.planner import by_index, key_by_key
from eventstore.storage.sql import text

_LIVING = (
    "NOT EXISTS (SELECT 1 FROM orphans o WHERE o.chain_id = l.chain_id "
    "AND o.block_number = l.block_number AND o.entry = l.entry LIMIT 1 OFFSET 0)"
)
"""With an OFFSET it stays what it says, a look by key for each log, and becomes no join of two tables."""

_BY_KEY = "l.block_number, l.log_index, l.entry"
"""The order of the primary key of logs within a chain, and so that of a replay."""


_BY_FORCE = "Fetch the range again with `chainfold sync --force`, from an endpoint that you trust."


_DENSE, _SAMPLE, _AT_ONCE = 10, 1_000, 500
"""Of so many logs one must be wanted for all to be read; how many are looked at to know; blocks in one IN
list."""


class StoredLog(Struct, frozen=True, gc=False):
    """A log as a replay reads it; `kind` names its address and topic0 (`Journal.kinds`)."""

    block_number: int
    log_index: int
    entry: int
    kind: int
    tx_hash: bytes
    topic1: bytes | None
    topic2: bytes | None
    topic3: bytes | None
    data: bytes


class StoredBlock(Struct, frozen=True, gc=False):
    """A block that holds logs; `timestamp` in seconds."""

    number: int
    hash: bytes
    timestamp: int


class Kind(Struct, frozen=True, gc=False):
    """An interned (address, topic0); an empty topic0 stands for a log without topics."""

    address: bytes
    topic0: bytes


class Recorded(Struct, frozen=True, gc=False):
    """A log of the history: in which entry it was learned, and in which it was orphaned, if ever.

    `timestamp` is its block's, in seconds.
    """

    log: Log
    timestamp: int
    entry: int
    orphaned_by: int | None


class Page(Struct, frozen=True):
    """Whole blocks of canonical logs, ascending by (block, index).

    `through` is the last block that the page speaks for: up to there nothing is missing.
    """

    logs: list[StoredLog]
    blocks: dict[tuple[int, int], StoredBlock]  # by (number, entry)
    through: int


class Journal:
    """The journal of one chain, within the caller's transaction (to write) or snapshot (to read)."""

    def __init__(self, tx: Connection, chain_id: int) -> None:
        self._tx = tx
        self._chain = chain_id
        self._sqlite = tx.dialect.name == "sqlite"

    # --- writing ---

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
                "AND number BETWEEN :first AND :last AND "
                + _LIVING.replace("l.block_number", "l.number")
                + " ORDER BY number, entry"
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
            "orphans",
            ("chain_id", "block_number", "entry", "orphaned_by"),
            [(self._chain, number, of_entry, entry) for number, of_entry in gone],
        )
        orphaned = Orphaned(entry, rows[0].number, rows[-1].number, count)
        self._record(orphaned, rows[-1].hash, touched, digest.of_orphans(gone))
        return orphaned

    # --- reading ---

    def head(self) -> int:
        """The number of the newest entry; 0 in an empty journal."""
        found = self._tx.execute(
            text("SELECT max(entry) FROM entries WHERE chain_id = :chain"), {"chain": self._chain}
        ).scalar()
        return int(found or 0)

    def kinds(self, filters: Iterable[Filter]) -> dict[int, Kind]:
        """The interned kinds of log that these filters match, as far as any was ever seen."""
        wanted = set(filters)
        addresses = sorted({item.address for item in wanted})
        if not addresses:
            return {}
        rows = self._tx.execute(
            text("SELECT kind, address, topic0 FROM log_kinds WHERE address IN :addresses").bindparams(
                bindparam("addresses", expanding=True)
            ),
            {"addresses": addresses},
        )
        return {
            kind: Kind(address, topic0)
            for kind, address, topic0 in rows
            if Filter(address) in wanted or Filter(address, topic0) in wanted
        }

    def read(self, kinds: Iterable[int], *, after: int, to: int, limit: int) -> Page:
        """Canonical logs of these kinds in blocks `after` + 1 to `to`, about `limit` of them.

        Only whole blocks: a page ends before the block that would make it longer than `limit`, but
        holds at least one block.
        """
        wanted = sorted(kinds)
        if not wanted or after >= to:
            return Page([], {}, max(to, after))
        logs, through = self._select(wanted, after + 1, to, limit)
        while not logs and through < to:  # all of them were orphaned
            logs, through = self._select(wanted, through + 1, to, limit)
        if len(logs) == limit:
            cut, whole = logs[-1].block_number, len(logs)
            while whole and logs[whole - 1].block_number == cut:
                whole -= 1
            if whole:
                logs, through = logs[:whole], cut - 1
            else:
                logs, through = self._select(wanted, cut, cut, 2**31 - 1)
        return Page(logs, self._blocks_of(logs), through)

    def count(self, kinds: Iterable[int], *, after: int, to: int) -> int:
        """How many canonical logs of these kinds lie in blocks `after` + 1 to `to`; by index alone."""
        wanted = sorted(kinds)
        if not wanted or after >= to:
            return 0
        by_index(self._tx)
        of_kinds, values = self._of_kinds("1", wanted, after + 1, to)
        (ever,) = self._rows(f"SELECT count(*) {of_kinds}", values)
        logs = key_by_key(
            self._tx,
            "kind",
            "logs",
            "l",
            "l.chain_id = o.chain_id AND l.block_number = o.block_number AND l.entry = o.entry",
            order=_BY_KEY,
        )
        among_them, own = among(wanted, sqlite=self._sqlite)
        (gone,) = self._rows(  # few, first
            f"SELECT count(*) FROM orphans o {logs} WHERE o.chain_id = ? AND o.block_number BETWEEN ? AND ? "
            f"AND l.kind {among_them}",
            (self._chain, after + 1, to, *own),
        )
        return int(ever[0]) - int(gone[0])

    def newest(self, query: Query, *, to: int) -> Log | None:
        """A canonical log that matches `query`, of the highest block up to `to` that holds one."""
        found = self.kinds(
            Filter(address, topic) for address in query.addresses for topic in query.topics0 or (None,)
        )
        highest = -1
        by_index(self._tx)
        for kind in found:
            of_kind, values = self._of_kinds(
                "l.block_number", [kind], 0, to, also=f" AND {_LIVING}", newest_first=True, tail="LIMIT 1"
            )
            number = next((row[0] for row in self._rows(f"SELECT l.block_number {of_kind}", values)), None)
            highest = max(highest, -1 if number is None else int(number))
        return next(
            (
                item.log
                for item in self.history(first=highest, last=highest, limit=2**31)
                if query.matches(item.log)
            ),
            None,
        )

    def lowest_change(self, since: int, kinds: Iterable[int]) -> int | None:
        """The lowest block with logs of these kinds that entries after `since` appended or orphaned."""
        wanted = sorted(kinds)
        if not wanted:
            return None
        if self._sqlite:
            among_them, own = among(wanted, sqlite=True)
            sql = (
                "SELECT min(first_block) FROM entry_kinds WHERE chain_id = ? AND entry > ? "
                f"AND kind {among_them}"
            )
            ((found,),) = self._rows(sql, (self._chain, since, *own))
        else:
            sql = (
                "SELECT min(first) FROM unnest(?::int8[]) AS wanted (kind) CROSS JOIN LATERAL (SELECT "
                "min(first_block) AS first FROM entry_kinds WHERE chain_id = ? AND kind = wanted.kind "
                "AND entry > ?) found"
            )
            ((found,),) = self._rows(sql, (wanted, self._chain, since))
        return None if found is None else int(found)

    def canonical_blocks_below(self, block: int, limit: int) -> list[Header]:
        """The `limit` newest living blocks below `block`, descending: what a deep reorg is held against."""
        by_index(self._tx)
        sql = (
            "SELECT number, hash, parent_hash, timestamp FROM blocks l "
            "WHERE chain_id = ? AND number <= ? AND "
            + _LIVING.replace("l.block_number", "l.number")
            + " ORDER BY number DESC, entry DESC LIMIT ?"
        )
        found: dict[int, Header] = {}  # a block may stand in several entries
        while len(found) < limit and (rows := self._rows(sql, (self._chain, block - 1, limit))):
            found |= {row[0]: Header(*row) for row in rows}
            block = rows[-1][0]
        return list(found.values())[:limit]

    def history(
        self,
        *,
        first: int = 0,
        last: int | None = None,
        address: bytes | None = None,
        topic: bytes | None = None,
        tx_hash: bytes | None = None,
        orphaned: bool | None = False,
        limit: int = 1000,
    ) -> list[Recorded]:
        """What was ever learned, canonical (`orphaned` False), orphaned (True) or both (None).

        `topic` asks for logs that carry these 32 bytes as an indexed parameter. Ascending by (block,
        index, entry), at most `limit`.
        """
        conditions = ["l.chain_id = :chain", "l.block_number BETWEEN :first AND :last"]
        if address is not None:
            conditions.append("k.address = :address")
        if topic is not None:
            conditions.append("(l.topic1 = :topic OR l.topic2 = :topic OR l.topic3 = :topic)")
        if tx_hash is not None:
            conditions.append("l.tx_hash = :tx_hash")
        if orphaned is not None:
            conditions.append(f"o.orphaned_by IS {'NOT ' if orphaned else ''}NULL")
        same = "{0}.chain_id = l.chain_id AND {0}.{1} = l.block_number AND {0}.entry = l.entry"
        beside = " ".join(
            (
                key_by_key(self._tx, "address, topic0", "log_kinds", "k", "k.kind = l.kind"),
                key_by_key(self._tx, "hash, timestamp", "blocks", "b", same.format("b", "number")),
                key_by_key(
                    self._tx, "orphaned_by", "orphans", "o", same.format("o", "block_number"), left=True
                ),
            )
        )
        by_index(self._tx)
        rows = self._tx.execute(
            text(
                "SELECT l.block_number, l.log_index, l.entry, k.address, k.topic0, l.topic1, l.topic2, "
                "l.topic3, l.data, l.tx_hash, l.tx_index, b.hash, b.timestamp, o.orphaned_by "
                f"FROM logs l {beside} WHERE {' AND '.join(conditions)} ORDER BY {_BY_KEY} LIMIT :limit"
            ),
            {
                "chain": self._chain,
                "first": first,
                "last": NO_END if last is None else last,
                "address": address,
                "topic": topic,
                "tx_hash": tx_hash,
                "limit": limit,
            },
        )
        return [
            Recorded(
                Log(
                    row[0],
                    row[1],
                    row[3],
                    tuple(topic for topic in row[4:8] if topic),
                    row[8],
                    row[9],
                    row[10],
                    row[11],
                ),
                row[12],
                row[2],
                row[13],
            )
            for row in rows
        ]

    # --- within ---

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
                "AND number BETWEEN :first AND :last AND " + _LIVING.replace("l.block_number", "l.number")
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
                f"AND l.block_number BETWEEN :first AND :last AND {_LIVING} ORDER BY {_BY_KEY}"
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
        kind_of = self._intern({(log.address, log.topics[0] if log.topics else b"") for log in logs})
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
                    log.tx_hash,
                    log.tx_index,
                    topics[1] if len(topics) > 1 else None,
                    topics[2] if len(topics) > 2 else None,
                    topics[3] if len(topics) > 3 else None,
                    log.data,
                )
            )
        held = [blocks[number] for number in dict.fromkeys(map(attrgetter("block_number"), logs))]
        bulk.insert(
            self._tx,
            "blocks",
            ("chain_id", "number", "entry", "hash", "parent_hash", "timestamp"),
            [(chain, b.number, entry, b.hash, b.parent_hash, b.timestamp) for b in held],
        )
        bulk.insert(self._tx, "logs", bulk.LOG_COLUMNS, rows)
        appended = Appended(entry, held[0].number, held[-1].number, len(logs))
        Ledger(self._tx, chain).void(
            appended.first_block, appended.last_block, addresses={address for address, _ in kind_of}
        )
        self._record(appended, held[-1].hash, touched, digest.of_logs(held, logs))
        return appended

    def _intern(self, wanted: set[tuple[bytes, bytes]]) -> dict[tuple[bytes, bytes], int]:
        known: dict[tuple[bytes, bytes], int] = {}
        for address in {address for address, _ in wanted}:
            for kind, topic0 in self._tx.execute(
                text("SELECT kind, topic0 FROM log_kinds WHERE address = :address"),
                {"address": address},
            ):
                known[(address, topic0)] = kind
        missing = sorted(wanted - known.keys())
        if missing:
            if self._tx.dialect.name == "postgresql":  # another chain's ingester may intern as well
                self._tx.execute(text("LOCK TABLE log_kinds IN SHARE ROW EXCLUSIVE MODE"))
            start = self._tx.execute(text("SELECT coalesce(max(kind), 0) FROM log_kinds")).scalar_one()
            self._tx.execute(
                text(
                    "INSERT INTO log_kinds VALUES (:kind, :address, :topic0) "
                    "ON CONFLICT (address, topic0) DO NOTHING"
                ),
                [
                    {"kind": kind, "address": address, "topic0": topic0}
                    for kind, (address, topic0) in enumerate(missing, start=start + 1)
                ],
            )
            return self._intern(wanted)
        return {pair: known[pair] for pair in wanted}

    def _record(
        self, item: Appended | Orphaned, head_hash: bytes, touched: Mapping[int, int], rows: bytes
    ) -> None:
        """Writes the entry's own rows, and chains its digest to the one before it."""
        previous = self._tx.execute(
            text("SELECT digest FROM entries WHERE chain_id = :chain AND entry = :entry"),
            {"chain": self._chain, "entry": item.entry - 1},
        ).scalar()
        at = clock.now()
        previous = digest.START if previous is None else previous
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
            "entry_kinds",
            ("chain_id", "kind", "entry", "first_block"),
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

    def _select(self, kinds: Sequence[int], first: int, last: int, limit: int) -> tuple[list[StoredLog], int]:
        """The first `limit` of these logs, and up to which block they are all, where they are fewer.

        Where many logs are wanted they are read along the primary key, which is the order of the answer
        ("+ 0" keeps both planners on it). Where few are, the index on kind finds them, and what it finds is
        sorted: a page's worth for each kind, so that a page costs what it reads, not what lies between.
        """
        by_index(self._tx)
        few = self._few(kinds, first, last, limit)
        own = "l.block_number, l.log_index, l.entry, l.kind, l.tx_hash, l.topic1, l.topic2, l.topic3, l.data"

        def asked(*, living: bool) -> Sequence[Any]:
            if few is not None:
                found, values = self._of_kinds(own, kinds, first, few, also=living * f" AND {_LIVING}")
            else:
                among_them, wanted = among(kinds, sqlite=self._sqlite)
                values = (self._chain, first, last, *wanted)
                found = (
                    "FROM logs l WHERE l.chain_id = ? AND l.block_number BETWEEN ? AND ? "
                    f"AND l.kind + 0 {among_them}{f' AND {_LIVING}' if living else ''}"
                )
            return self._rows(f"SELECT {own} {found} ORDER BY {_BY_KEY} LIMIT ?", (*values, limit))

        rows = asked(living=False)
        if rows and self._any_orphans(rows[0][0], rows[-1][0]):  # seldom; asked of each log it is slow
            rows = asked(living=True)
        return list(starmap(StoredLog, rows)), last if few is None else few

    def _any_orphans(self, first: int, last: int) -> bool:
        sql = "SELECT 1 FROM orphans WHERE chain_id = ? AND block_number BETWEEN ? AND ? LIMIT 1"
        return bool(self._rows(sql, (self._chain, first, last)))

    def _few(self, kinds: Sequence[int], first: int, last: int, limit: int) -> int | None:
        """Up to which block the index on kind is the shorter road to the next `limit`; None: it is not."""
        span = (self._chain, first, last)
        of_kinds, values = self._of_kinds("1", kinds, first, last)
        (found,) = self._rows(
            f"SELECT count(*) FROM (SELECT 1 {of_kinds} LIMIT ?) AS found", (*values, limit)
        )
        if found[0] < limit:
            return last
        if len(kinds) > LISTED:
            return None  # to look for the end of each takes longer
        sample = self._rows(
            "SELECT kind FROM logs WHERE chain_id = ? AND block_number BETWEEN ? AND ? "
            "ORDER BY block_number, log_index, entry LIMIT ?",
            (*span, _SAMPLE),
        )
        if _DENSE * sum(kind in kinds for (kind,) in sample) >= len(sample):
            return None
        ends = []
        for kind in kinds:
            of_kind, values = self._of_kinds("l.block_number", [kind], first, last, tail="LIMIT 1 OFFSET ?")
            ends += [number for (number,) in self._rows(f"SELECT l.block_number {of_kind}", (*values, limit))]
        return min(ends, default=last)

    def _of_kinds(
        self, columns: str, kinds: Sequence[int], first: int, last: int, **how: Any
    ) -> tuple[str, tuple[Any, ...]]:
        return by_kind(columns, self._chain, kinds, first, last, sqlite=self._sqlite, **how)

    def _rows(self, sql: str, values: Sequence[Any]) -> Sequence[Any]:
        return bulk.rows(self._tx, sql, values)

    def _blocks_of(self, logs: Sequence[StoredLog]) -> dict[tuple[int, int], StoredBlock]:
        if not logs:
            return {}
        columns = "SELECT number, entry, hash, timestamp FROM blocks WHERE chain_id = ? AND number"
        first, last = logs[0].block_number, logs[-1].block_number
        numbers = sorted({log.block_number for log in logs})
        rows: list[Any] = []
        if _DENSE * len(numbers) >= last - first:
            rows += self._rows(f"{columns} BETWEEN ? AND ?", (self._chain, first, last))
        elif not self._sqlite:
            one = f"{columns} = wanted.number OFFSET 0"
            sql = f"SELECT b.* FROM unnest(?::int8[]) AS wanted (number) CROSS JOIN LATERAL ({one}) b"
            rows += self._rows(sql, (numbers, self._chain))
        else:
            for some in batches(numbers, _AT_ONCE):
                rows += self._rows(f"{columns} IN ({_marks(some)})", (self._chain, *some))
        return {
            (number, entry): StoredBlock(number, hash_, timestamp) for number, entry, hash_, timestamp in rows
        }


def _marks(values: Sequence[int]) -> str:
    return ", ".join("?" * len(values))
