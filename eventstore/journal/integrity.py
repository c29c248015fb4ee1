"""Is the journal whole? Recomputes its digest chain, and looks for rows that no digest speaks for.

Law: what was written stays as it was written, so what this file finds was done behind the triggers'
back, or by a failing disk. A digest covers the rows of its entry; the shape of the journal it does not
cover: rows of no entry, two lives at one place, an end that was cut off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import Connection

from eventstore.journal import digest
from eventstore.journal.canonical import LIVING_BY_PASS
from eventstore.journal.entries import chronicle
from eventstore.records import Appended, Orphaned
from eventstore.report import Check, Findings
from eventstore.storage.planner import by_pass
from eventstore.storage.sql import text

ADVICE = (
    "What was changed behind the journal's back cannot be put right in place. Fetch the blocks again with "
    "`chainfold sync --force`, so that the documents become right, or restore a backup from before."
)


class BrokenEntry(Struct, frozen=True):
    """An entry whose rows, or whose place in the chain, are not what its digest says."""

    entry: int
    reason: str


def check_journal(
    tx: Connection,
    chain_id: int,
    *,
    name: str = "journal",
    seen: int = 0,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Check:
    """Everything about one chain's journal, within this snapshot, in bounded memory.

    `seen` is the newest entry that somebody outside the journal knows of: a journal that ends before was
    cut off. `progress` is called with the logs that were looked at, and how many there are.
    """
    findings = Findings(name)
    total, head = tx.execute(
        text(
            "SELECT coalesce(sum(log_count), 0), coalesce(max(entry), 0) FROM entries WHERE chain_id = :chain"
        ),
        {"chain": chain_id},
    ).one()
    covered, known = tx.execute(
        text("SELECT count(*), coalesce(max(entry), 0) FROM coverage WHERE chain_id = :chain"),
        {"chain": chain_id},
    ).one()
    if max(seen, known) > head:
        findings.add(
            f"entry {head + 1}",
            f"missing: the journal ends at entry {head}, and once reached {max(seen, known)}",
        )
    for entry, broken in _entries(tx, chain_id):
        findings.checked += entry.log_count
        for item in broken:
            findings.add(f"entry {item.entry}", item.reason)
        progress(findings.checked, int(total))
    for what, detail in _stray(tx, chain_id):
        findings.add(what, detail)
    if not findings.found and not head:
        if not covered:
            return replace(findings.check(), error="Nothing was fetched yet: run `chainfold sync`.")
        return findings.check(note="No contract has emitted anything so far.")
    return findings.check(note=ADVICE if findings.found else "")


def check_digests(tx: Connection, chain_id: int, *, since: int = 0) -> list[BrokenEntry]:
    """Recomputes every entry after `since`, within this snapshot; names those that do not hold."""
    return [item for _, broken in _entries(tx, chain_id, since=since) for item in broken]


def _entries(
    tx: Connection, chain_id: int, *, since: int = 0
) -> Iterator[tuple[Appended | Orphaned, list[BrokenEntry]]]:
    """Each entry after `since`, and what is wrong with it."""
    previous = digest.START if since == 0 else None
    last = since
    for told in chronicle(tx, chain_id, since=since):
        entry, broken = told.entry.entry, []
        if entry != last + 1:
            broken.append(BrokenEntry(last + 1, f"missing: the next entry is {entry}"))
        if previous is not None and told.previous_digest != previous:
            broken.append(BrokenEntry(entry, "does not follow the entry before it"))
        if told.recomputed(chain_id) != told.digest:
            illegal = told.illegal()
            found = f" ({illegal}, and no chain gives such a number)" if illegal else ""
            broken.append(BrokenEntry(entry, f"its rows are not what they were when it was written{found}"))
        previous, last = told.digest, entry
        yield told.entry, broken


_TOUCHED = (
    "SELECT l.entry AS entry, l.kind AS kind, min(l.block_number) AS first_block FROM logs l "
    "WHERE l.chain_id = :chain GROUP BY l.entry, l.kind UNION ALL "
    "SELECT o.orphaned_by, l.kind, min(l.block_number) FROM orphans o JOIN logs l ON l.chain_id = o.chain_id "
    "AND l.block_number = o.block_number AND l.entry = o.entry WHERE o.chain_id = :chain "
    "GROUP BY o.orphaned_by, l.kind"
)
_NOTED = "SELECT entry, kind, first_block FROM entry_kinds WHERE chain_id = :chain"

_STRAY = (
    (
        "block {0}",
        "is of entry {1}, which does not speak for it",
        "SELECT b.number, b.entry FROM blocks b LEFT JOIN entries e ON e.chain_id = b.chain_id "
        "AND e.entry = b.entry AND e.kind = 'appended' AND b.number BETWEEN e.first_block AND e.last_block "
        "WHERE b.chain_id = :chain AND e.entry IS NULL",
    ),
    (
        "block {0}",
        "has logs of entry {1}, which has no such block",
        "SELECT DISTINCT l.block_number, l.entry FROM logs l LEFT JOIN blocks b ON b.chain_id = l.chain_id "
        "AND b.number = l.block_number AND b.entry = l.entry WHERE l.chain_id = :chain AND b.number IS NULL",
    ),
    (
        "block {0}",
        "of entry {1} is marked as orphaned by entry {2}, which did not orphan it",
        "SELECT o.block_number, o.entry, o.orphaned_by FROM orphans o LEFT JOIN entries e "
        "ON e.chain_id = o.chain_id AND e.entry = o.orphaned_by AND e.kind = 'orphaned' "
        "AND o.block_number BETWEEN e.first_block AND e.last_block AND o.entry < e.entry "
        "WHERE o.chain_id = :chain AND e.entry IS NULL",
    ),
    (
        "block {0}",
        "of entry {1} is marked as orphaned, and the journal never held it",
        "SELECT o.block_number, o.entry FROM orphans o LEFT JOIN blocks b ON b.chain_id = o.chain_id "
        "AND b.number = o.block_number AND b.entry = o.entry WHERE o.chain_id = :chain AND b.number IS NULL",
    ),
    (
        "block {0}",
        "lives {1} times, under different hashes",
        "SELECT l.block_number, count(DISTINCT l.hash) FROM (SELECT chain_id, number AS block_number, entry, "
        f"hash FROM blocks) l WHERE l.chain_id = :chain AND {LIVING_BY_PASS} GROUP BY l.block_number "
        "HAVING count(DISTINCT l.hash) > 1",
    ),
    (
        "block {0}, log {1}",
        "lives {2} times",
        "SELECT l.block_number, l.log_index, count(*) FROM logs l WHERE l.chain_id = :chain "
        f"AND {LIVING_BY_PASS} GROUP BY l.block_number, l.log_index HAVING count(*) > 1",
    ),
    (
        "entry {0}",
        "does not say from which block on it touches logs of kind {1}: projections may miss it",
        f"SELECT entry, kind, first_block FROM ({_TOUCHED}) touched EXCEPT {_NOTED}",
    ),
    (
        "entry {0}",
        "says that it touches logs of kind {1} from block {2} on, and does not",
        f"{_NOTED} EXCEPT SELECT entry, kind, first_block FROM ({_TOUCHED}) touched",
    ),
    (
        "block {0}, log {1}",
        "holds topics or hashes of a wrong length",
        "SELECT l.block_number, l.log_index FROM logs l JOIN log_kinds k ON k.kind = l.kind "
        "WHERE l.chain_id = :chain AND (length(l.tx_hash) <> 32 OR length(l.topic1) <> 32 "
        "OR length(l.topic2) <> 32 OR length(l.topic3) <> 32 OR length(k.address) <> 20 "
        "OR length(k.topic0) NOT IN (0, 32) OR (length(k.topic0) = 0 AND l.topic1 IS NOT NULL) "
        "OR (l.topic1 IS NULL AND l.topic2 IS NOT NULL) OR (l.topic2 IS NULL AND l.topic3 IS NOT NULL))",
    ),
    (
        "block {0}",
        "of entry {1} has hashes of a wrong length",
        "SELECT number, entry FROM blocks WHERE chain_id = :chain "
        "AND (length(hash) <> 32 OR length(parent_hash) <> 32)",
    ),
    (
        "coverage of 0x{0}",
        "has two ranges that overlap, at block {1}",
        "SELECT lower(hex(a.address)), b.first_block FROM coverage a JOIN coverage b "
        "ON a.chain_id = b.chain_id AND a.address = b.address AND a.topic0 = b.topic0 "
        "AND a.first_block < b.first_block AND a.last_block >= b.first_block WHERE a.chain_id = :chain",
    ),
)
"""What no digest covers: what it is about, what is wrong, and the query whose rows fill in both."""


def _stray(tx: Connection, chain_id: int) -> Iterator[tuple[str, str]]:
    by_pass(tx)
    for what, detail, query in _STRAY:
        if tx.dialect.name == "postgresql":
            query = query.replace("lower(hex(a.address))", "encode(a.address, 'hex')")  # noqa: PLW2901
        for row in tx.execute(text(query), {"chain": chain_id}):
            yield what.format(*row), detail.format(*row)
