"""What one block proves of what the journal holds of it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from eventstore.proof import header, receipt
from eventstore.proof.evidence import Outcome, Proven, Unproven, Wrong, anchored, judged, wants_receipts
from eventstore.proof.profile import profile_of
from eventstore.records import Filter, Log, Query
from tests.eventstore.proof.blocks import BLOCKS

LINE = BLOCKS[0]
RECEIPTS: list[dict[str, Any]] = LINE["receipts"]
BLOCK = header.sealed(LINE["block"])
assert BLOCK is not None
LOGS = receipt.logs_of(RECEIPTS, number=BLOCK.number, block_hash=BLOCK.hash)
ADDRESS = max({log.address for log in LOGS}, key=lambda a: sum(log.address == a for log in LOGS))
FILTER = Filter(ADDRESS)
OURS = [log for log in LOGS if log.address == ADDRESS]
ETHEREUM = profile_of(1)


def found(living: list[Log], receipts: list[dict[str, Any]] | None = RECEIPTS) -> Outcome:
    assert BLOCK is not None
    return judged(BLOCK, receipts, living, [FILTER])


def test_exactly_the_logs_of_the_block_are_proven_by_its_receipts() -> None:
    assert len(OURS) > 2
    assert found(OURS) == Proven("receipts")


def test_no_logs_are_proven_by_a_bloom_that_admits_none() -> None:
    assert BLOCK is not None
    nobody = Query((bytes([0xEE]) * 20,))
    assert not wants_receipts(BLOCK, nobody, [], ETHEREUM)
    assert wants_receipts(BLOCK, nobody, OURS, ETHEREUM)  # the journal holds one: it must be looked at
    assert wants_receipts(BLOCK, Query((ADDRESS,)), [], ETHEREUM)
    assert wants_receipts(BLOCK, nobody, [], profile_of(987_654))  # nobody knows its blooms
    assert judged(BLOCK, None, [], [Filter(nobody.addresses[0])]) == Proven("bloom")


def test_a_log_that_is_missing_is_named() -> None:
    assert found(OURS[1:]) == Wrong((f"log {OURS[0].log_index} is missing",))


def test_a_log_that_is_not_on_the_chain_is_named() -> None:
    extra = replace(OURS[0], log_index=9_999)
    assert found([*OURS, extra]) == Wrong(("log 9999 is not on the chain",))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data": b"other"}, "data"),
        ({"topics": (bytes(32),)}, "topics"),
        ({"tx_hash": bytes(32)}, "tx_hash"),
        ({"tx_index": 77}, "tx_index"),
        ({"data": b"", "tx_index": 77}, "data, tx_index"),
    ],
)
def test_a_log_that_was_altered_is_named_with_what_differs(change: dict[str, Any], said: str) -> None:
    altered = [replace(OURS[0], **change), *OURS[1:]]
    if not OURS[0].data and change.get("data") == b"":
        said = "tx_index"
    assert found(altered) == Wrong((f"log {OURS[0].log_index} differs in {said}",))


def test_a_log_of_another_block_of_that_number_is_named() -> None:
    elsewhere = [replace(log, block_hash=bytes(32)) for log in OURS]
    outcome = found(elsewhere)
    assert isinstance(outcome, Wrong)
    assert all("is held of another block" in item for item in outcome.differences)


def test_receipts_that_are_not_those_of_the_header_prove_nothing() -> None:
    """Also where they would show a log of ours as missing: who lies there is not known."""
    for receipts in (RECEIPTS[1:], RECEIPTS[::-1], [{**RECEIPTS[0], "logs": []}, *RECEIPTS[1:]]):
        assert isinstance(found(OURS, receipts), Unproven)
        assert isinstance(found([], receipts), Unproven)


def test_a_block_is_held_to_the_hash_that_the_chain_above_it_names() -> None:
    assert BLOCK is not None
    assert anchored(BLOCK, BLOCK.hash) is None
    assert anchored(BLOCK, bytes(32)) is not None
    assert anchored(replace(BLOCK, recomputed=bytes(32)), BLOCK.hash) is not None
    assert anchored(replace(BLOCK, recomputed=None), BLOCK.hash) is not None


@pytest.mark.parametrize("chain", [line["chain"] for line in BLOCKS if not line["verified"]["headerHash"]])
def test_a_chain_that_is_known_to_hash_otherwise_is_never_proven(chain: int) -> None:
    assert profile_of(chain).reason
