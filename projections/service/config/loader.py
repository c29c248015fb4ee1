"""The configuration: one TOML file, decoded strictly. Every complaint names the path of its key."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from projections.decoding.artifact import Abi, Lost, read
from projections.decoding.event import Event, parse
from projections.decoding.meaning import Declaration, Meaning
from projections.errors import ConfigurationError, SignatureError
from projections.service.config import alerts as alerting
from projections.service.config import fold as folding
from projections.service.config import http as listening
from projections.service.config import schedule as scheduling
from projections.service.config.placeholders import Placeholders
from projections.service.config.settings import Config, ConfiguredChain, Contract, ProjectionSettings
from projections.service.config.tables import (
    ChainTable,
    ContractTable,
    From,
    ProjectionTable,
    SinkChoice,
    StoreSettings,
    Tables,
    decoded,
)
from projections.service.config.urls import keys_of_urls, keys_of_webhooks, store_url
from projections.service.config.values import known_name, parse_address, whole_number
from projections.service.config.webhooks import webhooks
from projections.values.duration import duration

DEFAULT = Path("chainfold.toml")


def load(path: Path | None = None) -> Config:
    """The configuration at `path`, else CHAINFOLD_CONFIG, else ./chainfold.toml."""
    chosen = path or Path(os.environ.get("CHAINFOLD_CONFIG") or DEFAULT)
    try:
        raw = tomllib.loads(chosen.read_text("utf-8-sig"))
    except OSError as error:
        raise ConfigurationError(
            f"The configuration {chosen} cannot be read: {error.strerror}.",
            hint="Run `chainfold init` to write one, or name it with --config.",
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"The configuration {chosen} is not UTF-8 text.") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{chosen} is not valid TOML: {error}.") from error
    folder = chosen.resolve().parent
    placeholders = Placeholders(folder)
    filled = placeholders.fill(raw)
    with placeholders.hidden():
        return _checked(decoded(filled), folder, placeholders.values)


def _checked(raw: Tables, folder: Path, hidden: frozenset[str]) -> Config:
    fold = folding.folding(raw.fold, duration)
    chains = {name: _chain(table, f"chains.{name}", fold.memory) for name, table in raw.chains.items()}
    ids = [chain.chain_id for chain in chains.values()]
    for name, chain in chains.items():
        if ids.count(chain.chain_id) > 1:
            raise ConfigurationError(f"chains.{name}.chain_id: {chain.chain_id} is configured twice.")
    contracts = {
        name: _contract(table, f"contracts.{name}", chains, folder) for name, table in raw.contracts.items()
    }
    projections = {
        name: _projection(table, raw.sinks[name], f"projections.{name}", contracts)
        for name, table in raw.projections.items()
    }
    _distinct(projections)
    if raw.http is not None:
        _served(projections)
    store = StoreSettings(url=store_url(raw.store.url, folder))
    alerts = alerting.alerts(raw.alerts, duration)
    return Config(
        folder,
        store,
        raw.servers,
        chains,
        contracts,
        projections,
        alerts,
        scheduling.schedule(raw.schedule, folder),
        fold,
        None if raw.http is None else listening.http(raw.http, duration),
        hidden
        | keys_of_urls(raw.store.url, _sink_tables(raw), chains, alerts.urls)
        | keys_of_webhooks(projections.values())
        | frozenset(raw.http.tokens if raw.http is not None else ()),
        {name: Meaning(_declarations(contracts, name)) for name in chains},
    )


def _sink_tables(raw: Tables) -> list[Any]:
    """Every table of a sink or of its server, decoded."""
    return [*raw.servers.values(), *(sink.settings for of in raw.sinks.values() for sink in of.values())]


def _declarations(contracts: Mapping[str, Contract], chain: str) -> Iterator[Declaration]:
    """Every event of a chain's contracts, in the order of the configuration."""
    for name, contract in contracts.items():
        if contract.chain == chain:
            for event in contract.events:
                for address_ in contract.addresses:
                    yield Declaration(name, address_, event, contract.start_block or 0, contract.end_block)


def _chain(table: ChainTable, where: str, memory: int) -> ConfiguredChain:
    whole_number(table.chain_id, f"{where}.chain_id", least=1)
    _check_source(table, where)
    urls = [table.rpc] if isinstance(table.rpc, str) else table.rpc or []
    if not urls and table.source is None:
        raise ConfigurationError(f"{where}.rpc names no endpoint.")
    for place, url in enumerate(urls):
        if not url.startswith(("http://", "https://")):
            raise ConfigurationError(f"{where}.rpc[{place}] must begin with http:// or https://.")
        if url in urls[:place]:
            raise ConfigurationError(f"{where}.rpc[{place}] is there twice.")
    if table.websocket is not None and not table.websocket.startswith(("ws://", "wss://")):
        raise ConfigurationError(f"{where}.websocket must begin with ws:// or wss://.")
    rate = table.max_requests_per_second
    if rate is not None and not 0 < rate < float("inf"):
        raise ConfigurationError(f"{where}.max_requests_per_second: {rate} is not a number above zero.")
    finality: Any = table.finality
    if isinstance(finality, int):
        whole_number(finality, f"{where}.finality")
    if isinstance(finality, str) and finality not in ("finalized", "safe"):
        raise ConfigurationError(
            f"{where}.finality: {finality} is neither finalized, nor safe, nor a depth in blocks."
        )
    return ConfiguredChain(
        tuple(urls),
        table.websocket,
        table.chain_id,
        finality,
        table.follow,
        duration(table.poll, f"{where}.poll"),
        rate,
        table.prove,
        folding.answers(table.max_answer, f"{where}.max_answer", memory=memory),
        table.accept_unproven,
        table.source,
        table.settings,
    )


