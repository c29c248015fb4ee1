"""What one block proves: a pure decision over its header, its receipts, and what the journal holds of it.

The ladder: the header hashes to what the chain above it names as parent; its bloom admits no log of ours, or
its receipts hash to the root in it, and then their logs of ours are exactly those that live in the journal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from msgspec import Struct

from eventstore import bloom
from eventstore.proof import receipt
from eventstore.proof.header import Sealed
from eventstore.proof.profile import Profile
from eventstore.records import Filter, Log, Query


class Proven(Struct, frozen=True, tag="proven"):
    """The journal holds exactly the logs of the block; `by` is what shows it."""

    by: Literal["bloom", "receipts"]


class Unproven(Struct, frozen=True, tag="unproven"):
    """Nothing can be said: `reason` is a sentence. The journal may be right."""

    reason: str


class Wrong(Struct, frozen=True, tag="wrong"):
    """The journal differs from the block that the chain committed to; one sentence for each log."""

    differences: tuple[str, ...]


Outcome = Proven | Unproven | Wrong


def anchored(block: Sealed, expected: bytes) -> Unproven | None:
    """Is this the block that `expected` (32 bytes) is the hash of? None: it is."""
    if block.recomputed is None:
        return Unproven(f"the header of block {block.number} is of no form that is known")
    if not block.holds:
        return Unproven(f"the header of block {block.number} does not hash to what the node says it does")
    if block.hash != expected:
        return Unproven(f"block {block.number} is not the one that the blocks above it stand on")
    return None


def wants_receipts(block: Sealed, query: Query, living: Sequence[Log], profile: Profile) -> bool:
    """Must the receipts be seen? Not where a sound bloom rules our logs out and the journal holds none."""
    return bool(living) or not profile.bloom or bloom.may_contain(block.bloom, query)


def judged(
    block: Sealed,
    receipts: Sequence[Mapping[str, Any]] | None,
    living: Sequence[Log],
    filters: Sequence[Filter],
) -> Outcome:
    """What an anchored block says of the `living` logs that the journal holds for `filters` in it.

    `receipts` are all of the block's, as JSON, in order; None where the bloom makes them needless.
    """
    if receipts is None:
        return Proven("bloom")
    if receipt.root(receipts) != block.receipts_root:
        return Unproven(
            f"the receipts that the node gives for block {block.number} are not those of its header"
        )
    told = receipt.logs_of(receipts, number=block.number, block_hash=block.hash)
    wanted = [log for log in told if any(item.matches(log) for item in filters)]
    if wanted and receipt.bloom_of(receipts) != block.bloom:
        return Unproven(f"the bloom of block {block.number} is not that of its logs")
    differences = tuple(_differences(block, wanted, living))
    return Wrong(differences) if differences else Proven("receipts")


def _differences(block: Sealed, wanted: Sequence[Log], living: Sequence[Log]) -> list[str]:
    there = {log.log_index: log for log in wanted}
    ours = {log.log_index: log for log in living}
    said = []
    for index in sorted(there.keys() | ours.keys()):
        right, held = there.get(index), ours.get(index)
        if held is None:
            said.append(f"log {index} is missing")
        elif right is None:
            said.append(f"log {index} is not on the chain")
        elif held.block_hash != block.hash:
            said.append(f"log {index} is held of another block 0x{held.block_hash.hex()}")
        else:
            names = ("address", "topics", "data", "tx_hash", "tx_index")
            differing = [name for name in names if getattr(right, name) != getattr(held, name)]
            if differing:
                said.append(f"log {index} differs in {', '.join(differing)}")
    return said
