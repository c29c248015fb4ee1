"""Raw history as the command and the API show it: logs, decoded where their event is declared."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from eventstore.journal.history import Learned
from eventstore.records import Filter
from projections.service.config.settings import Config
from projections.service.status.declared import Declared, unknown_event
from projections.values.moment import precise


class EventRow(Struct, frozen=True):
    """A log. Hashes, topics and data are 0x and hexadecimal, `timestamp` the block's in seconds.

    `event` and `args` are None and empty where no declared event fits. `marks` say by name which of the args
    are not shown as they are, and why: text that is not UTF-8, with its bytes, or null where nothing can be
    read. `entry` appended it to the journal
    at `recorded_at`, and `orphaned_by` took it off the chain at `orphaned_at`, if any did.
    """

    chain: str
    block: int
    log_index: int
    block_hash: str
    timestamp: int
    address: str
    event: str | None
    args: dict[str, Any]
    marks: dict[str, str]
    topics: list[str]
    data: str
    tx_hash: str
    tx_index: int
    entry: int
    recorded_at: str
    orphaned_by: int | None
    orphaned_at: str | None


def event_row(chain: str, row: Learned, declared: Declared) -> EventRow:
    """A log of the journal as it is shown."""
    log, decoded = row.log, declared(row.log)
    return EventRow(
        chain=chain,
        block=log.block_number,
        log_index=log.log_index,
        block_hash="0x" + log.block_hash.hex(),
        timestamp=row.timestamp,
        address="0x" + log.address.hex(),
        event=None if decoded is None else decoded.event.name,
        args={} if decoded is None else decoded.arguments,
        marks={} if decoded is None else decoded.marks,
        topics=["0x" + topic.hex() for topic in log.topics],
        data="0x" + log.data.hex(),
        tx_hash="0x" + log.tx_hash.hex(),
        tx_index=log.tx_index,
        entry=row.entry,
        recorded_at=_time(row.recorded_at),
        orphaned_by=row.orphaned_by,
        orphaned_at=None if row.orphaned_at is None else _time(row.orphaned_at),
    )


def narrowed(
    config: Config, chains: Iterable[str], *, contract: str | None, address: bytes | None, event: str | None
) -> dict[str, tuple[Filter, ...] | None]:
    """By chain which contracts and events; None: everything that was ever learned.

    Raises `ConfigurationError` where no contract declares such an event.
    """
    declared = {name: Declared(config, name, contract=contract) for name in chains}
    if contract is None and event is None:
        only = None if address is None else (Filter(address),)
        return dict.fromkeys(declared, only)
    found = {name: item.filters(event=event) for name, item in declared.items()}
    if event is not None and not any(found.values()):
        raise unknown_event(event, list(declared.values()))
    return {
        name: tuple(item for item in filters if address in (None, item.address))
        for name, filters in found.items()
    }


def _time(micros: int) -> str:
    return precise(micros)
