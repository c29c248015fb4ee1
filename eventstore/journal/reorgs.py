"""Reorgs as the journal recorded them: what each took off the chain."""

from __future__ import annotations

from msgspec import Struct
from sqlalchemy import Connection

from eventstore.records import NO_END
from eventstore.storage.planner import by_index, key_by_key
from eventstore.storage.sql import text


class OrphanedKind(Struct, frozen=True):
    """What logs have in common: block, address, first topic (empty where there is none), number of topics."""

    block: int
    address: bytes
    topic0: bytes
    topics: int


class Reorg(Struct, frozen=True):
    """An entry that orphaned blocks `first_block` to `last_block`, at `recorded_at`, microseconds since 1970.

    `kinds` is how many logs of each kind it took off the chain.
    """

    entry: int
    recorded_at: int
    first_block: int
    last_block: int
    logs: int
    kinds: dict[OrphanedKind, int]


def reorgs_before(tx: Connection, chain_id: int, entry: int | None, *, limit: int) -> list[Reorg]:
    """The newest reorgs below an entry (None: of all), descending."""
    bound = NO_END if entry is None else entry
    return _found(tx, chain_id, "entry < :bound ORDER BY entry DESC", bound, limit)


def reorgs_after(tx: Connection, chain_id: int, entry: int, *, limit: int) -> list[Reorg]:
    """The first reorgs above an entry, ascending."""
    return _found(tx, chain_id, "entry > :bound ORDER BY entry", entry, limit)


def newest_reorg(tx: Connection, chain_id: int) -> int:
    """The entry of the newest reorg; 0 where the journal has none."""
    found = tx.execute(
        text("SELECT max(entry) FROM entries WHERE chain_id = :chain AND kind = 'orphaned'"),
        {"chain": chain_id},
    ).scalar()
    return int(found or 0)


def was_orphaned(tx: Connection, chain_id: int, topic: bytes) -> bool:
    """Did a log leave the chain that carries these 32 bytes as an indexed parameter?"""
    found = tx.execute(
        text(
            "SELECT 1 FROM orphans o JOIN logs l ON l.chain_id = o.chain_id "
            "AND l.block_number = o.block_number AND l.entry = o.entry WHERE o.chain_id = :chain "
            "AND (l.topic1 = :topic OR l.topic2 = :topic OR l.topic3 = :topic) LIMIT 1"
        ),
        {"chain": chain_id, "topic": topic},
    ).first()
    return found is not None


def _found(tx: Connection, chain_id: int, condition: str, bound: int, limit: int) -> list[Reorg]:
    rows = tx.execute(
        text(
            "SELECT entry, recorded_at, first_block, last_block, log_count FROM entries "
            f"WHERE chain_id = :chain AND kind = 'orphaned' AND {condition} LIMIT :limit"
        ),
        {"chain": chain_id, "bound": bound, "limit": limit},
    ).all()
    return [
        Reorg(
            row.entry,
            row.recorded_at,
            row.first_block,
            row.last_block,
            row.log_count,
            _kinds(tx, chain_id, row.entry, row.first_block, row.last_block),
        )
        for row in rows
    ]


def _kinds(
    tx: Connection, chain_id: int, entry: int, first_block: int, last_block: int
) -> dict[OrphanedKind, int]:
    by_index(tx)
    same = "l.chain_id = o.chain_id AND l.block_number = o.block_number AND l.entry = o.entry"
    logs = key_by_key(
        tx, "kind, topic1, topic2, topic3", "logs", "l", same, order="l.block_number, l.log_index, l.entry"
    )
    kinds = key_by_key(tx, "address, topic0", "log_kinds", "k", "k.kind = l.kind")
    more = (
        "CASE WHEN l.topic3 IS NOT NULL THEN 3 WHEN l.topic2 IS NOT NULL THEN 2 "
        "WHEN l.topic1 IS NOT NULL THEN 1 ELSE 0 END"
    )
    rows = tx.execute(
        text(
            f"SELECT o.block_number, k.address, k.topic0, {more}, count(*) FROM orphans o {logs} {kinds} "
            "WHERE o.chain_id = :chain AND o.orphaned_by = :entry "
            "AND o.block_number BETWEEN :first AND :last GROUP BY 1, 2, 3, 4 ORDER BY 2, 3, 1, 4"
        ),
        {"chain": chain_id, "entry": entry, "first": first_block, "last": last_block},
    )
    return {
        OrphanedKind(block, bytes(address), bytes(topic0), indexed + bool(topic0)): int(count)
        for block, address, topic0, indexed, count in rows
    }
