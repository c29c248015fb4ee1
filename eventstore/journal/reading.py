"""Canonical logs of some kinds, page by page, by the plan that reads least."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import starmap
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, text

from eventstore.journal.by_kind import LISTED, among, by_kind
from eventstore.journal.canonical import BY_KEY, LIVING, LIVING_BLOCK
from eventstore.journal.history import Question, ask
from eventstore.journal.kinds import LogKind, kinds_of
from eventstore.records import Filter, Header, Log, Query
from eventstore.storage import bulk
from eventstore.storage.batches import batches
from eventstore.storage.planner import by_index, key_by_key

_DENSE = 10
"""One log in so many must be wanted for all of them to be read."""

_SAMPLE = 1_000
"""Logs that are looked at to estimate that share."""

_AT_ONCE = 500
"""Blocks in one IN list."""


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


class LogPage(Struct, frozen=True):
    """Whole blocks of canonical logs, ascending by (block, index).

    `through` is the last block that the page speaks for: up to there nothing is missing.
    """

    logs: list[StoredLog]
    blocks: dict[tuple[int, int], StoredBlock]  # by (number, entry)
    through: int


class JournalReader:
    """The journal of one chain, within the caller's snapshot."""

    def __init__(self, tx: Connection, chain_id: int) -> None:
        self._tx = tx
        self._chain = chain_id
        self._sqlite = tx.dialect.name == "sqlite"

    def head(self) -> int:
        """The number of the newest entry; 0 in an empty journal."""
        found = self._tx.execute(
            text("SELECT max(entry) FROM entries WHERE chain_id = :chain"), {"chain": self._chain}
        ).scalar()
        return int(found or 0)

    def kinds(self, filters: Iterable[Filter]) -> dict[int, LogKind]:
        """The stored kinds of log that any of these filters matches, by number."""
        return kinds_of(self._tx, filters)

    def read(self, kinds: Iterable[int], *, after: int, to: int, limit: int) -> LogPage:
        """Canonical logs of these kinds in blocks `after` + 1 to `to`, about `limit` of them.

        Only whole blocks: a page ends before the block that would make it longer than `limit`, but
        holds at least one block.
        """
        wanted = sorted(kinds)
        if not wanted or after >= to:
            return LogPage([], {}, max(to, after))
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
        return LogPage(logs, self._blocks_of(logs), through)

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
            order=BY_KEY,
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
                "l.block_number", [kind], 0, to, also=f" AND {LIVING}", newest_first=True, tail="LIMIT 1"
            )
            number = next((row[0] for row in self._rows(f"SELECT l.block_number {of_kind}", values)), None)
            highest = max(highest, -1 if number is None else int(number))
        of_block = ask(self._tx, self._chain, Question(first=highest, last=highest))
        return next((item.log for item in of_block if query.matches(item.log)), None)

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
            + LIVING_BLOCK
            + " ORDER BY number DESC, entry DESC LIMIT ?"
        )
        found: dict[int, Header] = {}  # a block may stand in several entries
        while len(found) < limit and (rows := self._rows(sql, (self._chain, block - 1, limit))):
            found |= {row[0]: Header(*row) for row in rows}
            block = rows[-1][0]
        return list(found.values())[:limit]

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
                found, values = self._of_kinds(own, kinds, first, few, also=living * f" AND {LIVING}")
            else:
                among_them, wanted = among(kinds, sqlite=self._sqlite)
                values = (self._chain, first, last, *wanted)
                found = (
                    "FROM logs l WHERE l.chain_id = ? AND l.block_number BETWEEN ? AND ? "
                    f"AND l.kind + 0 {among_them}{f' AND {LIVING}' if living else ''}"
                )
            return self._rows(f"SELECT {own} {found} ORDER BY {BY_KEY} LIMIT ?", (*values, limit))

        rows = asked(living=False)
        if rows and self._any_orphans(rows[0][0], rows[-1][0]):  # rare; a look for each log is slow
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
                rows += self._rows(f"{columns} IN ({', '.join('?' * len(some))})", (self._chain, *some))
        return {
            (number, entry): StoredBlock(number, hash_, timestamp) for number, entry, hash_, timestamp in rows
        }
