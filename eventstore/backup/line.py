"""One row of the journal as a line of text: a JSON array that begins with what it is; bytes are hex.

    ["entry", number, kind, first_block, last_block, log_count, head_hash, recorded_at, previous_digest,
     digest]
    ["block", number, hash, parent_hash, timestamp]
    ["log", block_number, log_index, address, [topic0, ...], data, tx_hash, tx_index]
    ["orphan", block_number, entry]

An entry is followed by its rows: an appended one by its blocks, then its logs; an orphaned one by its
orphans.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Struct

from eventstore.journal.entries import EntryRecord
from eventstore.records import Appended, Header, Log, Orphaned


class EntryLine(Struct, tag="entry", array_like=True, gc=False, forbid_unknown_fields=True):
    number: int
    kind: str
    first_block: int
    last_block: int
    log_count: int
    head_hash: str
    recorded_at: int
    previous_digest: str
    digest: str


class BlockLine(Struct, tag="block", array_like=True, gc=False, forbid_unknown_fields=True):
    number: int
    hash: str
    parent_hash: str
    timestamp: int


class LogLine(Struct, tag="log", array_like=True, gc=False, forbid_unknown_fields=True):
    block_number: int
    log_index: int
    address: str
    topics: list[str]
    data: str
    tx_hash: str
    tx_index: int


class OrphanLine(Struct, tag="orphan", array_like=True, gc=False, forbid_unknown_fields=True):
    block_number: int
    entry: int


_decode = msgspec.json.Decoder(EntryLine | BlockLine | LogLine | OrphanLine).decode


def written(told: EntryRecord) -> tuple[bytes, int]:
    """The lines of one entry, and how many they are."""
    entry = told.entry
    kind = "appended" if isinstance(entry, Appended) else "orphaned"
    lines = [
        f'["entry",{entry.entry},"{kind}",{entry.first_block},{entry.last_block},{entry.log_count},'
        f'"0x{told.head_hash.hex()}",{told.recorded_at},"0x{told.previous_digest.hex()}",'
        f'"0x{told.digest.hex()}"]'
    ]
    lines += [
        f'["block",{b.number},"0x{b.hash.hex()}","0x{b.parent_hash.hex()}",{b.timestamp}]'
        for b in told.blocks
    ]
    for log in told.logs:
        topics = ",".join([f'"0x{topic.hex()}"' for topic in log.topics])
        lines.append(
            f'["log",{log.block_number},{log.log_index},"0x{log.address.hex()}",[{topics}],'
            f'"0x{log.data.hex()}","0x{log.tx_hash.hex()}",{log.tx_index}]'
        )
    lines += [f'["orphan",{number},{of_entry}]' for number, of_entry in told.gone]
    lines.append("")
    return "\n".join(lines).encode(), len(lines) - 1


def read(lines: Iterable[bytes]) -> Iterator[EntryRecord]:
    """The entries of these lines; raises ValueError for a malformed line or one out of place."""
    told: EntryRecord | None = None
    for line in lines:
        match _decode(line):
            case EntryLine() as item:
                if told is not None:
                    yield told
                told = _begun(item)
            case LogLine() as item if told is not None:
                told.logs.append(
                    Log(
                        item.block_number,
                        item.log_index,
                        unhex(item.address),
                        tuple([unhex(topic) for topic in item.topics]),
                        unhex(item.data),
                        unhex(item.tx_hash),
                        item.tx_index,
                        b"",
                    )
                )
            case BlockLine() as item if told is not None:
                told.blocks.append(
                    Header(item.number, unhex(item.hash), unhex(item.parent_hash), item.timestamp)
                )
            case OrphanLine() as item if told is not None:
                told.gone.append((item.block_number, item.entry))
            case _:
                raise ValueError("a row stands before the first entry")
    if told is not None:
        yield told


def _begun(item: EntryLine) -> EntryRecord:
    if item.kind not in ("appended", "orphaned"):
        raise ValueError(f"an entry is of the kind {item.kind}")
    make = Appended if item.kind == "appended" else Orphaned
    return EntryRecord(
        make(item.number, item.first_block, item.last_block, item.log_count),
        unhex(item.head_hash),
        item.recorded_at,
        unhex(item.previous_digest),
        unhex(item.digest),
        [],
        [],
        [],
    )


def hexed(value: bytes) -> str:
    return f"0x{value.hex()}"


def unhex(said: str) -> bytes:
    """Raises ValueError unless it is 0x and hex digits."""
    if not said.startswith("0x"):
        raise ValueError(f"{said[:20]!r} is not hex with 0x")
    return bytes.fromhex(said[2:])
