"""Documents by value and by order, page by page: from MongoDB where they are published there, else the store.

A page begins after the last document of the page before, not after so many: what changes meanwhile neither
shows a document twice for its own sake nor hides one that stood still.
"""

# No postponed annotations here: those of the handlers are made for each projection.

import time
from inspect import Parameter, Signature
from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.spec import Example
from litestar.params import QueryParameter
from msgspec import Struct, defstruct

from eventstore.errors import ChainfoldError
from projections.fold.state import GenerationState
from projections.publish.publications import refusal
from projections.service.http.base import parameters
from projections.service.http.base.context import Desk, Shelf
from projections.service.http.base.problems import JSON, RequestRefused, refusals
from projections.service.http.base.schema import example_of, example_value, pattern, typed
from projections.service.http.routes.documents import MinBlock
from projections.sinks import Value
from projections.sinks.capabilities import PageRequest
from projections.values.twin import published

LOOKS = 0.05
"""Seconds between two looks whether MongoDB has what is waited for."""


class ListPosition(Struct, frozen=True, array_like=True):
    """Where a page ended: the list and the order it was of, and the value and key of its last document."""

    list: Literal["documents"]
    projection: str
    sort: str
    value: str | int | float | bool | None
    key: str


class DocumentPage(Struct, frozen=True):
    """Documents, the cursor of the next page (None: this was the last), the block they are of at least
    (None: MongoDB is behind what is served), the revision it has reached, and who answered."""

    documents: list[dict[str, Any]]
    next: str | None
    block: int | None
    revision: int
    source: Literal["mongo", "store"]


class ListRequest(Struct, frozen=True):
    """A list that was asked for. `sort` is a field, with a minus before it for descending."""

    where: dict[str, Value]
    sort: str
    limit: int
    after: ListPosition | None

    @property
    def field(self) -> str:
        return self.sort.removeprefix("-")

    @property
    def descending(self) -> bool:
        return self.sort.startswith("-")


def endpoints(desk: Desk) -> list[HTTPRouteHandler]:
    """For each projection one, so that its filters are described by its own fields."""
    return [_listing(desk, shelf) for shelf in desk.shelves.values()]


def _listing(desk: Desk, shelf: Shelf) -> HTTPRouteHandler:
    projector = shelf.own.projector

    def listing(**given: Any) -> Response[Any]:
        ask = _asked(shelf, given)
        desk.fresh(shelf, given["min_block"])
        page = _page(desk, shelf, ask, fresh=given["min_block"] is not None)
        headers = {"X-Chainfold-Revision": str(page.revision), "Cache-Control": "no-cache"}
        if page.block is not None:
            headers["X-Chainfold-Block"] = str(page.block)
        return Response(msgspec.json.encode(page), media_type=JSON, headers=headers)

    listing.__name__ = f"list_{shelf.name}"
    listing.__doc__ = f"Documents of {shelf.name}, by value and by order, page by page."
    annotations = _parameters(desk, shelf)
    defaults = {"limit": min(50, desk.settings.max_page), "sort": projector.key}
    listing.__annotations__ = {**annotations, "return": Response[Any]}
    listing.__signature__ = Signature(  # type: ignore[attr-defined]  # what Litestar reads
        [
            Parameter(name, Parameter.KEYWORD_ONLY, default=defaults.get(name), annotation=kind)
            for name, kind in annotations.items()
        ],
        return_annotation=Response[Any],
    )
    kind: Any = published(projector.document)
    shape: Any = defstruct(
        f"PageOf{projector.document.__name__}",
        [
            ("documents", list[kind]),
            ("next", str | None),
            ("block", int | None),
            ("revision", int),
            ("source", Literal["mongo", "store"]),
        ],
    )
    example = {
        "documents": [example_of(projector)],
        "next": None,
        "block": 120,
        "revision": 17,
        "source": "mongo",
    }
    return get(
        f"/v1/{shelf.name}",
        sync_to_thread=True,
        operation_id=f"list_{shelf.name}",
        summary=f"Documents of {shelf.name}",
        tags=[shelf.name],
        responses={
            200: typed(shape, "A page of documents.", example),
            **refusals(400, 401, 422, 429, 503),
        },
    )(listing)


def _parameters(desk: Desk, shelf: Shelf) -> dict[str, Any]:
    projector = shelf.own.projector
    found: dict[str, Any] = {}
    for name, parameter in shelf.parameters.items():
        field = shelf.fields[name]
        kind: Any = str if field.wide else field.simple
        found[parameter] = Annotated[
            kind | None,
            QueryParameter(
                description=f"Only documents whose {name} is this.",
                schema_extra=pattern(projector, name),
                examples=[Example(value=example_value(projector, name))],
            ),
        ]
    orders: Any = Literal[tuple(sign + name for name in shelf.sorts for sign in ("", "-"))]
    said = "In the order of this field and then of keys; - for descending. Text goes by its characters."
    found["sort"] = Annotated[orders, QueryParameter(description=said)]
    found["limit"] = Annotated[
        int, QueryParameter(ge=1, le=desk.settings.max_page, description="So many at most.")
    ]
    found["cursor"] = Annotated[
        str | None,
        QueryParameter(
            max_length=parameters.LONGEST_CURSOR,
            schema_extra=parameters.CURSOR,
            description="`next` of the page before, asked in the same way.",
        ),
    ]
    found["min_block"] = MinBlock
    return found