def _check_source(table: ChainTable, where: str) -> None:
    """A chain is read from the endpoints in `rpc`, or through the source that a package adds."""
    if table.source is None:
        if table.rpc is None:
            raise ConfigurationError(
                f"{where}.rpc is missing.", hint="Or name a source that an installed package adds."
            )
        if table.settings:
            raise ConfigurationError(
                f"{where}.settings has no source that it is for.", hint=f"Set {where}.source, or remove it."
            )
        return
    for key in ("rpc", "max_requests_per_second", "max_answer"):
        if getattr(table, key) is not None:
            raise ConfigurationError(
                f"{where} has both source and {key}.",
                hint=f"{key} is for endpoints of JSON-RPC; a source has settings of its own.",
            )


def _contract(
    table: ContractTable, where: str, chains: Mapping[str, ConfiguredChain], folder: Path
) -> Contract:
    known_name(table.chain, chains, f"{where}.chain", "chain")
    given = [table.address] if isinstance(table.address, str) else table.address
    if not given:
        raise ConfigurationError(f"{where}.address names no address.")
    at = f"{where}.address"
    addresses = tuple(
        parse_address(text, at if isinstance(table.address, str) else f"{at}[{place}]")
        for place, text in enumerate(given)
    )
    for place, found in enumerate(addresses):
        if found in addresses[:place]:
            raise ConfigurationError(f"{at}[{place}]: 0x{found.hex()} is there twice.")
    first = None if table.start_block == "auto" else table.start_block
    if first is not None:
        whole_number(first, f"{where}.start_block")
    if table.end_block is not None:
        whole_number(table.end_block, f"{where}.end_block")
    if table.end_block is not None and first is not None and table.end_block < first:
        raise ConfigurationError(f"{where}.end_block: {table.end_block} is below start_block {first}.")
    declared: list[Event] = []
    lost: tuple[Lost, ...] = ()
    try:
        declared += [parse(text) for text in table.events]
        if table.abi is not None:
            abi = _abi(table.abi, folder, f"{where}.abi")
            declared, lost = [*declared, *abi.events], abi.lost
    except SignatureError as error:
        raise SignatureError(f"{where}: {error.message}", hint=error.hint) from error
    if not declared and lost:
        raise SignatureError(f"{where}: {lost[0].said}")
    if not declared:
        raise ConfigurationError(f"{where} declares no event.", hint="Give events = [...] or abi = ...")
    return Contract(table.chain, addresses, first, table.end_block, table.topics, tuple(declared), lost)


def _abi(named: str, folder: Path, where: str) -> Abi:
    """The ABI in a file beside the configuration; `file.json#Name` is that of one contract of several."""
    file, mark, contract = named, "", ""
    if not (folder / named).exists():
        file, mark, contract = named.rpartition("#") if "#" in named else (named, "", "")
    path = folder / file
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"{where}: {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{where}: {path} is not UTF-8 text.") from error
    return read(text, file, contract=contract if mark else None)


def _projection(
    table: ProjectionTable,
    sinks: dict[str, SinkChoice],
    where: str,
    contracts: Mapping[str, Contract],
) -> ProjectionSettings:
    sources = [From(contract=table.contract)] if table.contract is not None else list(table.sources)
    if table.contract is not None and table.sources:
        raise ConfigurationError(f"{where} has both contract and from; one of them is enough.")
    if not sources:
        raise ConfigurationError(f"{where} reads no contract.", hint="Give contract = ... or from = [...].")
    for place, source in enumerate(sources):
        key = f"{where}.contract" if table.contract is not None else f"{where}.from[{place}].contract"
        known_name(source.contract, contracts, key, "contract")
        declared = {event.name: event for event in contracts[source.contract].events}
        lost = {item.name: item.said for item in contracts[source.contract].lost}
        for at, name in enumerate(source.events):
            if name in lost and name not in declared:
                raise SignatureError(f"{where}.from[{place}].events[{at}]: {lost[name]}")
            known_name(name, declared, f"{where}.from[{place}].events[{at}]", "event")
    chains = sorted({contracts[source.contract].chain for source in sources})
    if len(chains) > 1:
        raise ConfigurationError(
            f"{where} reads contracts of several chains ({', '.join(chains)}).",
            hint="A projection follows the order of one chain: make one per chain.",
        )
    if isinstance(table.undo, int):
        whole_number(table.undo, f"{where}.undo")
    return ProjectionSettings(
        table.projector,
        tuple(sources),
        table.follow,
        table.poison,
        table.rebuild,
        table.undo,
        sinks,
        webhooks(table.webhook, where, follow=table.follow, seconds=duration),
    )


def _served(projections: Iterable[str]) -> None:
    """Refuses a projection whose path would be one of the API's own."""
    for name in projections:
        if name in listening.TAKEN:
            raise ConfigurationError(
                f"projections.{name}: with [http] it would be at /v1/{name}, a path of the API itself.",
                hint="Give the projection another name; `chainfold sync` builds it again under that.",
            )


def _distinct(projections: Mapping[str, ProjectionSettings]) -> None:
    """Two projections that publish to one place would take each other's documents for foreign ones."""
    taken: dict[tuple[str, str], str] = {}
    for name, chosen in projections.items():
        for kind, sink in chosen.sinks.items():
            if (found := sink.kind.place(sink.settings)) is None:
                continue
            key, place = f"{kind}.{found[0]}", found[1]
            other = taken.setdefault((key, place), name)
            if other != name:
                raise ConfigurationError(
                    f"projections.{name}.{key}: {place} is what projections.{other} publishes to."
                )
