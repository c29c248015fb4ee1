"""The balances of an ERC-20 token, from its `Transfer` logs alone.

Law: the balances of all holders add up to what was minted less what was burned. The zero address, from
which tokens are minted and to which they are burned, is not a holder.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from chainfold import Documents, Integer256, Projector, ProjectorError, handles

NOBODY = "0x" + "00" * 20


class Holder(Struct, frozen=True, gc=False):
    """An address that ever sent or received. `balance` is a uint256, in the token's smallest unit."""

    address: str
    balance: Integer256 = 0
    transfersIn: int = 0
    transfersOut: int = 0
    firstBlock: int = 0
    updatedAt: int = 0


class Balances(Projector):
    """Folds transfers into holders."""

    document = Holder
    key = "address"
    touched = "updatedAt"
    dates = ("updatedAt",)
    mongo_indexes = ("balance",)
    redis_fields = ("address", "balance")

    def keys(self, event: Any) -> Iterable[str]:
        return [key for key in (event.from_, event.to) if key != NOBODY]

    @handles("Transfer(address indexed from, address indexed to, uint256 value)")
    def transferred(self, event: Any, holders: Documents[Holder]) -> None:
        """`value` leaves one balance and enters the other; to oneself it does both."""
        if event.from_ != NOBODY:
            sender = _holder(holders, event.from_, event.block.number)
            left = sender.balance - event.value
            if left < 0:
                raise ProjectorError(
                    f"{sender.address} sends {event.value} and holds {sender.balance}.",
                    hint="Is start_block above the token's first block, or does the token change "
                    "balances without a Transfer?",
                )
            sender = replace(sender, balance=left, transfersOut=sender.transfersOut + 1)
            holders.put(sender.address, sender)
        if event.to != NOBODY:
            receiver = _holder(holders, event.to, event.block.number)
            balance = receiver.balance + event.value
            receiver = replace(receiver, balance=balance, transfersIn=receiver.transfersIn + 1)
            holders.put(receiver.address, receiver)


def _holder(holders: Documents[Holder], key: str, block: int) -> Holder:
    """The holder as it stands, or a new one first seen in `block`."""
    return holders.get(key) or Holder(key, firstBlock=block)
