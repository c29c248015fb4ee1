"""Logs of some kinds in a range of blocks, by the index on (chain, kind, block), as a part of SQL.

Both planners know a second road, the primary key, which is (chain, block, ...), and take it where they think
that the range has few logs. It would read all that lie in the range. The query names the index to SQLite;
PostgreSQL by comparing all three as one, in this order, which only this index has (`planning.by_index`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

LISTED = 500
"""The most kinds that a statement lists one by one."""

_PLACE = "(l.chain_id, l.kind, l.block_number)"


def among(kinds: Sequence[int], *, sqlite: bool) -> tuple[str, tuple[Any, ...]]:
    """What follows the name of a column that holds one of these, with its values: of many kinds one value.

    A statement takes 32,766 values on SQLite, 65,535 on PostgreSQL; an anonymous event has as many kinds
    of log as its first parameter has values.
    """
    if len(kinds) <= LISTED:
        return f"IN ({', '.join('?' * len(kinds))})", tuple(kinds)
    if sqlite:
        return "IN (SELECT value FROM json_each(?))", (json.dumps(list(kinds)),)
    return "= ANY(?::int8[])", (list(kinds),)


def by_kind(
    columns: str,
    chain_id: int,
    kinds: Sequence[int],
    first: int,
    last: int,
    *,
    sqlite: bool,
    also: str = "",
    newest_first: bool = False,
    tail: str = "",
) -> tuple[str, tuple[Any, ...]]:
    """A FROM that gives these logs as `l`, with its values.

    `columns` are those that are asked of `l`, as `l.name`, or 1; `also` is another condition, ` AND ...`;
    `tail` (LIMIT, OFFSET) says which are wanted in the order of blocks: with it `kinds` is one, and the
    values of `tail` follow.
    """
    way = "DESC" if newest_first else "ASC"
    if sqlite:
        of_kinds, wanted = among(kinds, sqlite=True)
        ordered = f" ORDER BY l.block_number {way} {tail}" if tail else ""
        return (
            "FROM logs l INDEXED BY logs_by_kind WHERE l.chain_id = ? AND l.block_number BETWEEN ? AND ? "
            f"AND l.kind {of_kinds}{also}{ordered}",
            (chain_id, first, last, *wanted),
        )
    return (
        f"FROM unnest(?::int8[]) AS wanted (kind) CROSS JOIN LATERAL (SELECT {columns} FROM logs l "
        f"WHERE {_PLACE} >= (?::int8, wanted.kind, ?::int8) AND {_PLACE} <= (?::int8, wanted.kind, ?::int8)"
        f"{also} ORDER BY l.chain_id {way}, l.kind {way}, l.block_number {way} {tail or 'OFFSET 0'}) l",
        (list(kinds), chain_id, first, chain_id, last),
    )
