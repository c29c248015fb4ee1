"""Proof that the journal holds what the chain committed to: the port through which evidence comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from eventstore.proof.header import Sealed
from eventstore.records import BlockRange


class Evidence(Protocol):
    """Where headers and receipts come from. What it returns has been checked; it need not be believed.

    Errors are `SourceError`s, as those of a `Source`; `AnswerRefused` says what did not come out right.
    """

    @property
    def name(self) -> str:
        """The provider's name, without secrets."""
        ...

    def linked(self, blocks: BlockRange, top: bytes) -> list[Sealed]:
        """The headers of `blocks`, ascending: recomputed, and linked to the last's hash `top`."""
        ...

    def rooted(self, block: Sealed) -> Sequence[Mapping[str, Any]]:
        """All receipts of `block` as JSON, in order: they hash to the receipts root in its header."""
        ...
