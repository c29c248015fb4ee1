"""The composition root: the only place that turns a configuration into stores, stages and sinks.

The libraries of nodes and servers take a second to import: they are, where the first of their kind is made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from eventstore.ingest.window import Window
from eventstore.journal.journal import Journal
from eventstore.journal.tail import genesis_of
from eventstore.records import BlockRange, Filter, Log, Query, Watch
from eventstore.redaction import public
from eventstore.sources.rpc.canary import Witness
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from projections.decoding.meaning import Declaration
from projections.errors import ConfigurationError
from projections.fold.document_type import Shape
from projections.fold.fold import Projection
from projections.projectors import Projector
from projections.routing.routes import bind
from projections.routing.ways import Bound, watches, ways
from projections.service.config import loader as settings
from projections.service.config.tables import From
from projections.service.runtime.projectors import loaded
from projections.service.runtime.prove_stage import ProveStage
from projections.service.runtime.stages import DeliverStage, FoldStage, IngestStage, PublishStage
from projections.sinks import Sink
from projections.sinks.memory import MemorySink
from projections.values.fields import fields
from projections.webhooks import WebhookSink, fitted

if TYPE_CHECKING:
    from eventstore.sources.failover.source import FailoverSource
    from eventstore.sources.rpc.heads import Heads
    from eventstore.sources.rpc.source import RpcSource


class Plan:
    """A configuration made usable: its store, projections and sinks. Opens no connection by itself."""

    def __init__(self, config: settings.Config) -> None:
        self.config = config
        self.store = Store(config.store.url)
        self.projections: dict[str, Projection] = {}
        self.bound: dict[str, tuple[Bound, ...]] = {}
        """By projection which event of which contract goes to which handler."""
        for name, chosen in config.projections.items():
            self.projections[name], self.bound[name] = _projection(config, name, chosen)
        self._open = ExitStack()
        self._urls: dict[str, str] = {}

    def close(self) -> None:
        self._open.close()
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

    def source(self, name: str) -> RpcSource | FailoverSource:
        """The endpoints of a chain: the first while it is well, else the next."""
        from eventstore.sources.failover.source import FailoverSource

        chain_id, endpoints = self.config.chains[name].chain_id, self.endpoints(name)
        if len(endpoints) == 1:
            return endpoints[0]
        with self.store.read() as tx:
            genesis = genesis_of(tx, chain_id)
        return FailoverSource(endpoints, chain_id=chain_id, genesis=genesis)

    def endpoints(self, name: str) -> list[RpcSource]:
        """Each endpoint of a chain as a source of its own, the preferred first; the caller closes them."""
        from eventstore.sources.rpc.source import RpcSource

        chain = self.config.chains[name]

        def known(query: Query, where: BlockRange) -> Log | None:
            with self.store.read() as tx:
                return Journal(tx, chain.chain_id).newest(query, to=where.last)

        return [
            RpcSource(
                url,
                finality=chain.finality,
                max_requests_per_second=chain.rate,
                witness=Witness(known),
                max_answer=chain.max_answer,
            )
            for url in chain.rpc
        ]

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
        """One publisher per webhook: what it publishes cannot be read back, so it is none of `publish`."""
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
        """The webhooks of a projection: they hold nothing, so they are none of its `sinks`."""
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
        """The fields of a projection's documents that make sense as sums: integers that are no times."""
        projector = self.projections[name].projector
        found = fields(projector.document).values()
        return [field.name for field in found if field.counted and field.name not in projector.dates]

    def wide(self, name: str) -> frozenset[str]:
        """The fields of a projection's documents that are integers of 256 bits."""
        found = fields(self.projections[name].projector.document).values()
        return frozenset(field.name for field in found if field.wide)

    def sink_kinds(self, name: str) -> list[str]:
        """The kinds of a projection's sinks, in the order of `sinks`. Nothing is opened for it."""
        chosen = self.config.projections[name]
        there = {"mongo": chosen.mongo, "redis": chosen.redis}
        return [kind for kind, target in there.items() if target is not None]

    def sinks(self, name: str, *, patience: float | None = None, only: str | None = None) -> list[Sink]:
        """The sinks of a projection, or the one of the kind `only`; embedded servers are started the first
        time they are wanted.

        `patience` is how many seconds an answer is waited for; by default as long as a big write takes.
        """
        waits: dict[str, Any] = {} if patience is None else {"patience": patience}
        chosen = self.config.projections[name]
        projector = self.projections[name].projector
        names = projector.document.__struct_fields__
        made: list[Sink] = []
        if chosen.mongo is not None and only in (None, "mongo"):
            from projections.sinks.mongo import MongoSink

            made.append(
                MongoSink(
                    self._mongo(),
                    database=self.config.mongo.database,
                    collection=chosen.mongo.collection,
                    key=projector.key,
                    fields=names,
                    dates=frozenset(projector.dates),
                    wide=self.wide(name),
                    indexes=projector.mongo_indexes,
                    rename=chosen.mongo.fields,
                    **waits,
                )
            )
        if chosen.redis is not None and only in (None, "redis"):
            url = self._redis()
            if url is None:
                made.append(MemorySink(name="redis"))
            else:
                from projections.sinks.redis import RedisSink

                made.append(
                    RedisSink(
                        url,
                        key=chosen.redis.key,
                        key_field=projector.key,
                        fields=projector.redis_fields or names,
                        ttl=chosen.redis.ttl,
                        projection=name,
                        **waits,
                    )
                )
        return made

    def described(self, sink: str) -> str:
        """Where a kind of sink is, without its secrets."""
        settings_ = {"mongo": self.config.mongo.url, "redis": self.config.redis.url}
        url = settings_.get(sink, "")
        if url != "embedded":
            return public(url)
        own = self._urls.get(sink)
        return f"embedded, {public(own)}" if own else "in memory: no redis-server is at hand"

    def collection(self, projection: str) -> Any:
        """The MongoDB collection of a projection, to read from."""
        from pymongo import MongoClient

        target = self.config.projections[projection].mongo
        if target is None:
            raise ConfigurationError(f"projections.{projection} has no mongo sink.")
        client: MongoClient[dict[str, Any]] = self._open.enter_context(
            MongoClient(self._mongo(), datetime_conversion="DATETIME_AUTO")  # theirs may lie after year 9999
        )
        return client[self.config.mongo.database][target.collection]

    def _mongo(self) -> str:
        if self.config.mongo.url != "embedded":
            return self.config.mongo.url
        if "mongo" not in self._urls:
            from projections.service.embedded.servers import EmbeddedMongo

            server = self._open.enter_context(EmbeddedMongo(self.data / "mongo"))
            self._urls["mongo"] = server.url
        return self._urls["mongo"]

    def _redis(self) -> str | None:
        if self.config.redis.url != "embedded":
            return self.config.redis.url
        if "redis" not in self._urls:
            from projections.service.embedded.servers import EmbeddedRedis

            try:
                server = EmbeddedRedis(self.data / "redis")
            except ConfigurationError:
                return None  # no redis-server is at hand: the memory sink, and `described` says so
            self._urls["redis"] = self._open.enter_context(server).url
        return self._urls["redis"]

    @property
    def data(self) -> Path:
        """Where embedded servers keep their files: beside the configuration."""
        return self.config.folder / "chainfold-data"


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


