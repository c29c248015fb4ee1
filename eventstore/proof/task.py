"""The blocks and filters of one prover step, and pure functions on them.

They give the query for a bloom, the proven ranges, and the disproof of a block.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from eventstore.journal.proofs import Anchor, Disproof
from eventstore.proof.evidence import Proven, Unproven, Verdict, Wrong
from eventstore.proof.header import Sealed
from eventstore.records import BlockRange, Filter, Query


class ProofTask(Struct, frozen=True):
    """Blocks to prove for some filters, and the trusted block at or above their end.

    `entry` and `mark` name the state of the journal and of its branch for which that is true.
    """

    blocks: BlockRange
    filters: tuple[Filter, ...]
    anchor: Anchor
    entry: int
    mark: bytes
    left: int


class LinkedHeaders(Struct, frozen=True):
    """Headers, ascending, that link up to a trusted one; `below` is what the lowest of them stands on.

    `broken` is the block below them whose header does not come out, None where that was not met.
    """

    headers: tuple[Sealed, ...]
    below: Anchor
    broken: Disproof | None = None

    @property
    def blocks(self) -> BlockRange | None:
        """Those whose headers came out."""
        return BlockRange(self.headers[0].number, self.headers[-1].number) if self.headers else None


def query_of(filters: Sequence[Filter]) -> Query:
    """What a bloom is asked: any of these addresses, and any of these topics if all filters name one."""
    topics = [item.topic0 for item in filters]
    named = tuple(sorted({topic for topic in topics if topic is not None}))
    return Query(tuple(sorted({item.address for item in filters})), named if None not in topics else ())


def parts_of(blocks: Sequence[Sealed], outcomes: Sequence[Verdict]) -> list[tuple[BlockRange, int]]:
    """The proven blocks as ranges without holes, and how many of each were proven by receipts."""
    found: list[tuple[BlockRange, int]] = []
    for block, outcome in zip(blocks, outcomes, strict=True):
        if not isinstance(outcome, Proven):
            continue
        told = int(outcome.by == "receipts")
        if found and found[-1][0].last + 1 == block.number:
            part, count = found[-1]
            found[-1] = BlockRange(part.first, block.number), count + told
        else:
            found.append((BlockRange(block.number, block.number), told))
    return found


def disproof_of(block: Sealed, outcome: Unproven | Wrong | Proven, by: str) -> Disproof:
    match outcome:
        case Wrong(differences):
            return Disproof(block.number, block.hash, "wrong", "; ".join(differences), by)
        case Unproven(reason):
            return Disproof(block.number, block.hash, "unproven", reason, by)
        case Proven():
            raise AssertionError("a proven block is not a disproof")
