"""Which log goes to which handler: the road from a raw log to a method of the projector."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from eventstore.journal import Kind, StoredBlock, StoredLog


class Route(Struct, frozen=True):
    """One kind of log, how to decode it, and the handler it goes to."""

    kind: Kind
    build: Callable[[tuple[bytes, ...], bytes, StoredLog, StoredBlock], Any]
    handle: Callable[[Any, Any], None]

    def decode(self, log: StoredLog, block: StoredBlock) -> Any:
        """The typed event; raises `DecodingError` where the log is none."""
        topics = tuple(
            topic
            for topic in (self.kind.topic0, log.topic1, log.topic2, log.topic3)
            if topic is not None and topic != b""
        )
        return self.build(topics, log.data, log, block)
