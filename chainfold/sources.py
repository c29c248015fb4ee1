"""The public API for authors of sources: the ports, their records, and the errors that a source raises.

An installed package adds a source by an entry point of the group `chainfold.sources`: see
examples/adapters/source.
"""

from __future__ import annotations

from eventstore.errors import (
    AnswerRefused,
    BlockUnknown,
    RangeTooLarge,
    SourceError,
    SourceUnavailable,
    Throttled,
)
from eventstore.records import Answer, BlockRange, Header, Identity, Log, Query
from eventstore.sources import Node, Source, WithoutEvidence
from eventstore.sources.adapter import ChainSettings, SourceAdapter

__all__ = [
    "Answer",
    "AnswerRefused",
    "BlockRange",
    "BlockUnknown",
    "ChainSettings",
    "Header",
    "Identity",
    "Log",
    "Node",
    "Query",
    "RangeTooLarge",
    "Source",
    "SourceAdapter",
    "SourceError",
    "SourceUnavailable",
    "Throttled",
    "WithoutEvidence",
]
