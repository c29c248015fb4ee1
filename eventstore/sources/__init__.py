"""The ports of sources: `Source` is what the ingester reads, `Node` what a configured chain needs.

Each folder next to this file is one kind of source.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from eventstore.errors import SourceError
from eventstore.proof import Evidence
from eventstore.proof.evidence import HeaderMissing
from eventstore.proof.header import Sealed
from eventstore.records import Answer, BlockRange, Header, Identity, Query


class Source(Protocol):
    """A view of one chain. It may lag, be wrong and fail; the checks and the ingester deal with that.

    Every method raises the `SourceError` that fits and never a vendor's exception, and none of them
    retries: the calling loop decides. Several threads may call all methods at the same time.
    """

    def identity(self) -> Identity:
        """The chain id and the hash of block 0, read again at each call: a URL may change its chain."""
        ...

    def head(self) -> Header:
        """The newest header that the source knows. Raises `BlockUnknown` while it has none."""
        ...

    def finalized(self) -> Header | None:
        """The newest header that the source calls final; None while it cannot say."""
        ...

    def headers(self, numbers: Sequence[int]) -> list[Header | None]:
        """The headers of these blocks in the order of `numbers`; None for a block that the source lacks."""
        ...

    def logs(self, query: Query, where: BlockRange | Header) -> Answer:
        """The logs that match `query`, ascending by (block, index).

        For a range: the logs of all its blocks, with the header of its last block read from the same
        state of the chain. Raises `BlockUnknown` if the source does not know the last block, and
        `RangeTooLarge` if it wants a smaller range.

        For a header: the logs of exactly the block with that hash. Raises `BlockUnknown` if the source
        does not have that block, or no longer has it on its chain.

        The answer may be wrong: `checks.check` refuses what contradicts the question or itself. No check
        can see a log that is left out, so a source must raise rather than return a part of the logs.
        """
        ...


class Node(Source, Evidence, Protocol):
    """A source that a chain of the configuration reads from: it can be named, counted, proved by and closed.

    A source without whole headers and receipts inherits `WithoutEvidence` for the proofs.
    """

    @property
    def name(self) -> str:
        """The endpoint's name for logs and errors, without secrets."""
        ...

    @property
    def requests(self) -> Counter[str]:
        """The calls made so far by method. `status` adds them up, and `sync --estimate` counts in them."""
        ...

    def has_code(self, address: bytes, block: int) -> bool:
        """Does a contract exist at `address` (20 bytes) after `block`? Errors as for the other methods.

        Asked only for contracts with `start_block = "auto"`. It must not change back to False in a higher
        block: the block that created the contract is found by halving.
        """
        ...

    def syncing(self) -> bool:
        """Does the source say that it is still catching up? False where it cannot say."""
        ...

    def close(self) -> None:
        """Ends all connections. The source is not used afterwards."""
        ...


class WithoutEvidence:
    """The proving half of a `Node` by which nothing can be proved: what it proves is reported as unproven."""

    name: str

    def linked(self, blocks: BlockRange, top: bytes) -> list[Sealed]:
        """Raises `HeaderMissing` for the last of `blocks`."""
        raise HeaderMissing(
            f"{self.name} gives no whole headers, so block {blocks.last} cannot be proved by it.",
            hint="Use a node of the chain for proofs, or set accept_unproven for this chain.",
            block=blocks.last,
        )

    def rooted(self, block: Sealed) -> Sequence[Mapping[str, Any]]:
        """Raises `SourceError`."""
        raise SourceError(
            f"{self.name} gives no receipts, so block {block.number} cannot be proved by it.",
            hint="Use a node of the chain for proofs, or set accept_unproven for this chain.",
        )
