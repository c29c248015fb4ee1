"""What blocks prove: pure decisions over headers, receipts, and what the journal holds.

The ladder: the header hashes to what the chain above it names as parent; its bloom admits no log of ours, or
its receipts hash to the root in it, and then their logs of ours are exactly those that live in the journal.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from msgspec import Struct

from eventstore.errors import AnswerRefused, BlockUnknown
from eventstore.proof import bloom, receipt
from eventstore.proof.header import Sealed
from eventstore.proof.profile import Profile
from eventstore.records import BlockRange, Filter, Log, Query


class Proven(Struct, frozen=True, tag="proven"):
    """The journal holds exactly the logs of the block; `by` is what shows it."""

    by: Literal["bloom", "receipts"]


class Unproven(Struct, frozen=True, tag="unproven"):
    """Nothing can be said: `reason` is a sentence. The journal may be right."""

    reason: str


class Wrong(Struct, frozen=True, tag="wrong"):
    """The journal differs from the block that the chain committed to; one sentence for each log."""

    differences: tuple[str, ...]


Verdict = Proven | Unproven | Wrong


class HeaderMissing(BlockUnknown):
    """There is no whole header of `block`; those above it came out."""

    def __init__(self, message: str, *, hint: str = "", block: int) -> None:
        super().__init__(message, hint=hint)
        self.block = block


class Unlinked(AnswerRefused):
    """The header of `block` does not come out, so nothing at and below it is linked to a final hash."""

    def __init__(self, message: str, *, hint: str = "", block: int) -> None:
        super().__init__(message, hint=hint)
        self.block = block


def linked(headers: Sequence[Sealed | None], blocks: BlockRange, top: bytes, *, by: str) -> list[Sealed]:
    """The headers of `blocks`, ascending, if each hashes to what the one above names as its parent, and the
    last to `top` (32 bytes). Raises `HeaderMissing` or `Unlinked`, which say at which block not, the highest;
    `by` is who gave them."""
    found = list(headers)
    expected, number = top, blocks.last
    for block in reversed(found):
        if block is None:
            raise HeaderMissing(
                f"{by} does not have the whole header of block {number}.",
                hint="It has pruned it, or leaves fields out: use another endpoint.",
                block=number,
            )
        if block.recomputed is None:
            reason = f"{by} gives a header of block {number} of no form that is known"
        elif not block.holds:
            reason = f"{by} gives a header of block {number} that does not hash to what it says it does"
        elif block.number != number or block.hash != expected:
            reason = f"{by} gives a block {number} that is not the one which the blocks above it stand on"
        else:
            expected, number = block.parent_hash, number - 1
            continue
        hint = "Nothing at and below this block can be proved by it."
        raise Unlinked(f"{reason}.", hint=hint, block=number)
    return [block for block in found if block is not None]


def in_order(receipts: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The receipts by the place of their transactions: nodes were seen to give them in another order."""
    try:
        return sorted(receipts, key=lambda item: int(item["transactionIndex"], 16))
    except (KeyError, TypeError, ValueError):
        return list(receipts)


def rooted(block: Sealed, receipts: Sequence[Mapping[str, Any]], *, by: str) -> list[Mapping[str, Any]]:
    """All receipts of an anchored block, in order, if they hash to its root; else raises `AnswerRefused`."""
    ordered = in_order(receipts)
    if receipt.root(ordered) != block.receipts_root:
        raise AnswerRefused(
            f"The receipts that {by} gives for block {block.number} are not those of its header.",
            hint="It leaves some out, or alters them: use another endpoint.",
        )
    return ordered


def wants_receipts(block: Sealed, query: Query, profile: Profile, *, held: bool) -> bool:
    """Must the receipts be seen? Not where a sound bloom rules our logs out and no log is `held`."""
    return held or not profile.bloom or bloom.may_contain(block.bloom, query)


def judged(
    block: Sealed,
    receipts: Sequence[Mapping[str, Any]] | None,
    living: Sequence[Log],
    filters: Sequence[Filter],
    *,
    times: Collection[int] = (),
) -> Verdict:
    """What an anchored block says of the `living` logs that the journal holds for `filters` in it.

    `receipts` are `rooted`; None where the bloom makes them needless. `times` are those, in seconds, that the
    journal gives the block: events without a timestamp take theirs from it.
    """
    if receipts is None:
        return Proven("bloom")
    wanted = logs_of(block, receipts, filters)
    if wanted and receipt.bloom_of(receipts) != block.bloom:
        return Unproven(f"the bloom of block {block.number} is not that of its logs")
    false = (f"its time is held as {time}" for time in sorted(set(times) - {block.timestamp}))
    differences = (*false, *_differences(block, wanted, living))
    return Wrong(differences) if differences else Proven("receipts")


def logs_of(block: Sealed, receipts: Sequence[Mapping[str, Any]], filters: Sequence[Filter]) -> list[Log]:
    """The logs of `filters` that the block committed to, ascending by index; `receipts` are `rooted`."""
    told = receipt.logs_of(receipts, number=block.number, block_hash=block.hash)
    return [log for log in told if any(item.matches(log) for item in filters)]


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
