"""The error tree of the read side, under `eventstore.errors.ChainfoldError`.

ChainfoldError
├── ConfigurationError        the configuration, with the path of the key
├── SignatureError            an event declaration that cannot be parsed or bound
├── DecodingError             a log does not have the shape its event declares
├── ProjectorError            a projector is not usable, or raised
├── ValueRefused              a value does not fit the field it was put in
├── HistoryOutOfOrder         the journal showed (block, index) that does not rise
├── GenerationRefused         a generation may not be promoted
├── SinkError
│   ├── SinkUnavailable       unreachable or failing                            (retry)
│   ├── ForeignMarker         the sink belongs to another store or projection
│   ├── MarkerLost            the sink was wiped, restored or taken meanwhile   (retry)
│   ├── KeyConflict           the sink holds several documents under one key of ours
│   └── DocumentsRefused      the sink took everything but these documents
├── Stopped                   a scheduled run ends early, because the service is stopping
├── FetchProcessLost          the process that fetches in parallel ended before its work did
└── RequestRefused            a request of the HTTP API is not answered, with its status

The last three and the two below `BlockUnknown` and `AnswerRefused` are defined in the room that raises them.
"""

from __future__ import annotations

from collections.abc import Mapping

from eventstore.errors import ChainfoldError


class ConfigurationError(ChainfoldError):
    """The configuration cannot be used; the message names the key's path."""


class SignatureError(ChainfoldError):
    """An event declaration cannot be parsed, or a handler and a contract do not fit together."""


class DecodingError(ChainfoldError):
    """The log's topics or data do not have the shape that the event declares."""


class ProjectorError(ChainfoldError):
    """A projector class is not usable, or its handler raised on an event."""


class ValueRefused(ChainfoldError):
    """A value does not fit the field of the document it was put in."""


class HistoryOutOfOrder(ChainfoldError):
    """The journal gave two logs whose (block, index) does not rise: the projection halts."""


class GenerationRefused(ChainfoldError):
    """A generation may not be promoted as it is."""


class SinkError(ChainfoldError):
    """A sink failed or refused."""


class SinkUnavailable(SinkError):
    """The sink cannot be reached, or failed to write."""

    retry = True


class ForeignMarker(SinkError):
    """The sink carries the marker of another store, chain or projection."""


class MarkerLost(SinkError):
    """The marker in the sink is not the one this publisher knows: the sink changed meanwhile."""

    retry = True


class KeyConflict(SinkError):
    """The sink holds several documents under a key that may have only one."""


class DocumentsRefused(SinkError):
    """The sink took what it was sent, `written` of it newly, but for single documents.

    `reasons` says by key why: what the server said, or what its types cannot hold.
    """

    def __init__(self, sink: str, reasons: Mapping[str, str], *, written: int) -> None:
        key, reason = next(iter(reasons.items()))
        others = f" (and {len(reasons) - 1:,} others)" if len(reasons) > 1 else ""
        super().__init__(f"{sink} does not take the document {key}{others}: {reason}")
        self.reasons = dict(reasons)
        self.written = written
