"""A block of a simulated chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from eventstore.records import Log

JsonObject = dict[str, Any]
"""An object of JSON, as a node writes it."""


class Block(Struct, frozen=True, gc=False):
    """A block as a node has it.

    `fields` are its own and `receipts` those of its transactions, by their hashes and in their order:
    JSON as it was recorded from a real node, and empty in a block that was mined here.
    """

    number: int
    hash: bytes
    parent_hash: bytes
    timestamp: int
    logs: Sequence[Log] = ()
    bloom: bytes | None = None
    fields: Mapping[str, object] = {}
    receipts: Mapping[bytes, Mapping[str, object]] = {}

    def transactions(self) -> list[bytes]:
        """Their hashes; of a block that was mined here all that emitted something."""
        return list(self.receipts or dict.fromkeys(log.tx_hash for log in self.logs))
