"""Where logs come from: the port that every source keeps. One file beside this one is one source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from eventstore.records import Answer, BlockRange, Header, Identity, Query


class Source(Protocol):
    """A view of one chain. It may lag, lie and fail; it must not pretend.

    Every method raises a `SourceError` of the fitting kind, never a vendor's exception. None
    retries: the loop that calls decides. All may be called from several threads at once.
    """

    def identity(self) -> Identity:
        """The chain id and the hash of block 0, asked anew at each call."""
        ...

    def head(self) -> Header:
        """The newest header the source knows."""
        ...

    def finalized(self) -> Header | None:
        """The newest header that the source calls final, or None where it cannot say (yet)."""
        ...

    def headers(self, numbers: Sequence[int]) -> list[Header | None]:
        """The headers of these blocks, in the order asked; None where the source has no such block."""
        ...

    def logs(self, query: Query, where: BlockRange | Header) -> Answer:
        """The logs that match `query`, ascending by (block, index), as the source tells them.

        By range: with the header of the range's last block from the same batch; raises
        `BlockUnknown` if the source does not know that block, `RangeTooLarge` if it wants less.
        By header: the logs of exactly the block with that hash, `BlockUnknown` where the source does
        not have it (any more). An empty answer whose bloom could match has been compared with the
        block's receipts.
        """
        ...