def _projection(
    config: settings.Config, name: str, chosen: settings.ProjectionSettings
) -> tuple[Projection, tuple[Bound, ...]]:
    where = f"projections.{name}"
    projector = loaded(chosen.projector, f"{where}.projector", folder=config.folder)
    projector_type = type(projector)
    for place, hook in enumerate(chosen.webhooks):
        fitted(hook.rule, projector_type.document, f"{where}.webhook[{place}].when")
    sources = chosen.sources
    chain = config.contracts[sources[0].contract].chain
    bound = tuple(item for source in sources for item in _bound(config, source, projector, where))
    if not bound:
        raise ConfigurationError(
            f"{where}: none of its contracts' events fits a handler of {projector_type.__name__}.",
            hint="Map the contract's parameter names with roles = { ... }.",
        )
    made = Projection(
        name=name,
        chain_id=config.chains[chain].chain_id,
        projector=projector,
        routes=ways(config.meanings[chain], bound, where=where),
        watches=watches(bound),
        fingerprint=_fingerprint(projector_type, config, chosen, bound),
        follow=chosen.follow,
        poison=chosen.poison,
        rebuild=chosen.rebuild,
        undo=chosen.undo,
    )
    return made, bound


def _bound(config: settings.Config, source: From, projector: Projector, where: str) -> Iterator[Bound]:
    """The routes of one entry of `from`, each with the declaration that it is of."""
    contract = config.contracts[source.contract]
    for route in bind(
        projector,
        addresses=contract.addresses,
        events=[e for e in contract.events if not source.events or e.name in source.events],
        roles=source.roles,
        where=f"{where}.from.{source.contract}",
    ):
        declared = Declaration(
            source.contract,
            route.kind.address,
            route.decoder.event,
            contract.start_block or 0,
            contract.end_block,
        )
        yield Bound(route, declared)


def _fingerprint(
    projector: type[Projector],
    config: settings.Config,
    chosen: settings.ProjectionSettings,
    bound: Sequence[Bound],
) -> str:
    """What the documents depend on: the projector's syntax, the events, contracts, roles and policy.

    What others declare at the same addresses is part of it where that decides which event a log is.
    """
    contracts = [
        (
            source.contract,
            config.contracts[source.contract].addresses,
            config.contracts[source.contract].start_block,
            config.contracts[source.contract].end_block,
            [str(event) for event in config.contracts[source.contract].events],
            source.roles,
            source.events,
        )
        for source in chosen.sources
    ]
    parts = (
        projector.syntax(),
        projector.version,
        str(msgspec.json.schema(projector.document)),
        repr(contracts),
        chosen.poison,
        *(["sets are sorted"] if Shape(projector).sets else []),  # they once stood in any order
        *_shared(config, bound),
    )
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()


def _shared(config: settings.Config, bound: Sequence[Bound]) -> list[str]:
    """What is declared at the projection's addresses, where that and a log's first topic do not say what it
    is."""
    chain = config.contracts[bound[0].declaration.contract].chain
    addresses = {item.declaration.address for item in bound}
    here = [
        (address, event.layout, contract.start_block or 0, contract.end_block)
        for contract in config.contracts.values()
        if contract.chain == chain
        for event in contract.events
        for address in contract.addresses
        if address in addresses
    ]
    layouts = {(address, layout) for address, layout, *_ in here}
    topics = {(address, layout[0]) for address, layout in layouts}
    spans = {(address, *span) for address, _, *span in here}
    anonymous = any(item.declaration.event.anonymous for item in bound)
    plain = len(layouts) == len(topics) and len(spans) == len(addresses) and not anonymous
    return [] if plain else [repr(here)]


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
