"""The error tree. A message says what, which value, what to do; `retry` says if trying again can help.

ChainfoldError
├── SourceError               a node or what it answered
│   ├── SourceUnavailable     unreachable, timed out, internal error            (retry)
│   ├── Throttled             too many requests; wait, do not ask for less      (retry)
│   ├── RangeTooLarge         ask for fewer blocks                              (retry, smaller)
│   ├── BlockUnknown          the node has not (or no longer) seen this block   (retry)
│   │   └── HeaderMissing     a proof needs a header that the node does not give (retry)
│   ├── AnswerRefused         the answer contradicts itself or the question     (retry)
│   │   └── Unlinked          a header does not hash to what the one above names (retry)
│   ├── Unreadable            what is there cannot be taken, however it is asked for: a gap
│   └── WrongChain            another chain id or genesis
├── StoreError                the event store
│   ├── StoreUnavailable      unreachable, disk full, locked                    (retry)
│   ├── SchemaOutdated        run `chainfold migrate`
│   ├── DataRefused           a value that the database cannot hold
│   ├── HistoryConflict       another payload under a key that lives            (retry)
│   ├── LeaseHeld             another process works on this                     (retry)
│   └── Fenced                this process lost its lease; its work was refused (retry)
├── BackupError               a backup cannot be written, or is not one that can be used here
│   └── BackupDamaged         its bytes are not those that were written
└── projections.errors ...    the read side
"""

from __future__ import annotations

from typing import ClassVar


class ChainfoldError(Exception):
    """Base of every error that chainfold raises on purpose.

    `hint` is what to do about it, one sentence; `retry` is True where trying again can help.
    """

    retry: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class SourceError(ChainfoldError):
    """A node failed, refused, or answered what cannot be."""


class SourceUnavailable(SourceError):
    """The node cannot be reached, timed out, or failed inside."""

    retry = True


class Throttled(SourceError):
    """The node asks for patience. Asking for a smaller range would not help."""

    retry = True

    def __init__(self, message: str, *, hint: str = "", after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.after = after


class RangeTooLarge(SourceError):
    """The node refuses a range of this width, or an answer of this size.

    `limit` is the greatest number of blocks it says it takes (a structural cap, worth remembering);
    `suggestion` the (first, last) it offers instead. Both may be wrong: see
    `eventstore.ingest.window.Window`.
    """

    retry = True

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        limit: int | None = None,
        suggestion: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.limit = limit
        self.suggestion = suggestion


class BlockUnknown(SourceError):
    """The node does not know a block: it lags, it pruned, or the block was orphaned."""

    retry = True


class AnswerRefused(SourceError):
    """An answer was not believed: it contradicts the question, the header, or itself."""

    retry = True


class Unreadable(SourceError):
    """What the node says of a block cannot be taken, and would not be at the next attempt: a number beyond
    what may be, a block whose answer is larger than the cap by every method.

    The block becomes a gap with this reason; what lies below and above it is fetched.
    """


class WrongChain(SourceError):
    """The node serves another chain than the configuration or the store says."""


class StoreError(ChainfoldError):
    """The event store failed or refused."""


class StoreUnavailable(StoreError):
    """The database cannot be reached, is locked, or has no room."""

    retry = True


class SchemaOutdated(StoreError):
    """The database's tables are older (or newer) than this code."""


class DataRefused(StoreError):
    """A value that the database cannot hold: too wide, too long, or text that cannot be encoded.

    The fault lies with that value, not with the store: the same write fails again, whenever it is tried.
    """


class HistoryConflict(StoreError):
    """A live log with this block and index has another payload: the block must be orphaned first.

    The source lied then or lies now; asking again may reach a node that agrees with history.
    """

    retry = True


class LeaseHeld(StoreError):
    """Another live process holds the lease."""

    retry = True


class Fenced(StoreError):
    """This process no longer holds the lease, or the cursor moved: nothing was written."""

    retry = True


class BackupError(ChainfoldError):
    """A backup cannot be written or used: no room, another store's, of another version, not empty."""


class BackupDamaged(BackupError):
    """A file of the backup is missing, truncated, or not what was written."""
