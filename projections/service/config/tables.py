"""What the configuration file may hold: its tables as they are written, and what is wrong with one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, get_args, get_type_hints

import msgspec
from msgspec import Struct, field

from projections.errors import ConfigurationError
from projections.sinks import registry
from projections.sinks.kinds import SinkKind, SinkTable

Table = TypeVar("Table", bound=Struct)


class _Strict(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An unknown key is an error."""


class StoreSettings(_Strict, frozen=True):
    """`[store]`"""

    url: str = "sqlite:///chainfold.db"


class ChainTable(_Strict, frozen=True):
    """`[chains.NAME]`"""

    chain_id: int
    rpc: list[str] | str | None = None
    source: str | None = None
    settings: dict[str, Any] = {}
    websocket: str | None = None
    finality: str | int = "finalized"
    follow: Literal["latest", "finalized"] = "latest"
    poll: str = "2s"
    max_requests_per_second: float | None = None
    max_answer: str | None = None
    prove: bool = False
    accept_unproven: bool = False


class ContractTable(_Strict, frozen=True):
    """`[contracts.NAME]`"""

    chain: str
    address: str | list[str]
    start_block: int | Literal["auto"] = 0
    end_block: int | None = None
    topics: Literal["all", "declared"] = "all"
    events: list[str] = []
    abi: str | None = None


class From(_Strict, frozen=True):
    """One entry of a projection's `from`; `events` narrows it to those of these names."""

    contract: str
    events: list[str] = []
    roles: dict[str, str] = {}


class WebhookTable(_Strict, frozen=True):
    """One entry of a projection's `webhook`."""

    name: str
    url: str
    when: str
    secret: str
    backfill: bool = False
    attempts: int = 30
    timeout: str = "10s"


class ProjectionTable(_Strict, frozen=True):
    """`[projections.NAME]`"""

    projector: str
    contract: str | None = None
    sources: list[From] = field(name="from", default_factory=list)
    follow: Literal["latest", "finalized"] = "latest"
    poison: Literal["halt", "quarantine"] = "halt"
    rebuild: Literal["ask", "auto"] = "ask"
    undo: int | Literal["finality", "forever"] = "finality"
    webhook: list[WebhookTable] = []


class AlertsTable(_Strict, frozen=True):
    """`[alerts]`; a duration of "never" leaves that kind out."""

    urls: list[str] | str = []
    failing_for: str = "2m"
    head_stalled: str = "15m"
    step_longer_than: str = "5m"
    gap_older_than: str = "10m"
    cooldown: str = "30m"
    per_hour: int = 20
    every: str = "5s"


class ScheduleTable(_Strict, frozen=True):
    """`[schedule]`: cron expressions."""

    sync: str | None = None
    verify: str | None = None
    backup: str | None = None
    backup_to: str | None = None
    timezone: str = "UTC"


class HttpTable(_Strict, frozen=True):
    """`[http]`"""

    listen: str = "127.0.0.1:8080"
    tokens: list[str] = []
    cors: list[str] = []
    hosts: list[str] = []
    max_body: int = 65_536
    max_page: int = 500
    max_replay: int = 200_000
    max_streams: int = 200
    max_wait: str = "10s"
    max_lag: str | None = None
    requests_per_second: float | None = None


class FoldTable(_Strict, frozen=True):
    """`[fold]`"""

    memory: str = "512MB"
    commit_every: str = "1m"


class SinkChoice(Struct, frozen=True):
    """A sink of a projection: its kind, and its checked settings."""

    kind: SinkKind
    settings: Any


class Tables(Struct, frozen=True):
    """The whole file: its tables, with those of sinks apart.

    `servers` has the tables of the sinks' servers, by kind; `sinks` those of each projection's sinks.
    """

    store: StoreSettings
    servers: dict[str, SinkTable]
    sinks: dict[str, dict[str, SinkChoice]]
    chains: dict[str, ChainTable]
    contracts: dict[str, ContractTable]
    projections: dict[str, ProjectionTable]
    alerts: AlertsTable
    schedule: ScheduleTable
    fold: FoldTable
    http: HttpTable | None = None


_TABLES = ("store", "chains", "contracts", "projections", "alerts", "schedule", "fold", "http")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_NESTED: dict[str, type[Struct]] = {
    "from": From,
    "webhook": WebhookTable,
}
_WORDS = {"str": "a string", "int": "an integer", "float": "a number", "object": "a table", "array": "a list"}


