"""What one block proves of what the journal holds of it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from eventstore.errors import AnswerRefused, BlockUnknown
from eventstore.proof import header, receipt
from eventstore.proof.evidence import (
    Proven,
    Unproven,
    Verdict,
    Wrong,
    judged,
    linked,
    rooted,
    wants_receipts,
)
from eventstore.proof.profile import profile_of
from eventstore.records import BlockRange, Filter, Log, Query
from eventstore.sources.simulated.chain import SimulatedChain
from tests.eventstore.proof.blocks import BLOCKS, named

LINE = BLOCKS[0]
RECEIPTS: list[dict[str, Any]] = LINE["receipts"]
BLOCK = header.sealed(LINE["block"])
assert BLOCK is not None
LOGS = receipt.logs_of(RECEIPTS, number=BLOCK.number, block_hash=BLOCK.hash)
ADDRESS = max({log.address for log in LOGS}, key=lambda a: sum(log.address == a for log in LOGS))
FILTER = Filter(ADDRESS)
OURS = [log for log in LOGS if log.address == ADDRESS]
ETHEREUM = profile_of(1)


def found(living: list[Log], receipts: list[dict[str, Any]] | None = RECEIPTS) -> Verdict:
    assert BLOCK is not None
    return judged(BLOCK, receipts, living, [FILTER])


def test_exactly_the_logs_of_the_block_are_proven_by_its_receipts() -> None:
    assert len(OURS) > 2
    assert found(OURS) == Proven("receipts")


def test_no_logs_are_proven_by_a_bloom_that_admits_none() -> None:
    assert BLOCK is not None
    stranger = Query((bytes([0xEE]) * 20,))
    assert not wants_receipts(BLOCK, stranger, ETHEREUM, held=False)
    assert wants_receipts(BLOCK, stranger, ETHEREUM, held=True)  # the journal holds one: it must be looked at
    assert wants_receipts(BLOCK, Query((ADDRESS,)), ETHEREUM, held=False)
    assert wants_receipts(BLOCK, stranger, profile_of(987_654), held=False)  # its blooms are unknown
    assert judged(BLOCK, None, [], [Filter(stranger.addresses[0])]) == Proven("bloom")


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


@pytest.mark.parametrize("line", BLOCKS, ids=named)
def test_receipts_are_believed_where_they_hash_to_the_header_and_nowhere_else(line: dict[str, Any]) -> None:
    """In any order: the root says which one is right. A chain of another kind simply fails."""
    block = header.sealed(line["block"])
    receipts = [{**item, "transactionIndex": hex(place)} for place, item in enumerate(line["receipts"])]
    assert block is not None
    if line["verified"]["receiptsRoot"]:
        assert rooted(block, receipts, by="node") == receipts
        assert rooted(block, receipts[::-1], by="node") == receipts
    else:
        with pytest.raises(AnswerRefused, match="are not those of its header"):
            rooted(block, receipts, by="node")


@pytest.mark.parametrize(
    "receipts",
    [
        RECEIPTS[1:],
        RECEIPTS[:-1],
        [*RECEIPTS, RECEIPTS[-1]],
        [{**RECEIPTS[0], "logs": []}, *RECEIPTS[1:]],
        RECEIPTS[::-1],
        [],
    ],
    ids=["first is missing", "last is missing", "one twice", "logs left out", "reversed", "none"],
)
def test_receipts_that_are_not_those_of_the_header_are_refused(receipts: list[dict[str, Any]]) -> None:
    assert BLOCK is not None
    with pytest.raises(AnswerRefused, match=f"node gives for block {BLOCK.number} are not those"):
        rooted(BLOCK, receipts, by="node")


def test_a_block_whose_bloom_is_not_that_of_its_logs_is_unproven() -> None:
    assert BLOCK is not None
    assert isinstance(judged(replace(BLOCK, bloom=bytes(256)), RECEIPTS, OURS, [FILTER]), Unproven)


def test_a_block_is_held_to_the_hash_that_the_chain_above_it_names() -> None:
    assert BLOCK is not None
    here = BlockRange(BLOCK.number, BLOCK.number)
    assert linked([BLOCK], here, BLOCK.hash, by="node") == [BLOCK]
    for other, top, said in (
        (BLOCK, bytes(32), "is not the one which the blocks above it stand on"),
        (replace(BLOCK, number=1), BLOCK.hash, "is not the one which the blocks above it stand on"),
        (replace(BLOCK, recomputed=bytes(32)), BLOCK.hash, "does not hash to what it says it does"),
        (replace(BLOCK, recomputed=None), BLOCK.hash, "of no form that is known"),
    ):
        with pytest.raises(AnswerRefused, match=said):
            linked([other], here, top, by="node")
    with pytest.raises(BlockUnknown, match="does not have the whole header"):
        linked([None], here, BLOCK.hash, by="node")


def test_headers_are_linked_from_the_top_down_and_the_one_that_breaks_the_chain_is_named() -> None:
    """The one below a false parent is not asked to be right; the one above it was."""
    chain = SimulatedChain(sealed=True)
    chain.mine(3)
    fork = chain.reorg(2)
    whole = [chain.block(head.hash) for head in (chain.header(n) for n in range(4)) if head]
    found = [header.sealed(block.fields) for block in whole if block]
    top, blocks = fork.adopted[-1].hash, BlockRange(0, 3)
    assert linked(found, blocks, top, by="node") == found
    stale = chain.block(fork.orphaned[0].hash)
    assert stale is not None
    mixed = [*found[:2], header.sealed(stale.fields), found[3]]
    with pytest.raises(AnswerRefused, match="block 2 that is not the one"):
        linked(mixed, blocks, top, by="node")


@pytest.mark.parametrize("chain", [line["chain"] for line in BLOCKS if not line["verified"]["headerHash"]])
def test_a_chain_that_is_known_to_hash_otherwise_is_never_proven(chain: int) -> None:
    assert profile_of(chain).reason
