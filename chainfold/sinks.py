"""The public API for authors of sinks: the port, what a kind of sink is, and the errors that a sink raises.

An installed package adds a sink by an entry point of the group `chainfold.sinks`: see docs/extending.md.
"""

from __future__ import annotations

from projections.errors import (
    DocumentsRefused,
    ForeignMarker,
    KeyConflict,
    MarkerLost,
    SinkError,
    SinkUnavailable,
)
from projections.sinks import Change, Marker, Readable, ReadableSink, Sink, Value
from projections.sinks.kinds import SinkKind, SinkRequest, SinkTable

__all__ = [
    "Change",
    "DocumentsRefused",
    "ForeignMarker",
    "KeyConflict",
    "Marker",
    "MarkerLost",
    "Readable",
    "ReadableSink",
    "Sink",
    "SinkError",
    "SinkKind",
    "SinkRequest",
    "SinkTable",
    "SinkUnavailable",
    "Value",
]