def decoded(raw: Mapping[str, Any]) -> Tables:
    """The tables of a parsed file; raises `ConfigurationError` with the whole path of what is wrong."""
    kinds = dict(registry.SHIPPED)
    for key in raw:
        if key not in _TABLES and (kind := registry.find(key, where=key)) is not None:
            kinds[key] = kind
        if key not in _TABLES and (key not in kinds or kinds[key].server is None):
            raise _unknown(key, key, ["store", *(name for name in kinds if kinds[name].server), *_TABLES[1:]])
    projections: dict[str, Any] = {}
    sinks: dict[str, dict[str, SinkChoice]] = {}
    for name, table in _named(raw, "projections").items():
        projections[name], sinks[name] = _parted(table, f"projections.{name}", kinds)
    return Tables(
        _table(raw.get("store", {}), StoreSettings, "store"),
        {
            name: _table(raw.get(name, {}), kind.server, name)
            for name, kind in kinds.items()
            if kind.server is not None
        },
        sinks,
        _tables(raw, "chains", ChainTable),
        _tables(raw, "contracts", ContractTable),
        _tables({"projections": projections}, "projections", ProjectionTable),
        _table(raw.get("alerts", {}), AlertsTable, "alerts"),
        _table(raw.get("schedule", {}), ScheduleTable, "schedule"),
        _table(raw.get("fold", {}), FoldTable, "fold"),
        _table(raw["http"], HttpTable, "http") if "http" in raw else None,
    )


def _parted(table: Any, where: str, kinds: dict[str, SinkKind]) -> tuple[Any, dict[str, SinkChoice]]:
    """A projection's table without its sinks, and the sinks in the order of `kinds`. Kinds of installed
    packages that the table names are added to `kinds`."""
    if not isinstance(table, dict):
        return table, {}
    own = {item.encode_name for item in msgspec.structs.fields(ProjectionTable)}
    for key in table:
        if key in own or key in kinds:
            continue
        if (kind := registry.find(key, where=f"{where}.{key}")) is not None:
            kinds[key] = kind
    chosen = {
        name: SinkChoice(
            kind, kind.checked(_table(table[name], kind.table, f"{where}.{name}"), f"{where}.{name}")
        )
        for name, kind in kinds.items()
        if name in table
    }
    return {key: value for key, value in table.items() if key not in chosen}, chosen


def _named(raw: Mapping[str, Any], group: str) -> dict[str, Any]:
    tables = raw.get(group, {})
    if not isinstance(tables, dict):
        raise ConfigurationError(f"{group} must be tables.", hint=f"Write [{group}.name].")
    for name in tables:
        if not _NAME.fullmatch(name):
            raise ConfigurationError(f"{group}.{name}: names are lower-case letters, digits, - and _.")
    return tables


def _tables(raw: Mapping[str, Any], group: str, kind: type[Table]) -> dict[str, Table]:
    return {name: _table(table, kind, f"{group}.{name}") for name, table in _named(raw, group).items()}


def _table(raw: Any, kind: type[Table], where: str) -> Table:
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise _complaint(str(error), kind, where) from error


def table_of(raw: Mapping[str, Any], kind: type[Table], where: str) -> Table:
    """A table that a plug-in describes, decoded as strictly as our own. Raises `ConfigurationError`."""
    known = {item.encode_name for item in msgspec.structs.fields(kind)}
    for key in raw:
        if key not in known:
            raise _unknown_key(f"{where}.{key}", key, kind)
    return _table(raw, kind, where)


def _complaint(said: str, kind: type[Struct], where: str) -> ConfigurationError:
    """msgspec's words, turned: the path in front, types as TOML calls them, keys with their neighbours."""
    what, _, at = said.partition(" - at `$")
    inner = at.removesuffix("`").replace("[...]", ".*")
    path = where + inner
    holder = _NESTED.get(re.split(r"[.\[]", inner.lstrip("."))[0], kind)
    if unknown := re.search(r"unknown field `(.+)`", what):
        return _unknown_key(f"{path}.{unknown.group(1)}", unknown.group(1), holder)
    if missing := re.search(r"missing required field `(.+)`", what):
        return ConfigurationError(f"{path}.{missing.group(1)} is missing.")
    if what.startswith("Invalid enum value"):
        known = _choices(get_type_hints(kind)[inner.lstrip(".")])
        return ConfigurationError(
            f"{path}: {what.removeprefix('Invalid enum value ')} is not known here.",
            hint=f"Known are {', '.join(known)}.",
        )
    words = re.sub(r"`([^`]+)`", lambda found: _in_words(found.group(1)), what)
    return ConfigurationError(f"{path}: {words[0].lower()}{words[1:]}.")


def _unknown_key(path: str, key: str, table: type[Struct]) -> ConfigurationError:
    known = [item.encode_name for item in msgspec.structs.fields(table)]
    return _unknown(path, key, [*known, *registry.known()] if table is ProjectionTable else known)


def _unknown(path: str, key: str, known: list[str]) -> ConfigurationError:
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"Did you mean {near[0]}?" if near else f"Known here are {', '.join(known)}."
    return ConfigurationError(f"{path} is not a key of the configuration.", hint=hint)


def _choices(annotation: Any) -> list[str]:
    """The strings that an annotation names, `an integer` where it takes one."""
    if isinstance(annotation, str):
        return [annotation]
    if annotation is int:
        return ["an integer"]
    return [choice for inner in get_args(annotation) for choice in _choices(inner)]


def _in_words(kinds: str) -> str:
    return " or ".join(_WORDS.get(kind, kind) for kind in kinds.split(" | ") if kind != "null")