def _asked(shelf: Shelf, given: dict[str, Any]) -> ListRequest:
    where: dict[str, Value] = {}
    for name, parameter in shelf.parameters.items():
        value = given[parameter]
        if isinstance(value, str) and shelf.fields[name].wide:
            value = parameters.wide(parameter, value)
        elif isinstance(value, str):
            value = parameters.value(shelf.own, name, value)
        elif isinstance(value, int):
            parameters.whole(name, value, least=-parameters.HIGHEST)
        if value is not None:
            where[name] = value
    after = None if given["cursor"] is None else _after(shelf, given["cursor"], given["sort"])
    return ListRequest(where, given["sort"], given["limit"], after)


def _after(shelf: Shelf, cursor: str, sort: str) -> ListPosition:
    """Where a page of this list ended: a value that the field may have, and a key."""
    after = parameters.opened(cursor, ListPosition)
    field, key = after.sort.removeprefix("-"), shelf.own.projector.key
    if after.projection != shelf.name:
        raise parameters.elsewhere(f"that of {shelf.name}")
    if not (
        field in shelf.sorts and shelf.fields[field].takes(after.value) and shelf.fields[key].takes(after.key)
    ):
        raise parameters.made_up(cursor)
    if after.sort != sort:
        raise RequestRefused(422, f"cursor: it is of a list sorted by {after.sort!r}, not by {sort!r}.")
    return after


def _page(desk: Desk, shelf: Shelf, ask: ListRequest, *, fresh: bool) -> DocumentPage:
    """From MongoDB, else from the store where it can: it finds by one index, in the order of keys."""
    projector = shelf.own.projector
    by_store = ask.sort == projector.key and len(ask.where) <= 1 and set(ask.where) <= set(projector.index)
    if shelf.mongo is not None and (not by_store or shelf.breaker.may_ask()):
        try:
            page = _from_mongo(desk, shelf, ask, fresh=fresh)
        except ChainfoldError:
            shelf.breaker.failed()
            if not by_store:
                raise
        else:
            shelf.breaker.worked()
            return page
    if not by_store:
        found = " or ".join(projector.index) or "nothing"
        raise RequestRefused(
            422,
            f"Without MongoDB documents of {shelf.name} are listed by key only, found by one of: {found}.",
            hint=f"Publish {shelf.name} into MongoDB, and it answers the rest.",
        )
    return _from_store(desk, shelf, ask)


def _from_mongo(desk: Desk, shelf: Shelf, ask: ListRequest, *, fresh: bool) -> DocumentPage:
    assert shelf.mongo is not None
    served = desk.served(shelf)
    revision = _published(desk, shelf, at_least=served.revision if fresh else 0)
    key = shelf.own.projector.key
    after = None if ask.after is None else (ask.after.value, ask.after.key)
    wanted = PageRequest(
        where=ask.where,
        sort=None if ask.field == key else ask.field,
        descending=ask.descending,
        after=after,
        limit=ask.limit + 1,
    )
    found = [change.fields or {} for change in shelf.mongo.page(wanted)]
    block = served.block if revision >= served.revision else None
    return _made(shelf, ask, found, block=block, revision=revision, source="mongo")


def _published(desk: Desk, shelf: Shelf, *, at_least: int) -> int:
    """The revision that MongoDB has reached; waits for `at_least`, as long as the configuration allows."""
    assert shelf.mongo is not None
    end = time.monotonic() + desk.settings.max_wait
    while True:
        marker = shelf.mongo.marker()
        if marker is None:
            raise RequestRefused(503, f"MongoDB holds nothing of {shelf.name} yet.", again=True, after=5)
        if marker.revision >= at_least:
            break
        if time.monotonic() >= end:
            raise RequestRefused(
                503,
                f"MongoDB is at revision {marker.revision:,} of {shelf.name}, not yet at {at_least:,}.",
                hint=f"{desk.settings.max_wait:g} s were waited for it.",
                again=True,
                after=1,
            )
        time.sleep(LOOKS)
    with desk.store.read() as tx:
        foreign = refusal(
            tx, marker, shelf.mongo.name, chain_id=shelf.own.chain_id, projection=shelf.own.name
        )
    if foreign is not None:
        raise RequestRefused(
            503, f"What MongoDB holds of {shelf.name} is not of this store.", hint=str(foreign)
        )
    return marker.revision


def _from_store(desk: Desk, shelf: Shelf, ask: ListRequest) -> DocumentPage:
    where = next(((name, str(value)) for name, value in ask.where.items()), None)
    with desk.store.read() as tx:
        served = desk.generation(tx, shelf)
        rows = GenerationState(tx, served.id).page(
            where, after=None if ask.after is None else ask.after.key, limit=ask.limit + 1
        )
    found = [msgspec.json.decode(body) for _, body in rows]
    return _made(shelf, ask, found, block=served.block, revision=served.revision, source="store")


def _made(
    shelf: Shelf,
    ask: ListRequest,
    found: list[dict[str, Any]],
    *,
    block: int | None,
    revision: int,
    source: Literal["mongo", "store"],
) -> DocumentPage:
    """The page, and a cursor where one more document was found than was asked for."""
    kept = found[: ask.limit]
    following = None
    if len(found) > ask.limit:
        last = kept[-1]
        value = last.get(ask.field)
        following = parameters.sealed(
            ListPosition("documents", shelf.name, ask.sort, value, last[shelf.own.projector.key])
        )
    return DocumentPage(kept, following, block, revision, source)
