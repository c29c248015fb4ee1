"""When was a contract created? Its code is there from one block on: that block is searched for, by halves."""

from __future__ import annotations

from collections.abc import Callable

from eventstore.errors import BlockUnknown, SourceError

HasCode = Callable[[bytes, int], bool]
"""Was there code at this address after this block?"""


def created(has_code: HasCode, address: bytes, *, head: int) -> int:
    """The block that created the contract at `address`, which is there at block `head`.

    One that was destroyed and created again is found as one of its creations: name its first block then.
    Raises `SourceError` where there is no contract, or where the node does not keep old state.
    """
    try:
        if not has_code(address, head):
            raise absent(address, head=head)
        low, high = 0, head  # none below low, one at high
        while low < high:
            middle = (low + high) // 2
            if has_code(address, middle):
                high = middle
            else:
                low = middle + 1
    except BlockUnknown as error:
        raise SourceError(
            f'start_block = "auto" needs a node that keeps old state. {error.message}',
            hint=f"Name the block that created 0x{address.hex()} instead.",
        ) from error
    return high


def absent(address: bytes, *, head: int) -> SourceError:
    """What a first block is refused with that must be looked for and cannot."""
    return SourceError(
        f"There is no contract at 0x{address.hex()} as of block {head}, so its first block cannot be "
        "looked for.",
        hint="Mend the address or the chain, or name start_block.",
    )
