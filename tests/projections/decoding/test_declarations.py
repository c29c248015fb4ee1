"""Declarations as people write them and tools give them: read where certain, else told what to write."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.decoding.artifact import read
from projections.decoding.event import NESTING, parse
from projections.errors import SignatureError
from tests.places import DATA

VECTORS = json.loads(gzip.decompress((DATA / "abi-event-vectors.json.gz").read_bytes()))
TRANSFER = "Transfer(address,address,uint256)"


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("event Transfer(address indexed from, address indexed to, uint256 value);", TRANSFER),
        ("event Transfer(address indexed from, address indexed to, uint value);", TRANSFER),
        (
            "event  Transfer(\n  address indexed from, // who\n  address to, /* whom\n */ uint256 value\n);",
            TRANSFER,
        ),
        ("/// @notice moved\nevent Transfer(address payable from, address to, uint256);", TRANSFER),
        ("Transfer(address,address,uint256) ; ;", TRANSFER),
        ("event Note(bytes4 indexed sig) anonymous;", "Note(bytes4)"),
        ("event Note(bytes4 indexed sig)\n  anonymous ;", "Note(bytes4)"),
        ("Many(uint [ ] [ 3 ] xs, byte b, int i, fixed f)", "Many(uint256[][3],bytes1,int256,fixed128x18)"),
        (
            "Pair(tuple(uint a, (bool, address payable) b)[] indexed pairs)",
            "Pair((uint256,(bool,address))[])",
        ),
        ("$_x(uint8 $, uint8 _)", "$_x(uint8,uint8)"),
        ("eventful(uint8 eventful)", "eventful(uint8)"),
        ("event event_(uint8 a)", "event_(uint8)"),
    ],
)
def test_pasted_solidity_that_is_certain_is_read(text: str, canonical: str) -> None:
    assert parse(text).canonical == canonical


def test_parameters_without_a_name_are_called_by_their_place_and_take_nobody_elses() -> None:
    event = parse("Sent(address, address arg0, uint256, uint256 arg2)")
    assert [item.name for item in event.parameters] == ["arg0_", "arg0", "arg2_", "arg2"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Sent(IERC20 indexed token)", "IERC20 is a type of the contract. Write what it is in the ABI"),
        ("Sent(Lib.Kind kind)", "Lib.Kind is a type of the contract"),
        ("Sent(Status[] all)", "Status is a type of the contract"),
        ("Sent(enum Status status)", "An enum is a uint8 in the ABI: write uint8 name."),
        ("Sent(contract IERC20 indexed token)", "A contract is an address in the ABI: write address name."),
        ("Sent(struct Order order)", "Write the struct's members in parentheses"),
        ("Sent(string memory what)", "Leave out memory"),
        ("Sent(bytes calldata what)", "Leave out calldata"),
        ("Sent(indexed address who)", "indexed stands after the type"),
        ("Sent(address who indexed)", "indexed stands right after the type"),
        ("Sent(address indexed indexed who)", "indexed stands right after the type"),
        ("Sent(uint7 n)", "Integers have 8, 16, ... 256 bits"),
        ("Sent(bytes33 n)", "bytes1 to bytes32"),
        ("Sent(uint256[MOST] all)", "Write the length of the array as a number."),
        ("Sent(mapping(address=>uint256) all)", "A mapping cannot be emitted"),
        ("function sent(address to) returns (bool)", "a declaration of another kind (function)"),
        ("error Sent(address to)", "a declaration of another kind (error)"),
        ("emit Sent(msg.sender);", "the types stand where it is declared"),
        ("event A(uint8 a); event B(uint8 b);", "Write each event as a text of its own"),
        ('{"type": "event", "name": "Sent"}', "That is JSON"),
        ("event Sent:\n    to: indexed(address)", "That is Vyper"),
        ("Sent(address a, uint256 a)", "two parameters are called a"),
        ("Sent(address 1st)", "a parameter has an invalid name: '1st'"),
        ("Sent(address who-else)", "a parameter has an invalid name: 'who-else'"),
        ("Sent(" + "(" * NESTING + "(uint8)" + ")" * NESTING + " deep)", "levels deep"),
    ],
)
def test_what_is_not_certain_is_refused_with_what_to_write(text: str, said: str) -> None:
    with pytest.raises(SignatureError) as refused:
        parse(text)
    assert said in str(refused.value)


@given(st.text(max_size=60) | st.text(alphabet="Eabc(),[]; \n/*0123indexeduint", max_size=60))
def test_whatever_is_written_is_an_event_or_a_sentence(text: str) -> None:
    try:
        event = parse(text)
    except SignatureError:
        return
    assert parse(str(event) + " anonymous" * event.anonymous) == event


# --- files ---

ITEM = {
    "type": "event",
    "name": "Transfer",
    "anonymous": False,
    "inputs": [
        {"name": "from", "type": "address", "indexed": True},
        {"name": "to", "type": "address", "indexed": True},
        {"name": "value", "type": "uint256", "indexed": False},
    ],
}
ABI: list[Any] = [{"type": "function", "name": "transfer", "inputs": []}, ITEM, {"type": "constructor"}]
OTHER = [{**ITEM, "name": "Other"}]
HUMAN = [
    "constructor(string name)",
    "event Transfer(address indexed from, address indexed to, uint256 value)",
    "function transfer(address to, uint256 value) returns (bool)",
    "error Short(uint256 left)",
]


@pytest.mark.parametrize(
    ("file", "contract"),
    [
        (ABI, None),
        (HUMAN, None),
        (json.dumps(ABI), None),
        ({"abi": ABI, "bytecode": "0x"}, None),
        ({"contractName": "Token", "abi": ABI, "networks": {}}, "Token"),
        ({"abi": HUMAN}, None),
        ({"abi": json.dumps(ABI)}, None),
        ({"compiler": {}, "language": "Solidity", "output": {"abi": ABI, "devdoc": {}}}, None),
        ({"contracts": {"a.sol": {"Token": {"abi": ABI}}}, "sources": {}}, None),
        ({"contracts": {"a.sol": {"Token": {"abi": ABI}, "Empty": {"abi": []}}}}, None),
        ({"contracts": {"a.sol": {"Token": {"abi": ABI}, "Other": {"abi": OTHER}}}}, "Token"),
        (
            {"contracts": {"a.sol": {"Token": {"abi": ABI}}, "b.sol": {"Token": {"abi": OTHER}}}},
            "a.sol:Token",
        ),
        ({"id": "1", "input": {}, "output": {"contracts": {"a.sol": {"Token": {"abi": ABI}}}}}, None),
        ({"contracts": {"a.sol:Token": {"abi": ABI}}, "version": "0.8.30"}, None),
        ({"contracts": {"a.sol:Token": {"abi": json.dumps(ABI)}, "a.sol:Other": {"abi": "[]"}}}, "Token"),
        ({"status": "1", "message": "OK", "result": json.dumps(ABI)}, None),
        ({"status": "1", "result": [{"ABI": json.dumps(ABI), "ContractName": "Token"}]}, None),
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_every_form_of_an_abi_is_read(file: Any, contract: str | None) -> None:
    named = None if isinstance(file, dict) and "contractName" in file else contract
    found = read(json.dumps(file), "x.json", contract=named)
    assert [str(event) for event in found.events] == [
        "Transfer(address indexed from, address indexed to, uint256 value)"
    ]
    assert found.lost == ()


@pytest.mark.parametrize(
    ("file", "contract", "said"),
    [
        ({"x": 1}, None, "x.json holds no ABI"),
        (7, None, "x.json holds no ABI"),
        ({"abi": {"x": 1}}, None, "x.json holds no ABI"),
        (
            {"contracts": {"a.sol": {"Token": {"abi": ABI}, "Other": {"abi": OTHER}}}},
            None,
            'several contracts: a.sol:Token, a.sol:Other. Name one of them after #: abi = "x.json#Token".',
        ),
        ({"contracts": {"a.sol": {"Token": {"abi": ABI}}}}, "Tokne", "holds no contract Tokne: a.sol:Token"),
        (
            {"contracts": {"a.sol": {"T": {"abi": ABI}}, "b.sol": {"T": {"abi": OTHER}}}},
            "T",
            "holds several contracts T: a.sol:T, b.sol:T",
        ),
    ],
)
def test_a_file_without_one_abi_is_refused_with_what_it_holds(
    file: Any, contract: str | None, said: str
) -> None:
    with pytest.raises(SignatureError) as refused:
        read(json.dumps(file), "x.json", contract=contract)
    assert said in str(refused.value)


def test_solidity_in_the_place_of_an_abi_is_told_from_json() -> None:
    with pytest.raises(SignatureError, match="That is Solidity"):
        read("pragma solidity ^0.8.0;\ncontract A {}", "A.sol")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"anonymous": "false"}, "has anonymous = 'false', which is neither true nor false"),
    ({"inputs": [{"name": "a", "type": "uint8", "indexed": "true"}]}, "a has indexed = 'true'"),
    (
        {"inputs": [{"name": "a", "type": "uint8"}, {"name": "a", "type": "bool"}]},
        "two parameters are called a",
    ),
    ({"inputs": [{"name": "a b", "type": "uint8"}]}, "a parameter has an invalid name: 'a b'"),
    ({"inputs": [{"name": 5, "type": "uint8"}]}, "a parameter whose name is 5"),
    ({"inputs": [{"name": "a", "type": "uint7"}]}, "a has no known type: uint7"),
    ({"inputs": [{"name": "a", "type": "contract IERC20"}]}, "a has no known type"),
    ({"inputs": [{"name": "a"}]}, "a parameter without a type"),
    ({"inputs": [7]}, "a parameter without a type"),
    ({"inputs": "none"}, "inputs that are not a list"),
    ({"inputs": [{"name": "a", "type": "tuple"}]}, "a tuple without its components"),
    ({"inputs": [{"name": "a", "type": "tuple", "components": [{}]}]}, "a member without a type"),
    ({"name": None}, "an event has no name"),
    ({"name": "a b"}, "an invalid name: 'a b'"),
    ({"inputs": [{"name": c, "type": "uint8", "indexed": True} for c in "abcd"]}, "more than 3 indexed"),
]


@pytest.mark.parametrize(("wrong", "said"), WRONG, ids=lambda value: json.dumps(value)[:60])
def test_of_an_abi_only_the_event_is_lost_that_cannot_be(wrong: dict[str, Any], said: str) -> None:
    found = read(json.dumps([{**ITEM, "name": "Bad", **wrong}, *ABI]), "x.json")
    assert [event.name for event in found.events] == ["Transfer"]
    [lost] = found.lost
    assert lost.said.startswith(("The event 'x.json: ", "In the event 'x.json: ", "x.json: "))
    assert said in lost.said


def test_every_interface_of_the_compiler_is_read_whole() -> None:
    for vector in VECTORS:
        assert read(vector["interface"], "x").lost == ()
