"""Results of requests: records that the holder of a lease writes down for the command that waits."""

from __future__ import annotations

from typing import Any, assert_never

import msgspec
from msgspec import Struct

from eventstore.ingest.branch import Retreated
from eventstore.ingest.resync import Resynced
from projections.fold.operations import Republished, Retried, Skipped


class RangesDue(Struct, frozen=True):
    """This many failed ranges are asked for at the next step."""

    ranges: int


class Repaired(Struct, frozen=True):
    """What was done to each block."""

    blocks: list[str]


class ProvenBlocks(Struct, frozen=True):
    """Blocks were proved to the end; `reason` says why some are left, and is empty if all are proved."""

    reason: str


class RolledBack(Struct, frozen=True):
    """A projection stands after `block`, with `changed` documents, and waits there if `held`. `building`: the
    block is below what can be undone, so a build from the first block began instead."""

    block: int
    changed: int
    held: bool
    building: bool


class Resumed(Struct, frozen=True):
    """A projection goes on."""


class BuildStarted(Struct, frozen=True):
    """This generation is being built; `back`: it was built before and is taken up again."""

    generation: int
    back: bool


class DocumentsRetried(Struct, frozen=True):
    """What came of documents that a sink had not taken, as the publisher says it."""

    said: str


class NotificationsDue(Struct, frozen=True):
    """This many notifications are due now."""

    count: int


class Sentence(Struct, frozen=True):
    """The answer of a process of an earlier version, which wrote text."""

    text: str


Result = (
    Resynced
    | Retreated
    | RangesDue
    | Repaired
    | ProvenBlocks
    | RolledBack
    | Resumed
    | BuildStarted
    | Retried
    | Republished
    | Skipped
    | DocumentsRetried
    | NotificationsDue
    | Sentence
)
"""All that a request can result in."""

_TYPES: dict[str, type[Result]] = {
    "resynced": Resynced,
    "retreated": Retreated,
    "ranges due": RangesDue,
    "repaired": Repaired,
    "proven": ProvenBlocks,
    "rolled back": RolledBack,
    "resumed": Resumed,
    "build started": BuildStarted,
    "retried": Retried,
    "republished": Republished,
    "skipped": Skipped,
    "documents retried": DocumentsRetried,
    "notifications due": NotificationsDue,
    "sentence": Sentence,
}
_NAMES = {kind: name for name, kind in _TYPES.items()}


def encoded(result: Result) -> str:
    """A result as the text of a request's `detail`: its name and its fields."""
    return msgspec.json.encode((_NAMES[type(result)], msgspec.to_builtins(result))).decode()


def decoded(detail: str) -> Result:
    """The result in a request's `detail`; text of an earlier version is a `Sentence`."""
    try:
        name, fields = msgspec.json.decode(detail, type=tuple[str, dict[str, Any]])
        return msgspec.convert(fields, _TYPES[name])
    except (KeyError, msgspec.MsgspecError):
        return Sentence(detail)


def sentence(result: Result) -> str:
    """A result in words, without the full stop."""
    match result:
        case Resynced():
            return str(result)
        case Retreated(head, known, None):
            return f"the node's head is block {head:,}, ours {known:,}: there is no way back"
        case Retreated(head, known, done):
            assert done is not None  # the case above
            return (
                f"went back from block {known:,} to {done.rewound_to:,}, {done.orphaned:,} logs left the "
                "chain; the next sync or the running service folds and publishes up to the head, "
                f"block {head:,}"
            )
        case RangesDue(ranges):
            return f"{ranges:,} failed ranges are due now"
        case Repaired(blocks):
            return "; ".join(blocks)
        case ProvenBlocks(reason):
            return reason
        case RolledBack(block, building=True):
            return f"block {block} is below what can be undone: a build from the first block began"
        case RolledBack(block, changed, held):
            waits = "and waits there" if held else "and goes on from there"
            return f"rewound to block {block}, {changed:,} documents changed, {waits}"
        case Resumed():
            return "goes on"
        case BuildStarted(generation, back):
            return f"generation {generation} is {'taken up again' if back else 'being built'}"
        case Retried(events, first):
            if first is None:
                return "nothing was passed over; an event that halts is tried at every step"
            return f"{events:,} events are folded again, from block {first} on"
        case Republished(keys, revision):
            if revision is None:
                return "nothing is served yet"
            return f"{keys:,} keys are sent again, as revision {revision}"
        case Skipped(block, log_index):
            return f"log {log_index} of block {block} is passed over from now on"
        case DocumentsRetried(said):
            return said
        case NotificationsDue(count):
            return f"{count:,} notifications are due now"
        case Sentence(text):
            return text
        case _:
            assert_never(result)
