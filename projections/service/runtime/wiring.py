"""The composition root: the only place that turns a configuration into stores, stages and sinks.

The libraries of nodes and servers take a second to import: they are, where the first of their kind is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from eventstore.ingest.window import Window
from eventstore.records import Filter, Watch
from eventstore.sources import Node
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from projections.errors import ConfigurationError
from projections.fold.fold import Projection
from projections.routing.ways import Bound
from projections.service.config import settings
from projections.service.runtime import sources
from projections.service.runtime.projections import projection
from projections.service.runtime.prove_stage import ProveStage
from projections.service.runtime.sinks import SinkFactory
from projections.service.runtime.stages import DeliverStage, FoldStage, IngestStage, PublishStage
from projections.sinks import Sink
from projections.values.fields import fields, wide_fields
from projections.webhooks import WebhookSink

if TYPE_CHECKING:
    from eventstore.sources.rpc.heads import Heads


class Plan:
    """A configuration made usable: its store, projections and sinks. Opens no connection by itself."""

    def __init__(self, config: settings.Config) -> None:
        self.config = config
        self.store = Store(config.store.url)
        self.projections: dict[str, Projection] = {}
        self.bound: dict[str, tuple[Bound, ...]] = {}
        """By projection: the events, each with its contract and its handler."""
        for name, chosen in config.projections.items():
            self.projections[name], self.bound[name] = projection(config, name, chosen)
        self._sinks = SinkFactory(config, self.projections)

    def close(self) -> None:
        self._sinks.close()
        self.store.close()

    def watches(self, chain: str, *, only: str | None = None) -> list[Watch]:
        """What the ingester of a chain fetches of every address configured on it, or of the `only` contract
        that is named: all its topics, or those of the declared events."""
        return [
            Watch(Filter(address, topic), contract.start_block or 0, contract.end_block)
            for name, contract in self.config.contracts.items()
            if contract.chain == chain and only in (None, name)
            for address in contract.addresses
            for topic in _topics(contract)
        ]

    def emitters(self, chain: str) -> dict[bytes, str]:
        """By address of a chain's contracts the name of the first of them."""
        found: dict[bytes, str] = {}
        for name, contract in self.config.contracts.items():
            for address in contract.addresses if contract.chain == chain else ():
                found.setdefault(address, name)
        return found

    def chain_of(self, projection: str) -> str:
        """The name of the chain that a projection reads."""
        wanted = self.projections[projection].chain_id
        return next(name for name, chain in self.config.chains.items() if chain.chain_id == wanted)

    def named(self, projection: str) -> Projection:
        """The projection of that name; `ConfigurationError` where there is none."""
        try:
            return self.projections[projection]
        except KeyError:
            known = ", ".join(self.projections) or "none"
            raise ConfigurationError(
                f"There is no projection {projection}.", hint=f"Known are: {known}."
            ) from None

    def ingest(
        self,
        *,
        first: int | None = None,
        last: int | None = None,
        contract: str | None = None,
        window: Window | None = None,
    ) -> list[IngestStage]:
        """One stage per chain; with `first`, `last` or `contract` it fetches only that, in ranges that begin
        as wide as `window`."""
        chain_of = None if contract is None else self.contract(contract).chain
        stages = []
        for name, chain in self.config.chains.items():
            wanted = self.watches(name, only=contract)
            narrowed = [_narrowed(watch, first, last) for watch in wanted]
            watches = [watch for watch in narrowed if watch is not None]
            if watches and chain_of in (None, name):
                stages.append(
                    IngestStage(
                        self.store,
                        self.source(name),
                        chain=name,
                        chain_id=chain.chain_id,
                        watches=watches,
                        follow=chain.follow,
                        auto=frozenset(
                            address
                            for item in self.config.contracts.values()
                            if item.start_block is None
                            for address in item.addresses
                        ),
                        window=window,
                    )
                )
        return stages

    def prove(self, *, contract: str | None = None, background: bool = False) -> list[ProveStage]:
        """One prover per chain; in the `background` only where that is configured, else also on the chain of
        this contract alone."""
        only = None if contract is None else self.contract(contract).chain
        return [
            ProveStage(
                self.store,
                self.source(name),
                chain=name,
                chain_id=chain.chain_id,
                watches=watches,
            )
            for name, chain in self.config.chains.items()
            if (watches := self.watches(name)) and only in (None, name) and (chain.prove or not background)
        ]

    def source(self, name: str) -> Node:
        """What a chain is read from: several endpoints as one, the first while it is well, else the next."""
        return sources.source(self.config, name, self.store)

    def endpoints(self, name: str) -> list[Node]:
        """Each endpoint of a chain as a source of its own, the preferred first; the caller closes them."""
        return sources.endpoints(self.config, name, self.store)

    def heads(self, wake: Mapping[str, Callable[[], object]]) -> list[Heads]:
        """What calls these when a chain's node announces a head; chains without a websocket poll only."""
        if not any(self.config.chains[name].websocket for name in wake):
            return []
        from eventstore.sources.rpc.heads import Heads

        return [Heads(url, act) for name, act in wake.items() if (url := self.config.chains[name].websocket)]

    def contract(self, name: str) -> settings.Contract:
        """The contract of that name; `ConfigurationError` where there is none."""
        try:
            return self.config.contracts[name]
        except KeyError:
            known = ", ".join(self.config.contracts) or "none"
            raise ConfigurationError(f"There is no contract {name}.", hint=f"Known are: {known}.") from None

    def fold(self) -> list[FoldStage]:
        return [self.fold_of(name) for name in self.projections]

    def fold_of(self, projection: str) -> FoldStage:
        """The fold of one projection; all of them share the memory."""
        chosen = self.config.fold
        return FoldStage(
            self.store,
            self.named(projection),
            room=chosen.room(len(self.projections), sqlite=self.store.sqlite),
            commit_every=chosen.commit_every,
        )

    def publish(self) -> list[PublishStage]:
        return [
            PublishStage(self.store, self.projections[name], sink)
            for name in self.projections
            for sink in self.sinks(name)
        ]

    def notify(self) -> list[PublishStage]:
        """One publisher per webhook: what it publishes cannot be read back, so `publish` leaves it out."""
        return [
            PublishStage(self.store, self.projections[name], sink, lease=sink.lease)
            for name in self.projections
            for sink in self.webhooks(name)
        ]

    def deliver(self) -> list[DeliverStage]:
        """One courier per webhook."""
        return [
            DeliverStage(self.store, item.target, projection=name, rule=item.rule.name)
            for name, chosen in self.config.projections.items()
            for item in chosen.webhooks
        ]

    def webhooks(self, name: str) -> list[WebhookSink]:
        """The webhooks of a projection: they hold no documents, so its `sinks` leave them out."""
        own = self.projections[name]
        return [
            WebhookSink(
                Lease(self.store, f"publish:{name}.webhook-{item.rule.name}"),
                item.rule,
                projection=name,
                chain_id=own.chain_id,
                backfill=item.backfill,
            )
            for item in self.config.projections[name].webhooks
        ]

    def counted(self, name: str) -> list[str]:
        """The fields of a projection's documents that make sense as sums: integers, times left out."""
        projector = self.projections[name].projector
        found = fields(projector.document).values()
        return [field.name for field in found if field.counted and field.name not in projector.dates]

    def wide(self, name: str) -> frozenset[str]:
        """The fields of a projection's documents that are integers of 256 bits."""
        return wide_fields(self.projections[name].projector.document)

    def sink_kinds(self, name: str) -> list[str]:
        """The kinds of a projection's sinks, in the order of `sinks`. Opens nothing."""
        return self._sinks.kinds(name)

    def sinks(self, name: str, *, patience: float | None = None, only: str | None = None) -> list[Sink]:
        """The sinks of a projection, or the one of the kind `only`; the first use of an embedded server
        starts it.

        `patience` is how many seconds to wait for an answer; by default as long as a big write takes.
        """
        return self._sinks.made(name, patience=patience, only=only)

    def described(self, sink: str) -> str:
        """Where a kind of sink is, without its secrets."""
        return self._sinks.described(sink)


@contextmanager
def planned(config: settings.Config) -> Iterator[Plan]:
    """The plan of a configuration over a store that is set up; everything it opened is closed after."""
    from projections.migrate import ensure

    plan = Plan(config)
    try:
        ensure(plan.store)
        yield plan
    finally:
        plan.close()


def _topics(contract: settings.Contract) -> list[bytes | None]:
    """The topics that are fetched of a contract; None stands for all."""
    if contract.topics == "all":
        return [None]
    if any(event.anonymous for event in contract.events):
        return [None]  # the first topic of such a log may be anything
    return list(dict.fromkeys(event.topic0 for event in contract.events))


def _narrowed(watch: Watch, first: int | None, last: int | None) -> Watch | None:
    """The part of a watch that lies within a range, None where nothing does."""
    low = max(watch.first_block, first or 0)
    ends = [end for end in (watch.last_block, last) if end is not None]
    high = min(ends) if ends else None
    return None if high is not None and low > high else Watch(watch.filter, low, high)
