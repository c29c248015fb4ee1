"""What was ever learned of a chain, and when: the journal as an auditor asks it.

Law: the answer as of entry N is what it was when N was the newest entry: later entries are not seen, and what
they orphaned stands.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, TextClause, bindparam

from eventstore.journal.by_kind import LISTED
from eventstore.journal.kinds import kinds_of
from eventstore.records import NO_END, Filter, Log
from eventstore.storage.planner import by_index, key_by_key
from eventstore.storage.sql import text

PAGE = 1_000
"""Logs that are read together."""

FEW = 20_000
"""Up to so many logs of the kinds asked for, the index on kinds is the shorter way."""


class Question(Struct, frozen=True, kw_only=True):
    """Which logs: in blocks `first` to `last` (None: to the end), of any of `filters` (None: of all),
    of one transaction, naming an address (20 bytes, as a parameter, in a topic or in the data).

    `orphaned` False asks for the canonical ones, True for those that left the chain, None for both;
    `orphaned_by` for those that this entry took off it; `as_of` for how that stood at an entry of the
    journal. `after` is the (block, index, entry) of the last log that is known already.
    """

    first: int = 0
    last: int | None = None
    filters: tuple[Filter, ...] | None = None
    names: bytes | None = None
    tx_hash: bytes | None = None
    orphaned: bool | None = False
    orphaned_by: int | None = None
    as_of: int | None = None
    newest_first: bool = False
    after: tuple[int, int, int] | None = None


class Learned(Struct, frozen=True, gc=False):
    """A log, the entry that appended it, and the entry that orphaned it, if any up to `as_of`.

    `timestamp` is its block's, in seconds; `recorded_at` and `orphaned_at` are when these entries were
    made, in microseconds since 1970.
    """

    log: Log
    timestamp: int
    entry: int
    recorded_at: int
    orphaned_by: int | None
    orphaned_at: int | None


def ask(tx: Connection, chain_id: int, question: Question, *, page: int = PAGE) -> Iterator[Learned]:
    """The answer in the order of (block, index, entry), in the memory of one page, within this snapshot."""
    kinds = None
    if question.filters is not None:
        kinds = sorted(kinds_of(tx, question.filters))
        if not kinds:
            return
    begin = (NO_END, NO_END, NO_END) if question.newest_first else (-1, 0, 0)
    block, index, entry = begin if question.after is None else question.after
    values: dict[str, Any] = {
        "chain": chain_id,
        "block": block,
        "index": index,
        "entry": entry,
        "first": question.first,
        "last": NO_END if question.last is None else question.last,
        "orphaned_by": question.orphaned_by,
        "as_of": NO_END if question.as_of is None else question.as_of,
        "kinds": kinds,
        "word": None if question.names is None else bytes(12) + question.names,
        "tx_hash": question.tx_hash,
        "page": page,
    }
    listed = kinds is None or len(kinds) <= LISTED
    if kinds is not None and not listed and tx.dialect.name == "sqlite":
        values["kinds"] = json.dumps(kinds)
    of_kinds = "" if kinds is None else _among(tx, listed=listed)
    few = kinds is not None and _are_few(tx, values, of_kinds)
    if not few and not question.orphaned and question.orphaned_by is None:
        by_index(tx)  # along the primary key, which is the order of the answer
    query = _bound(_query(tx, question, of_kinds=of_kinds, few=few), of_kinds)
    while True:
        rows = tx.execute(query, values).all()
        for row in rows:
            yield _learned(row)
        if len(rows) < page:
            return
        values |= {"block": rows[-1][0], "index": rows[-1][1], "entry": rows[-1][2]}


def count_ever(tx: Connection, chain_id: int, *, first: int, last: int | None) -> int:
    """How many logs these blocks ever had, orphaned ones included; `last` None: to the end."""
    return int(
        tx.execute(
            text(
                "SELECT count(*) FROM logs WHERE chain_id = :chain AND block_number BETWEEN :first AND :last"
            ),
            {"chain": chain_id, "first": first, "last": NO_END if last is None else last},
        ).scalar_one()
    )


_LISTED = "IN :kinds"


def _among(tx: Connection, *, listed: bool) -> str:
    """What follows the name of a column that holds one of the kinds: see `by_kind.among`."""
    if listed:
        return _LISTED
    many = "IN (SELECT value FROM json_each(:kinds))"
    return many if tx.dialect.name == "sqlite" else "= ANY(CAST(:kinds AS int8[]))"


def _bound(sql: str, of_kinds: str) -> TextClause:
    query = text(sql)
    return query.bindparams(bindparam("kinds", expanding=True)) if of_kinds == _LISTED else query


def _are_few(tx: Connection, values: dict[str, Any], of_kinds: str) -> bool:
    query = (
        f"SELECT count(*) FROM (SELECT 1 FROM logs WHERE chain_id = :chain AND kind {of_kinds} "
        "AND block_number BETWEEN :first AND :last LIMIT :few) found"
    )
    asked = _bound(query, of_kinds)
    return int(tx.execute(asked, values | {"few": FEW}).scalar_one()) < FEW


def _query(tx: Connection, question: Question, *, of_kinds: str, few: bool) -> str:
    """One page after (block, index, entry)."""
    beyond, order = ("<", " DESC") if question.newest_first else (">", "")
    conditions = [
        "l.chain_id = :chain",
        "l.block_number BETWEEN :first AND :last",
        f"l.block_number {beyond}= :block",
        f"(l.block_number, l.log_index, l.entry) {beyond} (:block, :index, :entry)",
        "l.entry <= :as_of",
    ]
    if of_kinds:  # "+ 0" keeps the planner from the index: see `Journal.read`
        conditions.append(f"l.kind{'' if few else ' + 0'} {of_kinds}")
    if question.names is not None:
        inside = "instr(l.data, :word)" if tx.dialect.name == "sqlite" else "position(:word IN l.data)"
        conditions.append(f"(l.topic1 = :word OR l.topic2 = :word OR l.topic3 = :word OR {inside} > 0)")
    if question.tx_hash is not None:
        conditions.append("l.tx_hash = :tx_hash")
    if question.orphaned_by is not None:
        conditions.append("o.orphaned_by = :orphaned_by")
    if question.orphaned is False:
        conditions.append("o.orphaned_by IS NULL")
    gone = "o.chain_id = l.chain_id AND o.block_number = l.block_number AND o.entry = l.entry "
    gone += "AND o.orphaned_by <= :as_of"
    where = "{0}.chain_id = l.chain_id AND {0}.entry = "
    beside = (
        f"JOIN orphans o ON {gone}"
        if question.orphaned  # few: the planner may begin with them
        else key_by_key(tx, "orphaned_by", "orphans", "o", gone, left=True),
        key_by_key(tx, "address, topic0", "log_kinds", "k", "k.kind = l.kind"),
        key_by_key(
            tx, "hash, timestamp", "blocks", "b", f"{where.format('b')}l.entry AND b.number = l.block_number"
        ),
        key_by_key(tx, "recorded_at", "entries", "e", f"{where.format('e')}l.entry"),
        key_by_key(tx, "recorded_at", "entries", "g", f"{where.format('g')}o.orphaned_by", left=True),
    )
    return (
        "SELECT l.block_number, l.log_index, l.entry, k.address, k.topic0, l.topic1, l.topic2, l.topic3, "
        "l.data, l.tx_hash, l.tx_index, b.hash, b.timestamp, e.recorded_at, o.orphaned_by, g.recorded_at "
        f"FROM logs l {' '.join(beside)} WHERE {' AND '.join(conditions)} "
        f"ORDER BY l.block_number{order}, l.log_index{order}, l.entry{order} LIMIT :page"
    )


def _learned(row: Any) -> Learned:
    topics = tuple(topic for topic in row[4:8] if topic)
    log = Log(row[0], row[1], row[3], topics, row[8], row[9], row[10], row[11])
    return Learned(log, row[12], row[2], row[13], row[14], row[15])
