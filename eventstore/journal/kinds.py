"""Kinds of logs: each (address, topic0) is stored once, and logs name it by number."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct
from sqlalchemy import Connection, bindparam, text

from eventstore.records import Filter


class LogKind(Struct, frozen=True, gc=False):
    """An interned (address, topic0); an empty topic0 stands for a log without topics."""

    address: bytes
    topic0: bytes


def kinds_of(tx: Connection, filters: Iterable[Filter]) -> dict[int, LogKind]:
    """The stored kinds of log that any of these filters matches, by number."""
    wanted = set(filters)
    addresses = sorted({item.address for item in wanted})
    if not addresses:
        return {}
    rows = tx.execute(
        text("SELECT kind, address, topic0 FROM log_kinds WHERE address IN :addresses").bindparams(
            bindparam("addresses", expanding=True)
        ),
        {"addresses": addresses},
    )
    return {
        kind: LogKind(address, topic0)
        for kind, address, topic0 in rows
        if Filter(address) in wanted or Filter(address, topic0) in wanted
    }


def interned(tx: Connection, wanted: set[tuple[bytes, bytes]]) -> dict[tuple[bytes, bytes], int]:
    """The number of each of these (address, topic0); one that is not stored yet is added."""
    known: dict[tuple[bytes, bytes], int] = {}
    for address in {address for address, _ in wanted}:
        for kind, topic0 in tx.execute(
            text("SELECT kind, topic0 FROM log_kinds WHERE address = :address"),
            {"address": address},
        ):
            known[(address, topic0)] = kind
    missing = sorted(wanted - known.keys())
    if missing:
        if tx.dialect.name == "postgresql":  # another chain's ingester may add kinds as well
            tx.execute(text("LOCK TABLE log_kinds IN SHARE ROW EXCLUSIVE MODE"))
        start = tx.execute(text("SELECT coalesce(max(kind), 0) FROM log_kinds")).scalar_one()
        tx.execute(
            text(
                "INSERT INTO log_kinds VALUES (:kind, :address, :topic0) "
                "ON CONFLICT (address, topic0) DO NOTHING"
            ),
            [
                {"kind": kind, "address": address, "topic0": topic0}
                for kind, (address, topic0) in enumerate(missing, start=start + 1)
            ],
        )
        return interned(tx, wanted)
    return {pair: known[pair] for pair in wanted}
