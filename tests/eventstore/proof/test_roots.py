"""Hashes and roots are those of the chain itself, and of the libraries that compute them the long way."""

from __future__ import annotations

from typing import Any

import pytest
import rlp as library
from hypothesis import given
from hypothesis import strategies as st
from trie import HexaryTrie

from eventstore.proof import header, receipt, rlp
from eventstore.proof.trie import EMPTY, root_of
from tests.eventstore.proof.blocks import BLOCKS, named

ITEMS = st.recursive(st.binary(max_size=80), lambda inner: st.lists(inner, max_size=8), max_leaves=30)


@given(ITEMS)
def test_the_encoding_is_that_of_the_library(item: Any) -> None:
    assert rlp.encode(item) == library.encode(item)


@given(st.integers(0, 2**300))
def test_a_number_is_encoded_as_the_library_does(value: int) -> None:
    assert rlp.encode(rlp.number(value)) == library.encode(value)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 16, 17, 127, 128, 129, 200, 256, 300])
def test_the_root_of_a_list_is_that_of_a_trie(count: int) -> None:
    """Short items stand in the node above, long ones are hashed."""
    values = [bytes([place % 255 + 1]) * (place % 90 + 1) for place in range(count)]
    tree = HexaryTrie({})
    for place, value in enumerate(values):
        tree[library.encode(place)] = value
    assert root_of(values) == tree.root_hash


def test_an_empty_list_has_the_root_that_every_empty_block_shows() -> None:
    assert root_of([]).hex() == "56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421"
    assert root_of([]) == EMPTY


@pytest.mark.parametrize("line", BLOCKS, ids=named)
def test_a_real_block_recomputes_where_its_chain_hashes_as_ethereum_does(line: dict[str, Any]) -> None:
    block, receipts, told = line["block"], line["receipts"], line["verified"]
    sealed = header.sealed(block)
    assert sealed is not None
    assert sealed.holds == told["headerHash"]
    assert (receipt.root(receipts) == sealed.receipts_root) == told["receiptsRoot"]
    assert (receipt.bloom_of(receipts) == sealed.bloom) == told["logsBloom"]


@pytest.mark.parametrize(
    "field", ["stateRoot", "logsBloom", "receiptsRoot", "extraData", "timestamp", "nonce"]
)
def test_a_header_with_one_field_altered_does_not_hash_to_what_it_says(field: str) -> None:
    block = dict(BLOCKS[0]["block"])
    block[field] = block[field][:-1] + ("1" if block[field][-1] != "1" else "2")
    sealed = header.sealed(block)
    assert sealed is not None
    assert not sealed.holds


def test_a_header_of_an_unknown_form_has_no_hash() -> None:
    full = next(line["block"] for line in BLOCKS if "requestsHash" in line["block"])
    assert header.hash_of(full) is not None
    assert header.hash_of({name: value for name, value in full.items() if name != "withdrawalsRoot"}) is None
    assert header.hash_of({name: value for name, value in full.items() if name != "stateRoot"}) is None
    assert header.hash_of({**full, "difficulty": "many"}) is None
    assert header.sealed({"number": "0x1"}) is None


def test_a_deposit_has_a_nonce_in_its_hash_from_canyon_on() -> None:
    """op-geth: before that fork the nonce was in the JSON and not in what was hashed."""
    plain = {"type": "0x7e", "status": "0x1", "cumulativeGasUsed": "0xb44c", "logs": []}
    plain["logsBloom"] = "0x" + "00" * 256
    before = {**plain, "depositNonce": "0x10"}
    after = {**before, "depositReceiptVersion": "0x1"}
    assert receipt.encoded(before) == receipt.encoded(plain)
    assert receipt.encoded(after)[-2:] == b"\x10\x01"
    assert receipt.root([{"type": "0x2"}]) is None
