"""Which headers come out, and what is said of one that does not: altered, or of a form that is not known."""

from __future__ import annotations

import json
import lzma
from typing import Any

import pytest
import rlp as library
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from eventstore.errors import AnswerRefused
from eventstore.proof import evidence, header
from eventstore.records import BlockRange
from tests.eventstore.proof.blocks import BLOCKS
from tests.places import DATA

FILE = DATA / "header-forms.jsonl.xz"
FORMS: list[dict[str, Any]] = [json.loads(line) for line in lzma.decompress(FILE.read_bytes()).splitlines()]
AMSTERDAM, SEALED, TURNS = (line["block"] for line in FORMS)
HASHED = [*header._FIELDS, ("mixHash", 32), ("nonce", 8), *header._LATER]
RIGHT = [line["block"] for line in BLOCKS if line["verified"]["headerHash"]] + [AMSTERDAM, SEALED, TURNS]


def rehashed(block: dict[str, Any], order: list[str], numbers: set[str]) -> dict[str, Any]:
    """The block with the hash that the library gives its fields in this order."""
    fields = [
        int(block[name], 16) if name in numbers else bytes.fromhex(block[name][2:])
        for name in order
        if block.get(name) is not None
    ]
    return {**block, "hash": "0x" + keccak(library.encode(fields)).hex()}


NUMBERS = {name for name, width in HASHED if width == 0} | {"auraStep"}


@pytest.mark.parametrize("line", FORMS, ids=lambda line: line["source"])
def test_a_real_header_of_each_form_comes_out(line: dict[str, Any]) -> None:
    sealed = header.sealed(line["block"])
    assert sealed is not None
    assert sealed.holds


@given(st.integers(0, 2**64 - 1))
def test_the_slot_is_a_quantity_and_may_be_zero(slot: int) -> None:
    block = rehashed({**AMSTERDAM, "slotNumber": hex(slot)}, [name for name, _ in HASHED], NUMBERS)
    sealed = header.sealed(block)
    assert sealed is not None
    assert sealed.holds
    assert header.hash_of({**block, "slotNumber": hex(slot + 1)}) != sealed.hash


def test_a_header_of_turns_may_have_a_base_fee() -> None:
    """As Gnosis Chain's from London to its merge: the fee follows the seal."""
    order = [name for name, _ in header._FIELDS] + ["auraStep", "auraSeal", "baseFeePerGas"]
    block = rehashed({**TURNS, "baseFeePerGas": "0x7"}, order, NUMBERS)
    sealed = header.sealed(block)
    assert sealed is not None
    assert sealed.holds
    filled = {**block, "mixHash": "0x" + "00" * 32, "nonce": "0x" + "00" * 8}  # as Erigon gives both
    assert header.hash_of(filled) == sealed.hash


def test_clients_name_step_and_signature_in_their_own_ways() -> None:
    plain = {name: value for name, value in TURNS.items() if name not in ("auraStep", "auraSeal")}
    seal = TURNS["auraSeal"][2:]
    step = int(TURNS["auraStep"], 16)
    for said in (
        {"step": str(step), "signature": seal},
        {"step": step, "signature": "0x" + seal},
        {"sealFields": [f"0x84{step:08x}", "0xb841" + seal]},
    ):
        assert header.hash_of({**plain, **said}) == header.hash_of(TURNS)


STRANGE = st.tuples(
    st.text(min_size=1).filter(lambda name: name not in header.KNOWN),
    st.one_of(st.integers(), st.text(), st.booleans(), st.lists(st.text()), st.just("0x0")),
)


@given(st.sampled_from(RIGHT), STRANGE)
def test_a_strange_field_beside_a_header_that_comes_out_says_nothing(
    block: dict[str, Any], strange: tuple[str, Any]
) -> None:
    sealed = header.sealed({**block, strange[0]: strange[1]})
    assert sealed is not None
    assert sealed.holds


@given(st.sampled_from(RIGHT), STRANGE, st.data())
def test_nobody_is_called_a_liar_for_a_field_that_we_do_not_know(
    block: dict[str, Any], strange: tuple[str, Any], data: st.DataObject
) -> None:
    """A header that a later fork made longer: its hash is over a field more."""
    forked = {
        **block,
        strange[0]: strange[1],
        "hash": "0x" + data.draw(st.binary(min_size=32, max_size=32)).hex(),
    }
    sealed = header.sealed(forked)
    assert sealed is not None
    assert sealed.recomputed is None
    with pytest.raises(AnswerRefused, match="of no form that is known"):
        evidence.linked([sealed], BlockRange(sealed.number, sealed.number), sealed.hash, by="a node")


@given(st.sampled_from(RIGHT), st.data())
def test_whatever_known_field_is_altered_the_header_does_not_hold(
    block: dict[str, Any], data: st.DataObject
) -> None:
    """Into anything, garbage included, and nothing breaks on it."""
    hashed = {name for name, _ in HASHED} | {"auraStep", "auraSeal", "hash"}
    name = data.draw(
        st.sampled_from(sorted(hashed & {key for key, value in block.items() if value is not None}))
    )
    value = data.draw(
        st.one_of(
            st.binary(max_size=40).map(lambda raw: "0x" + raw.hex()),
            st.integers(-(2**70), 2**260).map(hex),
            st.sampled_from(["0x", "", "0xzz", "-0x1", None, 7, [], {}]),
        )
    )
    sealed = header.sealed({**block, name: value})
    same = value == block[name] or (
        name in NUMBERS and isinstance(value, str) and _number(value) == int(block[name], 16)
    )
    assert sealed is None or sealed.holds == same


def _number(text: str) -> int | None:
    try:
        return int(text, 16) if text.startswith("0x") else None
    except ValueError:
        return None
