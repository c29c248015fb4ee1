"""The sources of a configured chain: its nodes behind `rpc`, or what an installed package adds."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from eventstore.errors import ChainfoldError
from eventstore.journal.chains import genesis_of
from eventstore.journal.journal import Journal
from eventstore.records import BlockRange, Log, Query
from eventstore.sources import Node
from eventstore.sources.adapter import REQUIRED, ChainSettings
from eventstore.storage.store import Store
from projections import plugins
from projections.errors import ConfigurationError
from projections.service.config.settings import Config
from projections.service.config.tables import table_of


def source(config: Config, name: str, store: Store) -> Node:
    """What a chain is read from: several endpoints as one, the first while it is well, else the next."""
    from eventstore.sources.failover.source import FailoverSource

    chain_id, nodes = config.chains[name].chain_id, endpoints(config, name, store)
    if len(nodes) == 1:
        return nodes[0]
    with store.read() as tx:
        genesis = genesis_of(tx, chain_id)
    return FailoverSource(nodes, chain_id=chain_id, genesis=genesis)


def endpoints(config: Config, name: str, store: Store) -> list[Node]:
    """Each endpoint of a chain as a source of its own, the preferred first; the caller closes them."""
    chain = config.chains[name]
    if chain.source is not None:
        return [adapted(config, name, chain.source)]
    from eventstore.sources.rpc.canary import Canary
    from eventstore.sources.rpc.source import RpcSource

    def known(query: Query, where: BlockRange) -> Log | None:
        with store.read() as tx:
            return Journal(tx, chain.chain_id).newest(query, to=where.last)

    return [
        RpcSource(
            url,
            finality=chain.finality,
            max_requests_per_second=chain.rate,
            canary=Canary(known),
            max_answer=chain.max_answer,
        )
        for url in chain.rpc
    ]


def adapted(config: Config, name: str, kind: str) -> Node:
    """The source that an installed package adds to `chainfold.sources` as `kind`, made for one chain.

    Raises `ConfigurationError` where no package adds it, its settings do not fit, or it cannot be made.
    """
    chain, where = config.chains[name], f"chains.{name}.source"
    adapter: Any = plugins.load("chainfold.sources", kind, where=where)
    settings = getattr(adapter, "Settings", None)
    if not (callable(adapter) and isinstance(settings, type) and issubclass(settings, Struct)):
        raise ConfigurationError(
            f"{where}: what the package adds as {kind} is not a source adapter.",
            hint="It must be callable, with a msgspec.Struct as its Settings; update that package.",
        )
    chosen = table_of(chain.settings, settings, f"chains.{name}.settings")
    about = ChainSettings(name, chain.chain_id, chain.finality, config.folder)
    try:
        made: Node = adapter(chosen, about)
    except ChainfoldError:
        raise
    except Exception as error:
        raise ConfigurationError(
            f"{where}: {kind} cannot be used: {type(error).__name__}: {error}.",
            hint=f"Check [chains.{name}.settings] against the documentation of that source.",
        ) from error
    missing = [item for item in REQUIRED if not hasattr(made, item)]
    if missing:
        raise ConfigurationError(
            f"{where}: the source {kind} has no {', '.join(missing)}.",
            hint="Update the package that adds it; its version does not fit this version of chainfold.",
        )
    return made
