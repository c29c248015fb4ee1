"""The digest chain of the journal: sha256(previous digest, the entry, its rows), in canonical bytes.

Indexes take 32 bits each, as nearly all do; a log with a wider one says so in the byte that counts its topics
and adds the upper halves, so that what was digested before such logs were taken stays as it was.

A change of an old row behind the triggers' back breaks every digest from there on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from struct import Struct as Packing

from eventstore.records import Appended, Header, Log, Orphaned

START = bytes(32)
"""The digest before the first entry."""

_ENTRY = Packing(">QQBQQQQ")
_BLOCK = Packing(">Q32s32sQ")
_LOG = Packing(">QII20s32sBI")
_UPPER = Packing(">II")
_WIDE = 0x80
"""Added to the number of topics where the upper halves of log index and transaction index follow."""
_HALF = 0xFFFFFFFF
_ORPHAN = Packing(">QQ")


def of_logs(blocks: Iterable[Header], logs: Iterable[Log]) -> bytes:
    """sha256 of an appended entry's rows: its blocks, then its logs, both ascending.

    Raises `struct.error` where a number is negative or beyond 64 bits: no digest speaks for it.
    """
    pack_block, pack_log = _BLOCK.pack, _LOG.pack
    parts = [pack_block(b.number, b.hash, b.parent_hash, b.timestamp) for b in blocks]
    for log in logs:
        topics, data, index, tx_index = log.topics, log.data, log.log_index, log.tx_index
        wide = index > _HALF or tx_index > _HALF
        parts.append(
            pack_log(
                log.block_number,
                index & _HALF if wide else index,
                tx_index & _HALF if wide else tx_index,
                log.address,
                log.tx_hash,
                len(topics) | _WIDE if wide else len(topics),
                len(data),
            )
        )
        if wide:
            parts.append(_UPPER.pack(index >> 32, tx_index >> 32))
        parts.extend(topics)
        parts.append(data)
    return sha256(b"".join(parts)).digest()


def of_orphans(gone: Sequence[tuple[int, int]]) -> bytes:
    """sha256 of an orphaned entry's rows: the (block number, entry) that left, ascending."""
    return sha256(b"".join(_ORPHAN.pack(*pair) for pair in gone)).digest()


def of_entry(
    chain_id: int,
    entry: Appended | Orphaned,
    *,
    head_hash: bytes,
    recorded_at: int,
    previous: bytes,
    rows: bytes,
) -> bytes:
    """The entry's digest; `recorded_at` in microseconds, `rows` by one of the two functions above."""
    head = _ENTRY.pack(
        chain_id,
        entry.entry,
        0 if isinstance(entry, Appended) else 1,
        entry.first_block,
        entry.last_block,
        entry.log_count,
        recorded_at,
    )
    return sha256(previous + head + head_hash + rows).digest()
