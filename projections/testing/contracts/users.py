"""The documents that the suites of sinks write: users and their referrers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from projections.projectors import Projector
from projections.sinks import Change, Readable, Value
from projections.sinks.kinds import SinkRequest


class ContractUser(Struct, frozen=True):
    """The document that the suite writes."""

    address: str
    directReferrer: str | None
    level1Count: int
    active: bool
    updatedAt: int


class ContractUsers(Projector):
    """The projector whose documents the suite writes. It folds nothing."""

    document = ContractUser
    key = "address"
    dates = ("updatedAt",)
    mongo_indexes = ("directReferrer",)


FIELDS = ContractUser.__struct_fields__


def sink_request(folder: Path, *, server: Any = None) -> SinkRequest:
    """The request with which a kind makes a sink for this suite; relative paths are relative to `folder`."""
    return SinkRequest("referrals", 1, ContractUsers(), folder, server)


def user(key: str, revision: int, **fields: Value) -> Change:
    """A document under `key` at this revision."""
    given: dict[str, Value] = {
        "address": key,
        "directReferrer": None,
        "level1Count": revision,
        "active": True,
        "updatedAt": 1_700_000_000 + revision,
    }
    return Change(key, revision, block=revision * 10, fields=given | fields)


def gone(key: str, revision: int) -> Change:
    """The removal of the document under `key`, at this revision."""
    return Change(key, revision, block=revision * 10, fields=None)


def held(sink: Readable, changes: Sequence[Change]) -> dict[str, Change]:
    """By key what the sink must hold of these changes."""
    return {change.key: sink.as_held(change) for change in changes}


def scanned(sink: Readable) -> dict[str, Change]:
    """By key what the sink holds."""
    return {change.key: change for change in sink.scan()}
