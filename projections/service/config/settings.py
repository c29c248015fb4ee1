"""The settings of a service: what a checked configuration holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from projections.decoding.artifact import Lost
from projections.decoding.event import Event
from projections.decoding.meaning import Meaning
from projections.service.config import alerts as alerting
from projections.service.config import fold as folding
from projections.service.config import http as listening
from projections.service.config import schedule as scheduling
from projections.service.config.tables import From, SinkChoice, StoreSettings
from projections.service.config.webhooks import Webhook


class ConfiguredChain(Struct, frozen=True):
    """A chain; `poll` in seconds, `finality` a tag or a depth in blocks, `rate` in calls a second for
    each endpoint, `max_answer` the most bytes of one answer. With `prove` the service proves its history in
    the background; with `accept_unproven` what cannot be proved of it is a remark, and no failure of `verify
    events`."""

    rpc: tuple[str, ...]
    websocket: str | None
    chain_id: int
    finality: Literal["finalized", "safe"] | int
    follow: Literal["latest", "finalized"]
    poll: float
    rate: float | None
    prove: bool = False
    max_answer: int = 128 * 2**20
    accept_unproven: bool = False
    source: str | None = None
    """The kind of source that an installed package adds; None: the endpoints in `rpc`."""
    settings: dict[str, Any] = {}
    """The table of that source, which it decodes."""


class Contract(Struct, frozen=True):
    """A contract at one or more addresses of 20 bytes, and the events it declares.

    If `start_block` is None, it is searched for: the block that created the first of the addresses.
    """

    chain: str
    addresses: tuple[bytes, ...]
    start_block: int | None
    end_block: int | None
    topics: Literal["all", "declared"]
    events: tuple[Event, ...]
    lost: tuple[Lost, ...] = ()
    """Events of its ABI that cannot be used."""


class ProjectionSettings(Struct, frozen=True):
    """A projection: which projector over which contracts, published where."""

    projector: str
    sources: tuple[From, ...]
    follow: Literal["latest", "finalized"]
    poison: Literal["halt", "quarantine"]
    rebuild: Literal["ask", "auto"]
    undo: int | Literal["finality", "forever"]
    sinks: dict[str, SinkChoice]
    """By kind, in the order in which they are published."""
    webhooks: tuple[Webhook, ...] = ()


class Config(Struct, frozen=True):
    """All of it, checked. `folder` is where the file stands: relative paths are relative to it."""

    folder: Path
    store: StoreSettings
    servers: dict[str, Any]
    """The table of each kind of sink that runs on a server, by the name of the kind."""
    chains: dict[str, ConfiguredChain]
    contracts: dict[str, Contract]
    projections: dict[str, ProjectionSettings]
    alerts: alerting.Alerts
    schedule: scheduling.Schedule
    fold: folding.Folding
    http: listening.Http | None = None
    secrets: frozenset[str] = frozenset()
    """What no message may carry: keys and passwords of addresses, and what stood behind placeholders."""
    meanings: dict[str, Meaning] = {}
    """By chain what its contracts' logs are."""
