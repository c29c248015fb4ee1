"""Names of an export: distinct for readers that do not tell capital letters from small ones."""

from __future__ import annotations

import pyarrow
from hypothesis import example, given
from hypothesis import strategies as st

from projections.decoding.event import Event, Parameter
from projections.service.export.columns import EventColumns
from projections.service.export.parquet import _named

name = st.sampled_from(
    [
        "a",
        "A",
        "a_",
        "A_",
        "B",
        "b",
        "Block_Number",
        "block_number",
        "TX_HASH",
        "marks",
        "Marks",
        "item0",
        "value",
    ]
)


def event(called: str, parameters: list[str]) -> Event:
    return Event(called, tuple(Parameter(item, "uint64", False) for item in parameters))


@given(st.lists(name, unique=True, max_size=10))
@example(["A", "a", "a_", "A_"])
@example(["Block_Number", "BLOCK_NUMBER_"])
def test_columns_differ_whatever_the_case(parameters: list[str]) -> None:
    names = EventColumns(pyarrow, event("E", parameters)).schema.names
    assert len({item.casefold() for item in names}) == len(names)
    assert names == EventColumns(pyarrow, event("E", parameters)).schema.names
    assert [item.rstrip("_") for item in names[8:-1]] == [item.rstrip("_") for item in parameters]


@given(
    st.lists(
        st.tuples(st.sampled_from(["shop", "s", "s-2"]), st.sampled_from(["Sent", "sent", "SENT", "Paid"])),
        unique=True,
        max_size=6,
    )
)
def test_files_differ_whatever_the_case(declared: list[tuple[str, str]]) -> None:
    events = [(contract, event(called, ["a"])) for contract, called in declared]
    names = [file for _, _, file in _named(events)]
    assert len({item.casefold() for item in names}) == len(events)
    lower = [(contract, called.lower()) for contract, called in declared]
    for at, (contract, called) in enumerate(declared):
        assert (names[at] == f"{contract}.{called}") == (lower.count(lower[at]) == 1)
