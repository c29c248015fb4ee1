"""Pasted Solidity: what means nothing to a log is taken off, and for the rest a hint says what to write."""

from __future__ import annotations

import re

NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
"""What Solidity takes for a name."""

_COMMENT = re.compile(r"//[^\n\r]*|/\*.*?(?:\*/|$)", re.DOTALL)
_LOCATIONS = ("memory", "calldata", "storage")
_MODIFIERS = ("constant", "immutable", "public", "internal", "private", "payable")
_OF_ITS_OWN = (
    "Write what it is in the ABI: a contract or an interface is an address, an enum a uint8, a struct its "
    "members in parentheses, as in (address who, uint256 amount) name, a type of its own the type behind it."
)
_ONE_EVENT = "Write it as Name(type indexed name, type name)."


def bare(text: str) -> str:
    """One line of it, without comments, `event` and the final semicolon."""
    line = " ".join(_COMMENT.sub(" ", text).split())
    line = re.sub(r" ?\[ ?(\d*) ?\]", r"[\1]", line)
    while line.endswith(";"):
        line = line[:-1].rstrip()
    return re.sub(r"^event (?=[A-Za-z_$])", "", line).strip()


def hint_for(text: str) -> str:
    """What to write instead of a text that does not declare an event."""
    line = bare(text)
    word = line.split(" ", 1)[0]
    if line.startswith(("{", "[")):
        return 'That is JSON: write it into a file, and name that with abi = "file.json".'
    if "indexed(" in line or re.match(r"\w+:", line):
        return f"That is Vyper. {_ONE_EVENT}"
    if word in ("function", "error", "constructor", "struct", "enum", "modifier", "contract", "interface"):
        return f"That is a declaration of another kind ({word}). {_ONE_EVENT}"
    if word == "emit":
        return f"That is where it is emitted; the types stand where it is declared. {_ONE_EVENT}"
    if ";" in line:
        return 'Write each event as a text of its own: events = ["One(...)", "Other(...)"].'
    return _ONE_EVENT


def hint_for_type(kind: str) -> str:
    """What to write instead of a type that the ABI does not know; empty where nothing is sure."""
    base = kind.split("[", 1)[0]
    match base:
        case "indexed":
            return "indexed stands after the type: address indexed who."
        case "enum":
            return "An enum is a uint8 in the ABI: write uint8 name."
        case "contract" | "interface":
            return "A contract is an address in the ABI: write address name."
        case "struct":
            return "Write the struct's members in parentheses: (address who, uint256 amount) name."
        case "string32" | "byte32":
            return "Did you mean bytes32?"
    if base.startswith("mapping"):
        return "A mapping cannot be emitted: write what stands in the contract's ABI."
    if "[" in kind and re.search(r"\[[^\]\d]+\]", kind):
        return "Write the length of the array as a number."
    if re.fullmatch(r"(u?int|bytes)\d+", base):
        return "Integers have 8, 16, ... 256 bits, bytes1 to bytes32 as many bytes."
    if base[:1].isupper() or "." in base:
        return f"{base} is a type of the contract. {_OF_ITS_OWN}"
    return ""


def hint_for_words(words: list[str]) -> str:
    """What to leave out of a parameter that has more words than a type, `indexed` and a name."""
    for word in words:
        if word in _LOCATIONS:
            return f"Leave out {word}: it says where a function keeps a value."
        if word in _MODIFIERS:
            return f"Leave out {word}."
    if "indexed" in words:
        return "indexed stands right after the type: address indexed who."
    return ""
