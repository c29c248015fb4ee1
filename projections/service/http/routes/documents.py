"""One document: now, from Redis first; or after a past block, from before-images."""

# No postponed annotations here: those of the handlers are made for each projection.

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.spec import Example
from litestar.params import PathParameter, QueryParameter
from msgspec import Struct

from projections.fold.state import GenerationState
from projections.publish.current import current
from projections.service.http.base import parameters
from projections.service.http.base.context import Desk, Shelf
from projections.service.http.base.problems import JSON, RequestRefused, refusals
from projections.service.http.base.schema import example_of, example_value, pattern, typed
from projections.values.twin import published

MinBlock = Annotated[
    int | None,
    QueryParameter(
        ge=0,
        schema_extra=parameters.FROM_ZERO,
        le=parameters.HIGHEST,
        description="Waits, a bounded time, until this block is in what is served; else 503.",
    ),
]


AtBlock = Annotated[
    int | None,
    QueryParameter(
        ge=0,
        schema_extra=parameters.FROM_ZERO,
        le=parameters.HIGHEST,
        description="The whole document as it was after this block, as far back as can be undone.",
    ),
]


class FoundDocument(Struct, frozen=True):
    """A document's body (None: there is none), its revision (0: it never had one), and the block it is of."""

    body: bytes | None
    revision: int
    block: int


def endpoints(desk: Desk) -> list[HTTPRouteHandler]:
    """For each projection two, so that each is described by its own document: a key that cannot stand in a
    path, or is a word that is taken there, stands in the query."""
    return [make(desk, shelf) for shelf in desk.shelves.values() for make in (_document, _document_by_query)]


def _document(desk: Desk, shelf: Shelf) -> HTTPRouteHandler:
    def document(
        request: Request[Any, Any, Any],
        key: in_path(shelf),  # type: ignore[valid-type]  # it is described by the projection
        full: short_or_full(shelf) = False,  # type: ignore[valid-type]
        at_block: AtBlock = None,
        min_block: MinBlock = None,
    ) -> Response[Any]:
        return _answer(
            desk, shelf, request, DocumentRequest(parameters.segment(key), full, at_block, min_block)
        )

    return _described(shelf, document, f"/v1/{shelf.name}/{{key:str}}", f"document_{shelf.name}")


def _document_by_query(desk: Desk, shelf: Shelf) -> HTTPRouteHandler:
    def document(
        request: Request[Any, Any, Any],
        key: in_query(shelf),  # type: ignore[valid-type]
        full: short_or_full(shelf) = False,  # type: ignore[valid-type]
        at_block: AtBlock = None,
        min_block: MinBlock = None,
    ) -> Response[Any]:
        return _answer(desk, shelf, request, DocumentRequest(key, full, at_block, min_block))

    return _described(shelf, document, f"/v1/{shelf.name}/document", f"document_by_query_{shelf.name}")


class DocumentRequest(Struct, frozen=True):
    """A document that was asked for."""

    key: str
    full: bool
    at_block: int | None
    min_block: int | None


def _answer(
    desk: Desk, shelf: Shelf, request: Request[Any, Any, Any], said: DocumentRequest
) -> Response[Any]:
    wanted = parameters.key(shelf.own, said.key)
    desk.fresh(shelf, said.min_block)
    if said.at_block is not None:
        found = _past(desk, shelf, wanted, said.at_block)
    elif said.full:
        found = _present(desk, shelf, wanted)
    else:
        found = _cached(desk, shelf, wanted, fresh=said.min_block is not None)
    if found.body is None:
        when = "" if said.at_block is None else f" after block {said.at_block:,}"
        raise RequestRefused(404, f"{shelf.name} has no document {wanted}{when}.")
    headers = {"X-Chainfold-Block": str(found.block)}
    if said.at_block is None:
        tag = f'"{desk.pulse.beat.store[:8]}-{shelf.name}-{found.revision}{"-full" if said.full else ""}"'
        headers |= {
            "X-Chainfold-Revision": str(found.revision),
            "ETag": tag,
            "Cache-Control": "no-cache",
        }
        if tag in _tags(request.headers.get("if-none-match", "")):
            return Response(b"", status_code=304, headers=headers, media_type=JSON)
    return Response(found.body, media_type=JSON, headers=headers)


