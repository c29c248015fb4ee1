"""ABI files, in every form that compilers and explorers give them: their events, and those that are lost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from projections.decoding.event import Event, from_abi
from projections.errors import SignatureError

NAMED = 8
"""Contracts that a sentence names."""


class Lost(Struct, frozen=True):
    """An event of an ABI that cannot be used, and why: a sentence, and what to do."""

    name: str
    said: str


class Abi(Struct, frozen=True):
    """The events of an ABI, in their order."""

    events: tuple[Event, ...]
    lost: tuple[Lost, ...]


def read(text: str, where: str, *, contract: str | None = None) -> Abi:
    """The events of an ABI file's text.

    It is a list, of objects or of human-readable declarations; or an artifact that holds one: of Hardhat,
    Foundry or Truffle (`abi`), the compiler's metadata (`output.abi`), its standard or combined JSON
    (`contracts`), an explorer's answer (`result`). Of several contracts `contract` names one. An event that
    cannot be is lost alone. Raises `SignatureError` where there is no ABI.
    """
    try:
        found = dict(_found(_parsed(text, where)))
    except RecursionError:
        raise SignatureError(f"{where} is nested too deeply to be an ABI.") from None
    if not found:
        raise SignatureError(
            f"{where} holds no ABI: neither a list nor an object with `abi`.",
            hint="Name the file that the compiler writes with the contract's ABI.",
        )
    return _read(_chosen(found, where, contract), where)


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        solidity = "pragma solidity" in text or text.lstrip().startswith(("//", "contract ", "interface "))
        raise SignatureError(
            f"{where} is not valid JSON: {error}.",
            hint="That is Solidity: name the ABI that its compiler writes, or write the events out with "
            "events = [...]."
            if solidity
            else "",
        ) from error


def _found(value: Any, name: str = "") -> Iterator[tuple[str, list[Any]]]:
    """The ABIs within a parsed file, each under its contract's name (empty where it has none)."""
    if isinstance(value, str):  # as old compilers and explorers give it
        try:
            value = json.loads(value)
        except ValueError:
            return
    if isinstance(value, list):
        yield name, value
    if not isinstance(value, Mapping):
        return
    if "abi" in value:
        yield from _found(value["abi"], name)
        return
    for key in ("output", "result"):
        if isinstance(value.get(key), Mapping | str | list):
            inner = value[key][0] if key == "result" and _is_answer(value[key]) else value[key]
            yield from _found(inner["ABI"] if isinstance(inner, Mapping) and "ABI" in inner else inner, name)
            return
    contracts = value.get("contracts")
    if isinstance(contracts, Mapping):
        for file, holder in contracts.items():
            if isinstance(holder, Mapping) and "abi" in holder:  # combined: file.sol:Name
                yield from _found(holder, file)
            elif isinstance(holder, Mapping):
                for inner, one in holder.items():
                    yield from _found(one, f"{file}:{inner}")


def _is_answer(value: Any) -> bool:
    """An explorer's answer to a question for a contract's source: a list of one object with `ABI`."""
    return isinstance(value, list) and len(value) == 1 and isinstance(value[0], Mapping) and "ABI" in value[0]


def _chosen(found: Mapping[str, list[Any]], where: str, contract: str | None) -> list[Any]:
    if contract is None:
        named = dict(found)
        if len(found) > 1:  # interfaces and libraries without events are not meant
            named = {name: items for name, items in found.items() if _has_events(items)}
        if len(named) == 1:
            return next(iter(named.values()))
        if not named:
            return []
        raise SignatureError(
            f"{where} holds the ABIs of several contracts: {_list(named)}.",
            hint=f'Name one of them after #: abi = "{where}#{next(iter(named)).rpartition(":")[2]}".',
        )
    fitting = [name for name in found if contract in (name, name.rpartition(":")[2])]
    if len(fitting) != 1:
        said = "several contracts" if fitting else "no contract"
        raise SignatureError(
            f"{where} holds {said} {contract}: {_list(fitting or found)}.",
            hint="Name it as it stands there." if any(found) else "Leave out # and what follows.",
        )
    return found[fitting[0]]


def _has_events(items: list[Any]) -> bool:
    return any(
        item.get("type") == "event" if isinstance(item, Mapping) else str(item).lstrip().startswith("event ")
        for item in items
    )


def _list(names: Any) -> str:
    known = [name or "(without a name)" for name in names]
    more = len(known) - NAMED
    return ", ".join(known[:NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _read(items: list[Any], where: str) -> Abi:
    events: list[Event] = []
    lost: list[Lost] = []
    for place, item in enumerate(items):
        try:
            events += from_abi([item], where)
        except SignatureError as error:
            name = item.get("name") if isinstance(item, Mapping) else None
            lost.append(Lost(str(name or f"the event at place {place + 1}"), str(error)))
    return Abi(tuple(events), tuple(lost))
