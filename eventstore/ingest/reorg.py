"""What does a new header mean? A pure decision, without I/O; `head.py` gets the headers that it needs.

Law: only a competing chain of headers is a reorg. A head that is lower than what is known is a node
that lags (or is syncing), and is waited for; a head whose ancestors are the known ones extends them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from msgspec import Struct

from eventstore.records import Header


class Extend(Struct, frozen=True):
    """The branch continues the known chain: these headers are new, ascending."""

    headers: tuple[Header, ...]


class Rewind(Struct, frozen=True):
    """The branch competes with the known chain: block `to` is the newest that both share."""

    to: int


class Wait(Struct, frozen=True):
    """Nothing to do: the node shows nothing that is not known."""


class Older(Struct, frozen=True):
    """Undecided: the header of block `number` is needed in front of the branch."""

    number: int


class Halt(Struct, frozen=True):
    """The node contradicts itself: its headers do not form a chain."""

    reason: str


Decision = Extend | Rewind | Wait | Older | Halt


def decide(known: Sequence[Header], branch: Sequence[Header]) -> Decision:
    """Compares what is known with a branch of headers that a node calls canonical.

    `known` ascends without holes and may be empty; `branch` ascends without holes, holds at least one
    header and ends at the newest header considered. `Older` may ask for headers below the lowest known
    one; `Rewind(-1)` says that not even block 0 is shared.
    """
    for below, above in pairwise(branch):
        if above.number != below.number + 1 or above.parent_hash != below.hash:
            return Halt(
                f"block {above.number} names 0x{above.parent_hash.hex()} as its parent, but the same "
                f"node gives 0x{below.hash.hex()} for block {below.number}"
            )
    if not known:
        return Extend(tuple(branch))
    hashes = {header.number: header.hash for header in known}
    tip = known[-1].number
    low = branch[0]
    agreed = [h.number for h in branch if hashes.get(h.number) == h.hash]
    if agreed:
        shared = agreed[-1]
    elif hashes.get(low.number - 1) == low.parent_hash:
        shared = low.number - 1
    elif low.number > 0:
        return Older(low.number - 1)
    else:
        shared = -1
    if branch[-1].number <= shared:
        return Wait()
    if shared == tip:
        return Extend(tuple(h for h in branch if h.number > tip))
    return Rewind(shared)