def in_path(shelf: Shelf) -> Any:
    """A document's key as a segment of a path."""
    return Annotated[
        str,
        PathParameter(
            description=f"The document's {shelf.own.projector.key}, percent-encoded; an address in any case.",
            examples=[Example(value=example_value(shelf.own.projector, shelf.own.projector.key))],
            schema_extra=pattern(shelf.own.projector, shelf.own.projector.key),
        ),
    ]


def in_query(shelf: Shelf) -> Any:
    """A document's key in the query: any key has this address."""
    return Annotated[
        str,
        QueryParameter(
            description=f"The document's {shelf.own.projector.key}; an address in any case.",
            examples=[Example(value=example_value(shelf.own.projector, shelf.own.projector.key))],
            schema_extra=pattern(shelf.own.projector, shelf.own.projector.key),
        ),
    ]


def short_or_full(shelf: Shelf) -> Any:
    short = ", ".join(shelf.types.fields)
    return Annotated[
        bool, QueryParameter(description=f"All fields, from the store; else {short}, from Redis first.")
    ]


def _described(shelf: Shelf, handler: Any, path: str, name: str) -> HTTPRouteHandler:
    projector = shelf.own.projector
    handler.__name__ = name
    handler.__doc__ = f"One document of {shelf.name}."
    return get(
        path,
        sync_to_thread=True,
        operation_id=name,
        summary=f"One document of {shelf.name}",
        tags=[shelf.name],
        responses={
            200: typed(published(projector.document), "The document.", example_of(projector)),
            **refusals(400, 401, 404, 409, 422, 429, 503),
        },
    )(handler)


def _tags(header: str) -> set[str]:
    return {part.strip().removeprefix("W/") for part in header.split(",")}


def _cached(desk: Desk, shelf: Shelf, key: str, *, fresh: bool) -> FoundDocument:
    """The short form: from Redis, else the store. A request for a minimum block is answered by the store."""
    if shelf.cache is not None and not fresh:
        held = shelf.cache.get(key)
        if held is not None:
            body = None if held.fields is None else msgspec.json.encode(held.fields)
            return FoundDocument(body, held.revision, held.block)
    found = _present(desk, shelf, key)
    if found.body is None:
        return found
    if shelf.cache is not None:
        shelf.cache.want(key)
    return FoundDocument(
        msgspec.json.encode(shelf.types.short(msgspec.json.decode(found.body))), found.revision, found.block
    )


def _present(desk: Desk, shelf: Shelf, key: str) -> FoundDocument:
    """The whole document from the store; who asks for the same at the same time shares the answer."""

    def read() -> FoundDocument:
        with desk.store.read() as tx:
            served = desk.generation(tx, shelf)
            item = current(tx, shelf.name, served, [key]).get(key)
        if item is None:
            return FoundDocument(None, 0, served.block)
        return FoundDocument(item.body, item.revision, served.block)

    found: FoundDocument = desk.flights.share((shelf.name, key), read)
    return found


def _past(desk: Desk, shelf: Shelf, key: str, block: int) -> FoundDocument:
    with desk.store.read() as tx:
        served = desk.generation(tx, shelf)
        if block > served.block:
            raise RequestRefused(
                409, f"{shelf.name} is at block {served.block:,}, not yet at {block:,}.", again=True
            )
        if block < served.floor:
            raise RequestRefused(
                422,
                f"What {shelf.name} held at block {block:,} is not kept: before-images reach down to block "
                f"{served.floor:,}.",
                hint=f"On the server, `chainfold show {shelf.name} KEY --at-block {block}` folds it from the "
                "first block.",
            )
        return FoundDocument(GenerationState(tx, served.id).at(key, block), 0, block)
