"""Blooms: ours equal those of real blocks, and never deny what a block holds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.proof import bloom
from eventstore.records import Log, Query
from tests.places import DATA

REAL_BLOCKS: list[dict[str, Any]] = json.loads((DATA / "real-blooms.json").read_text())
NOBODY = bytes([0xDE, 0xAD]) * 10

real_blocks = pytest.mark.parametrize(
    "block", REAL_BLOCKS, ids=[f"{block['chain']}-{block['number']}" for block in REAL_BLOCKS]
)


def log(address: bytes, *topics: bytes) -> Log:
    return Log(1, 0, address, topics, b"", bytes(32), 0, bytes(32))


def logs_of(block: dict[str, Any]) -> list[Log]:
    return [
        log(
            bytes.fromhex(item["address"][2:]),
            *(bytes.fromhex(topic[2:]) for topic in item["topics"]),
        )
        for item in block["logs"]
    ]


@real_blocks
def test_the_bloom_made_of_a_real_block_is_the_one_in_its_header(block: dict[str, Any]) -> None:
    assert bloom.make(logs_of(block)).hex() == block["logsBloom"][2:]


@real_blocks
def test_a_real_bloom_admits_every_log_of_its_block(block: dict[str, Any]) -> None:
    real = bytes.fromhex(block["logsBloom"][2:])
    for item in logs_of(block):
        assert bloom.may_contain(real, Query((item.address,), item.topics[:1]))


@real_blocks
def test_a_real_bloom_denies_an_address_that_is_not_there(block: dict[str, Any]) -> None:
    assert not bloom.may_contain(bytes.fromhex(block["logsBloom"][2:]), Query((NOBODY,)))


def test_one_address_of_many_is_enough() -> None:
    assert bloom.may_contain(bloom.make([log(NOBODY)]), Query((bytes(20), NOBODY)))


def test_the_address_alone_is_not_enough_where_topics_are_asked_for() -> None:
    assert not bloom.may_contain(bloom.make([log(NOBODY)]), Query((NOBODY,), (bytes(32),)))


def test_an_empty_bloom_denies_everything() -> None:
    assert not bloom.may_contain(bytes(256), Query((NOBODY,)))


def test_a_bloom_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="256 bytes, this one 20"):
        bloom.may_contain(NOBODY, Query((NOBODY,)))


@given(
    st.lists(
        st.tuples(
            st.binary(min_size=20, max_size=20),
            st.lists(st.binary(min_size=32, max_size=32), max_size=4),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_a_bloom_never_denies_a_log_that_it_was_made_of(
    items: list[tuple[bytes, list[bytes]]],
) -> None:
    logs = [log(address, *topics) for address, topics in items]
    made = bloom.make(logs)
    for item in logs:
        assert bloom.may_contain(made, Query((item.address,), item.topics[:1]))
