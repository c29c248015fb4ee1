"""A canonical log as the row of a table: its columns, raw or by the event that was declared.

One table of types, that of the sinks: hashes, addresses and bytes are hex with 0x; integers whose declared
type has up to 63 bits are int64, wider ones decimal strings, by type and never by value. The time of a block
is a timestamp. Arrays are lists, tuples are structs whose fields are called item0, item1, ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from eth_abi.grammar import parse as parse_type

from eventstore.journal.history import Learned
from projections.decoding.decoder import UnreadableParameter
from projections.decoding.event import Event

ColumnValue = Callable[[Any], Any]
"""A decoded value as its column takes it."""


def _place(arrow: Any) -> list[tuple[str, Any]]:
    """The columns that every file begins with."""
    return [
        ("chain_id", arrow.int64()),
        ("block_number", arrow.int64()),
        ("log_index", arrow.int64()),
        ("block_timestamp", arrow.timestamp("ms", tz="UTC")),
        ("block_hash", arrow.string()),
        ("tx_hash", arrow.string()),
        ("tx_index", arrow.int64()),
        ("address", arrow.string()),
    ]


def _placed(chain_id: int, row: Learned) -> list[Any]:
    log = row.log
    return [
        chain_id,
        log.block_number,
        log.log_index,
        row.timestamp * 1_000,
        "0x" + log.block_hash.hex(),
        "0x" + log.tx_hash.hex(),
        log.tx_index,
        "0x" + log.address.hex(),
    ]


def raw_schema(arrow: Any) -> Any:
    words = [(name, arrow.string()) for name in ("topic0", "topic1", "topic2", "topic3", "data")]
    return arrow.schema(_place(arrow) + words)


def raw(chain_id: int, row: Learned) -> list[Any]:
    topics = ["0x" + topic.hex() for topic in row.log.topics]
    padded = [*topics, None, None, None, None][:4]
    return [*_placed(chain_id, row), *padded, "0x" + row.log.data.hex()]


class EventColumns:
    """The columns of one event: the place of its log, then its parameters under their own names, and `marks`:
    which of them are not shown as they are, and why.

    A parameter that is called as one of ours, or as one before it, gets an underscore, and another until its
    name is its own: readers of Parquet do not tell capital letters from small ones.
    """

    def __init__(self, arrow: Any, event: Event) -> None:
        columns = _place(arrow)
        taken = {"marks", *(name for name, _ in columns)}
        self._shown: list[ColumnValue] = []
        for item in event.parameters:
            name = item.name
            while name.lower() in taken:
                name += "_"
            taken.add(name.lower())
            hashed = item.indexed and _is_dynamic(item.type)  # its topic is the hash of the value
            parsed = parse_type("bytes32" if hashed else item.type)
            columns.append((name, _type(arrow, parsed)))
            self._shown.append(_shown(parsed))
        self.schema = arrow.schema([*columns, ("marks", arrow.string())])

    def row(
        self, chain_id: int, row: Learned, values: tuple[Any, ...], marks: Mapping[str, str]
    ) -> list[Any]:
        """One row; what could not be read is null, and without `marks` these are."""
        shown = [
            None if isinstance(value, UnreadableParameter) else show(value)
            for show, value in zip(self._shown, values, strict=True)
        ]
        return [*_placed(chain_id, row), *shown, "; ".join(marks.values()) or None]


def _is_dynamic(kind: str) -> bool:
    """Does an indexed parameter of this type leave only its hash?"""
    parsed = parse_type(kind)
    return bool(parsed.arrlist) or hasattr(parsed, "components") or kind in ("string", "bytes")


def _type(arrow: Any, parsed: Any) -> Any:
    if parsed.arrlist:
        return arrow.list_(_type(arrow, parsed.item_type))
    if hasattr(parsed, "components"):
        return arrow.struct(
            [(f"item{index}", _type(arrow, part)) for index, part in enumerate(parsed.components)]
        )
    if parsed.base == "bool":
        return arrow.bool_()
    if parsed.base in ("int", "uint") and parsed.sub <= 63:
        return arrow.int64()
    return arrow.string()


def _shown(parsed: Any) -> ColumnValue:
    if parsed.arrlist:
        inner = _shown(parsed.item_type)
        return lambda value: [inner(item) for item in value]
    if hasattr(parsed, "components"):
        parts = [(f"item{index}", _shown(part)) for index, part in enumerate(parsed.components)]
        return lambda value: {name: show(item) for (name, show), item in zip(parts, value, strict=True)}
    if parsed.base in ("bytes", "function"):
        return lambda value: "0x" + value.hex()
    if parsed.base in ("bool", "address", "string") or (parsed.base in ("int", "uint") and parsed.sub <= 63):
        return lambda value: value
    if parsed.base in ("fixed", "ufixed"):
        return lambda value: format(value, "f")
    return str
