"""Status endpoints: the served projections, status, health, readiness and metrics."""

from __future__ import annotations

import time
from threading import Lock
from typing import Any

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from eventstore.errors import ChainfoldError
from eventstore.journal import behind
from eventstore.journal.totals import Tally
from projections.service.http.base.context import Desk
from projections.service.http.base.problems import JSON, Problem, RequestRefused, refusals
from projections.service.http.base.schema import typed
from projections.service.status.collector import StoreCollector
from projections.service.status.lease_holders import works
from projections.service.status.overview import whole_status
from projections.service.status.projections import projection_status
from projections.service.status.records import STALE, Status

KEPT = 1.0
"""Seconds for which an answer about everything is given again."""


class ServedProjection(Struct, frozen=True):
    """A projection: its document's fields and their types, what lists may filter and sort by, the parameter
    for each filter, which fields hold addresses, and where it stands. A type is one of integer, integer256
    (text in JSON), number, text, bool and other."""

    name: str
    chain: str
    key: str
    fields: list[str]
    types: dict[str, str]
    short_fields: list[str]
    filters: list[str]
    parameters: dict[str, str]
    sorts: list[str]
    addresses: list[str]
    state: str
    block: int | None
    revision: int
    documents: int


class Liveness(Struct, frozen=True):
    """The process answers."""

    status: str = "ok"


class Readiness(Struct, frozen=True):
    """It can answer what it is here for."""

    status: str = "ready"


class Overview:
    """The status of everything, asked at most once a second, however many want it."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._lock = Lock()
        self._kept: tuple[float, Status] | None = None
        self._tally = Tally()

    def get(self) -> Status:
        with self._lock:
            if self._kept is None or time.monotonic() - self._kept[0] > KEPT:
                began = time.monotonic()  # what it says first is so old when all of it is there
                found = whole_status(
                    self._desk.plan, store=self._desk.store, sinks=self._desk.sinks, tally=self._tally
                )
                self._kept = began, found
            return self._kept[1]

    def if_there(self) -> Status | None:
        """None where the store does not answer."""
        try:
            return self.get()
        except ChainfoldError:
            return None


def endpoints(desk: Desk) -> list[HTTPRouteHandler]:
    """The same in every role."""
    overview = Overview(desk)
    desk.meters.add(StoreCollector(overview.if_there, works(desk.plan)))

    def status() -> Response[Any]:
        """Per chain, projection and sink: where it is, how far behind, in which state, last error."""
        return Response(msgspec.json.encode(overview.get()), media_type=JSON)

    @get(
        "/healthz",
        sync_to_thread=False,
        tags=["service"],
        responses={200: typed(Liveness, "It answers.", Liveness())},
    )
    def healthz() -> Liveness:
        """The process answers."""
        return Liveness()

    @get(
        "/readyz",
        sync_to_thread=True,
        tags=["service"],
        responses={200: typed(Readiness, "It can answer.", Readiness()), **refusals(503)},
    )
    def readyz() -> Readiness:
        """Whether this process can answer: the store is there, every projection has been built, without
        blocks that left the chain, and no node shows a chain that ends below ours. With `max_lag`, no
        projection may be further behind than that. 503 says why not."""
        reason = _unready(desk, overview)
        if reason is not None:
            raise RequestRefused(503, reason.error, hint=reason.hint, again=True, after=5)
        return Readiness()

    @get(
        "/metrics",
        sync_to_thread=True,
        media_type="text/plain; version=0.0.4; charset=utf-8",
        tags=["service"],
        responses=refusals(401, 429),
    )
    def metrics() -> bytes:
        """What Prometheus reads."""
        return desk.meters.text()

    described: dict[str, Any] = {
        "sync_to_thread": True,
        "tags": ["service"],
        "responses": {
            200: typed(Status, "Where everything stands.", Status({}, {}, {})),
            **refusals(401, 429, 503),
        },
    }
    return [
        get("/status", operation_id="status", **described)(status),
        get("/v1/status", operation_id="v1_status", **described)(status),
        healthz,
        readyz,
        metrics,
    ]


def catalogue(desk: Desk) -> HTTPRouteHandler:
    """What can be asked for."""
    example = ServedProjection(
        name="referrals",
        chain="main",
        key="address",
        fields=["address", "directReferrer", "level1Count"],
        types={"address": "text", "directReferrer": "text", "level1Count": "integer"},
        short_fields=["address", "level1Count"],
        filters=["directReferrer"],
        parameters={"directReferrer": "directReferrer"},
        sorts=["address", "level1Count"],
        addresses=["address", "directReferrer"],
        state="live",
        block=120,
        revision=17,
        documents=4200,
    )

    @get(
        "/v1/projections",
        sync_to_thread=True,
        tags=["service"],
        responses={
            200: typed(list[ServedProjection], "The projections.", [example]),
            **refusals(401, 429, 503),
        },
    )
    def projections() -> list[ServedProjection]:
        """The projections that are served, and what may be asked of each."""
        found = []
        for name, shelf in desk.shelves.items():
            state = projection_status(desk.store, shelf.own, head=None)
            projector = shelf.own.projector
            found.append(
                ServedProjection(
                    name=name,
                    chain=shelf.chain,
                    key=projector.key,
                    fields=list(projector.document.__struct_fields__),
                    types={field.name: field.called for field in shelf.fields.values()},
                    short_fields=list(shelf.types.fields),
                    filters=list(shelf.filters),
                    parameters=shelf.parameters,
                    sorts=list(shelf.sorts),
                    addresses=list(projector.addresses),
                    state=state.state,
                    block=state.block,
                    revision=state.revision,
                    documents=state.documents,
                )
            )
        return found

    return projections


def _unready(desk: Desk, overview: Overview) -> Problem | None:
    """Why this process cannot answer, None where it can."""
    beat = desk.pulse.look()
    if beat.error is not None:
        return Problem(beat.error.message, beat.error.hint)
    for name in desk.shelves:
        if name not in beat.served:
            return Problem(
                f"{name} has not been built yet.", "Its first build is under way or was not begun."
            )
        if beat.served[name].state == "stale":
            return Problem(f"{name}: {STALE}", "It is ready again when that build is promoted.")
    for chain, chain_id in {shelf.chain: shelf.own.chain_id for shelf in desk.shelves.values()}.items():
        with desk.store.read() as tx:
            late = behind.read(tx, chain_id)
        if late is not None and late.is_wrong:
            return Problem(f"{chain}: {late}")
    most = desk.settings.max_lag
    if most is None:
        return None
    for name, item in overview.get().projections.items():
        if item.lag_seconds is not None and item.lag_seconds > most:
            return Problem(f"{name} is {item.lag_seconds:,.0f} s behind the chain, more than {most:g} s.")
    return None
