"""What every endpoint uses: the plan, a read-only store, the poller, caches and sinks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import BoundedSemaphore
from typing import Any

from msgspec import Struct

from eventstore.storage.store import Store
from projections.fold.fold import Projection
from projections.fold.generation import Generation, Generations
from projections.service.config.http import Http
from projections.service.http.base.cache import PATIENCE, Cache, Types
from projections.service.http.base.circuit_breaker import Breaker
from projections.service.http.base.problems import RequestRefused
from projections.service.http.base.single_flight import Flight
from projections.service.runtime.wiring import Plan
from projections.service.status.metrics import Meters
from projections.service.status.poller import Beat, Pulse, Served
from projections.sinks import Sink
from projections.sinks.capabilities import Fillable, Paged
from projections.values.fields import Field, fields

WAITERS = 16
"""Requests that may wait for freshness at a time: each takes a thread."""

MONGO_PATIENCE = 3.0
"""Seconds that MongoDB may take for an answer."""

_OWN = ("limit", "cursor", "sort", "min_block")
_LITESTAR = (
    "body",
    "cookies",
    "data",
    "headers",
    "query",
    "request",
    "scope",
    "socket",
    "state",
)
RESERVED = frozenset(_OWN + _LITESTAR)
"""Parameters of a list, and what the framework means by itself: a field of such a name is asked for by
another."""

SEARCHES = 2
"""Requests at a time that read much of the store, each for a little answer."""


class Shelf(Struct, frozen=True):
    """One projection as it is served: from Redis and MongoDB where it is published there, else the fold."""

    own: Projection
    chain: str
    fields: dict[str, Field]
    types: Types
    cache: Cache | None
    mongo: Paged | None
    breaker: Breaker

    @property
    def name(self) -> str:
        return self.own.name

    @property
    def filters(self) -> tuple[str, ...]:
        """The fields by whose value documents can be found: those of the indexes that there are."""
        projector = self.own.projector
        there = (*projector.index, *(projector.mongo_indexes if self.mongo is not None else ()))
        return tuple(
            name
            for name in dict.fromkeys(there)
            if name != projector.key and self.fields[name].simple is not None
        )

    @property
    def parameters(self) -> dict[str, str]:
        """The parameter of a list by which each of `filters` is asked: its name, with an underscore behind it
        where that means something else, or another field."""
        found: dict[str, str] = {}
        taken = {*RESERVED, *self.filters}
        for name in self.filters:
            parameter = name
            while parameter in taken and (parameter in RESERVED or parameter != name):
                parameter += "_"
            taken.add(parameter)
            found[name] = parameter
        return found

    @property
    def sorts(self) -> tuple[str, ...]:
        """The fields that a list can be ordered by."""
        projector = self.own.projector
        there = projector.mongo_indexes if self.mongo is not None else ()
        return tuple(
            name
            for name in dict.fromkeys((projector.key, *there))
            if name == projector.key or self.fields[name].simple is not None
        )


class Desk:
    """Opened once, used by all threads, closed at the end."""

    def __init__(self, plan: Plan, settings: Http, meters: Meters, *, documents: bool) -> None:
        self.plan = plan
        self.settings = settings
        self.meters = meters
        self.serves_documents = documents
        self.store = Store(plan.config.store.url, read_only=True)
        self.pulse = Pulse(self.store)
        self.flights: Flight[Any] = Flight()
        self.waiters = BoundedSemaphore(WAITERS)
        self.searches = BoundedSemaphore(SEARCHES)
        self.sinks: dict[str, list[Sink]] = {}
        self.shelves: dict[str, Shelf] = {}
        self._open = ExitStack()
        self._open.callback(self.store.close)
        for name in plan.projections:
            self.sinks[name] = plan.sinks(name, patience=MONGO_PATIENCE)
            for sink in self.sinks[name]:
                self._open.callback(sink.close)
            if documents:
                self.shelves[name] = self._shelf(name)

    def start(self) -> None:
        """Looks once, so that the first request finds what there is, then goes on in threads."""
        for shelf in self.shelves.values():
            if shelf.cache is not None:
                self.pulse.call(shelf.cache.refresh)
                shelf.cache.start()
        self.pulse.look()
        self.pulse.start()

    def close(self) -> None:
        self.pulse.stop()
        for shelf in self.shelves.values():
            if shelf.cache is not None:
                shelf.cache.close()
        self._open.close()

    def served(self, shelf: Shelf, beat: Beat | None = None) -> Served:
        """What of a projection is served by the last look; refused where it is nothing yet."""
        seen = self.pulse.beat if beat is None else beat
        found = seen.served.get(shelf.name)
        if found is not None:
            return found
        if seen.error is not None:
            raise seen.error
        raise unbuilt(shelf.name)

    def generation(self, tx: Any, shelf: Shelf) -> Generation:
        """The served generation within a snapshot; refused where there is none yet."""
        found = Generations(tx, shelf.name).served()
        if found is None:
            raise unbuilt(shelf.name)
        return found

    def fresh(self, shelf: Shelf, min_block: int | None) -> None:
        """Waits until block `min_block` is served, as long as the configuration allows; else refuses."""
        if min_block is None or self.served(shelf).block >= min_block:
            return
        if not self.waiters.acquire(blocking=False):
            raise RequestRefused(503, "Too many requests wait for a block already.", again=True, after=1)
        try:
            beat = self.pulse.wait(
                lambda seen: (now := seen.served.get(shelf.name)) is not None and now.block >= min_block,
                seconds=self.settings.max_wait,
            )
        finally:
            self.waiters.release()
        found = self.served(shelf, beat)
        if found.block < min_block:
            raise RequestRefused(
                503,
                f"{shelf.name} is at block {found.block:,}, not yet at {min_block:,}.",
                hint=f"{self.settings.max_wait:g} s were waited for it.",
                again=True,
                after=1,
            )

    @contextmanager
    def search(self) -> Iterator[None]:
        """While one of the few requests is answered that read much; refused where they are too many."""
        if not self.searches.acquire(timeout=self.settings.max_wait):
            raise RequestRefused(503, "Too many requests search the history already.", again=True, after=2)
        try:
            yield
        finally:
            self.searches.release()

    def _shelf(self, name: str) -> Shelf:
        own = self.plan.projections[name]
        cache = None
        for sink in self.plan.sinks(name, patience=PATIENCE):
            if isinstance(sink, Fillable):
                cache = Cache(
                    self.store,
                    sink,
                    own,
                    read=lambda outcome, count: self.meters.cache_read(name, outcome, count),
                    filled=lambda outcome, count: self.meters.cache_filled(name, outcome, count),
                )
            else:
                sink.close()
        mongo = next((item for item in self.sinks[name] if isinstance(item, Paged)), None)
        return Shelf(
            own,
            self.plan.chain_of(name),
            fields(own.projector.document),
            Types(own),
            cache,
            mongo,
            Breaker(),
        )


def unbuilt(name: str) -> RequestRefused:
    return RequestRefused(
        503,
        f"{name} has not been built yet.",
        hint="Its first build is served when it is finished: see /v1/status.",
        again=True,
        after=5,
    )
