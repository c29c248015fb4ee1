"""Requests: rows that any version wrote, and what comes back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from eventstore.ingest.branch import Ingested, Retreated
from eventstore.ingest.resync import Resynced
from eventstore.records import BlockRange
from eventstore.storage.sql import text
from eventstore.storage.store import Store
from projections.fold.operations import Republished, Retried, Skipped
from projections.migrate import ensure
from projections.service.records.requests import (
    Operation,
    Prove,
    Rebuild,
    Repair,
    Republish,
    Requests,
    ResendNotifications,
    Resume,
    ResyncBlocks,
    Retreat,
    Retry,
    RetryDocuments,
    Rollback,
    Skip,
    UnknownOperation,
    kind_of,
)
from projections.service.records.results import (
    BuildStarted,
    DocumentsRetried,
    NotificationsDue,
    ProvenBlocks,
    RangesDue,
    Repaired,
    Result,
    Resumed,
    RolledBack,
    Sentence,
    decoded,
    encoded,
    sentence,
)

ROWS: list[tuple[str, dict[str, Any], Operation]] = [
    ("resync", {"first": 3, "last": None, "addresses": ["aa" * 20]}, ResyncBlocks(3, None, ["aa" * 20])),
    ("repair", {"blocks": [[7, "bb" * 32]]}, Repair([(7, "bb" * 32)])),
    ("retreat", {}, Retreat()),
    ("retry", {}, Retry()),
    ("prove", {"first": 0, "last": 2**62, "addresses": None}, Prove(0, 2**62, None)),
    ("rollback", {"to": 7, "hold": True}, Rollback(7, hold=True)),
    ("resume", {}, Resume()),
    ("rebuild", {"promote": True, "back": False}, Rebuild(promote=True, back=False)),
    ("mend", {"keys": ["0xa"], "above": 4}, Republish(["0xa"], 4)),
    ("skip", {"block": 7, "log_index": 1, "reason": "why"}, Skip(7, 1, "why")),
    ("again", {}, RetryDocuments()),
    ("again", {"replay": True, "number": None}, ResendNotifications(replay=True, number=None)),
]
"""The kinds and arguments of rows, as versions before the records wrote them."""


@pytest.fixture
def requests(store: Store) -> Requests:
    ensure(store)
    return Requests(store)


def row(store: Store, kind: str, arguments: str) -> None:
    with store.write() as tx:
        tx.execute(
            text(
                "INSERT INTO requests (lease, kind, arguments, state, detail, created_at) "
                "VALUES ('l', :kind, :arguments, 'pending', '', 1)"
            ),
            {"kind": kind, "arguments": arguments},
        )


@pytest.mark.parametrize(("kind", "arguments", "operation"), ROWS)
def test_a_pending_row_of_an_earlier_version_is_understood(
    store: Store, requests: Requests, kind: str, arguments: dict[str, Any], operation: Operation
) -> None:
    row(store, kind, json.dumps(arguments))
    assert [request.operation for request in requests.pending("l")] == [operation]


@pytest.mark.parametrize(("kind", "arguments", "operation"), ROWS)
def test_a_row_is_written_in_the_form_that_an_earlier_version_understands(
    store: Store, requests: Requests, kind: str, arguments: dict[str, Any], operation: Operation
) -> None:
    requests.submit("l", operation)
    with store.read() as tx:
        found = tx.execute(text("SELECT kind, arguments FROM requests")).one()
    assert (found[0], json.loads(found[1])) == (kind, arguments)


@pytest.mark.parametrize(
    ("kind", "arguments"), [("dance", "{}"), ("skip", '{"block": "x"}'), ("rollback", "[")]
)
def test_a_row_that_this_version_does_not_understand_keeps_its_name(
    store: Store, requests: Requests, kind: str, arguments: str
) -> None:
    row(store, kind, arguments)
    [request] = requests.pending("l")
    assert request.operation == UnknownOperation(kind)
    assert kind_of(request.operation) == kind


RESULTS: list[Result] = [
    Resynced(blocks=3, missing=1, missing_in=(2,)),
    Retreated(5, 9, Ingested(5, 4, rewound_to=5, orphaned=3, fetched=BlockRange(1, 2))),
    Retreated(5, 9),
    RangesDue(2),
    Repaired(["block 7 is as its receipts say"]),
    ProvenBlocks(""),
    RolledBack(7, 3, held=False, building=False),
    RolledBack(7, 0, held=False, building=True),
    Resumed(),
    BuildStarted(4, back=True),
    Retried(2, 9),
    Republished(2, 9),
    Skipped(7, 1),
    DocumentsRetried("2 documents were tried again, 0 stand aside"),
    NotificationsDue(3),
]


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: type(result).__name__)
def test_a_result_comes_back_as_it_was_written_and_has_a_sentence(result: Result) -> None:
    assert decoded(encoded(result)) == result
    assert sentence(result) or result == ProvenBlocks("")


def test_the_text_of_an_earlier_version_is_a_sentence_as_it_stands() -> None:
    said = "generation 4 is being built"
    assert decoded(said) == Sentence(said)
    assert sentence(decoded("17")) == "17"
