"""Is the journal whole? Recomputes the digest chain from the rows themselves."""

from __future__ import annotations

from msgspec import Struct
from sqlalchemy import Connection, text

from eventstore import digest
from eventstore.records import Appended, Header, Log, Orphaned


class Broken(Struct, frozen=True):
    """An entry whose rows, or whose place in the chain, are not what its digest says."""

    entry: int
    reason: str


def check_digests(tx: Connection, chain_id: int, *, since: int = 0) -> list[Broken]:
    """Recomputes every entry after `since`, within this snapshot; names those that do not hold."""
    broken: list[Broken] = []
    previous: bytes | None = None
    number = since
    for row in tx.execute(
        text(
            "SELECT entry, kind, first_block, last_block, log_count, head_hash, recorded_at, "
            "previous_digest, digest FROM entries WHERE chain_id = :chain AND entry > :since "
            "ORDER BY entry"
        ),
        {"chain": chain_id, "since": since},
    ).all():
        number += 1
        if row.entry != number:
            broken.append(Broken(number, f"missing: the next entry is {row.entry}"))
            number = row.entry
        expected = digest.START if row.entry == 1 else previous
        if expected is not None and row.previous_digest != expected:
            broken.append(Broken(row.entry, "does not follow the entry before it"))
        make = Appended if row.kind == "appended" else Orphaned
        entry = make(row.entry, row.first_block, row.last_block, row.log_count)
        rows = _of_rows(tx, chain_id, entry)
        found = digest.of_entry(
            chain_id,
            entry,
            head_hash=row.head_hash,
            recorded_at=row.recorded_at,
            previous=row.previous_digest,
            rows=rows,
        )
        if found != row.digest:
            broken.append(Broken(row.entry, "its rows are not what they were when it was written"))
        previous = row.digest
    return broken


def _of_rows(tx: Connection, chain_id: int, entry: Appended | Orphaned) -> bytes:
    span = {
        "chain": chain_id,
        "entry": entry.entry,
        "first": entry.first_block,
        "last": entry.last_block,
    }
    if isinstance(entry, Orphaned):
        gone = tx.execute(
            text(
                "SELECT block_number, entry FROM orphans WHERE chain_id = :chain "
                "AND orphaned_by = :entry ORDER BY block_number, entry"
            ),
            span,
        )
        return digest.of_orphans([(number, of_entry) for number, of_entry in gone])
    blocks = tx.execute(
        text(
            "SELECT number, hash, parent_hash, timestamp FROM blocks WHERE chain_id = :chain "
            "AND number BETWEEN :first AND :last AND entry = :entry ORDER BY number"
        ),
        span,
    )
    logs = tx.execute(
        text(
            "SELECT l.block_number, l.log_index, k.address, k.topic0, l.topic1, l.topic2, l.topic3, "
            "l.data, l.tx_hash, l.tx_index FROM logs l JOIN log_kinds k ON k.kind = l.kind "
            "WHERE l.chain_id = :chain AND l.block_number BETWEEN :first AND :last "
            "AND l.entry = :entry ORDER BY l.block_number, l.log_index"
        ),
        span,
    )
    return digest.of_logs(
        (Header(*row) for row in blocks),
        (
            Log(row[0], row[1], row[2], tuple(t for t in row[3:7] if t), row[7], row[8], row[9], b"")
            for row in logs
        ),
    )
