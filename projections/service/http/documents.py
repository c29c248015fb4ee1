"""One document: now, from Redis first; or after a past block, from what can be undone."""

# No postponed annotations here: those of the handlers are made anew for each projection.

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.spec import Example
from litestar.params import PathParameter, QueryParameter
from msgspec import Struct

from projections.published import current
from projections.service.http import asked
from projections.service.http.desk import Desk, Shelf
from projections.service.http.problems import JSON, Refused, refusals
from projections.service.http.schema import example_of, example_value, pattern, typed
from projections.state import GenerationState
from projections.twin import published

MinBlock = Annotated[
    int | None,
    QueryParameter(
        ge=0,
        schema_extra=asked.FROM_ZERO,
        le=asked.HIGHEST,
        description="Waits, a bounded time, until this block is in what is served; else 503.",
    ),
]


class Found(Struct, frozen=True):
    """A document's body (None: there is none), its revision (0: it never had one), and the block it is of."""

    body: bytes | None
    revision: int
    block: int


def endpoints(desk: Desk) -> list[HTTPRouteHandler]:
    """For each projection one, so that each is described by its own document."""
    return [_document(desk, shelf) for shelf in desk.shelves.values()]


def _document(desk: Desk, shelf: Shelf) -> HTTPRouteHandler:
    projector = shelf.own.projector
    short = ", ".join(shelf.types.fields)

    def document(
        request: Request[Any, Any, Any],
        key: Annotated[
            str,
            PathParameter(
                description=f"The document's {projector.key}; an address in any case.",
                examples=[Example(value=example_value(projector, projector.key))],
                schema_extra=pattern(projector, projector.key),
            ),
        ],
        full: Annotated[
            bool, QueryParameter(description=f"All fields, from the store; else {short}, from Redis first.")
        ] = False,
        at_block: Annotated[
            int | None,
            QueryParameter(
                ge=0,
                schema_extra=asked.FROM_ZERO,
                le=asked.HIGHEST,
                description="The whole document as it was after this block, as far back as can be undone.",
            ),
        ] = None,
        min_block: MinBlock = None,
    ) -> Response[Any]:
        wanted = asked.key(shelf.own, key)
        desk.fresh(shelf, min_block)
        if at_block is not None:
            found = _past(desk, shelf, wanted, at_block)
        elif full:
            found = _present(desk, shelf, wanted)
        else:
            found = _cached(desk, shelf, wanted, fresh=min_block is not None)
        if found.body is None:
            when = "" if at_block is None else f" after block {at_block:,}"
            raise Refused(404, f"{shelf.name} has no document {wanted}{when}.")
        headers = {"X-Chainfold-Block": str(found.block)}
        if at_block is None:
            tag = f'"{desk.pulse.beat.store[:8]}-{shelf.name}-{found.revision}{"-full" if full else ""}"'
            headers |= {
                "X-Chainfold-Revision": str(found.revision),
                "ETag": tag,
                "Cache-Control": "no-cache",
            }
            if tag in _tags(request.headers.get("if-none-match", "")):
                return Response(b"", status_code=304, headers=headers, media_type=JSON)
        return Response(found.body, media_type=JSON, headers=headers)

    document.__name__ = f"document_{shelf.name}"
    document.__doc__ = f"One document of {shelf.name}."
    return get(
        f"/v1/{shelf.name}/{{key:str}}",
        sync_to_thread=True,
        operation_id=f"document_{shelf.name}",
        summary=f"One document of {shelf.name}",
        tags=[shelf.name],
        responses={
            200: typed(published(projector.document), "The document.", example_of(projector)),
            **refusals(400, 401, 404, 409, 422, 429, 503),
        },
    )(document)


def _tags(header: str) -> set[str]:
    return {part.strip().removeprefix("W/") for part in header.split(",")}


def _cached(desk: Desk, shelf: Shelf, key: str, *, fresh: bool) -> Found:
    """The short form: from Redis, else the store. Who asked for freshness is answered by the store."""
    if shelf.cache is not None and not fresh:
        held = shelf.cache.get(key)
        if held is not None:
            body = None if held.fields is None else msgspec.json.encode(held.fields)
            return Found(body, held.revision, held.block)
    found = _present(desk, shelf, key)
    if found.body is None:
        return found
    if shelf.cache is not None:
        shelf.cache.want(key)
    return Found(
        msgspec.json.encode(shelf.types.short(msgspec.json.decode(found.body))), found.revision, found.block
    )


def _present(desk: Desk, shelf: Shelf, key: str) -> Found:
    """The whole document from the store; who asks for the same at the same time shares the answer."""

    def read() -> Found:
        with desk.store.read() as tx:
            served = desk.generation(tx, shelf)
            item = current(tx, shelf.name, served, [key]).get(key)
        if item is None:
            return Found(None, 0, served.block)
        return Found(item.body, item.revision, served.block)

    found: Found = desk.flights.share((shelf.name, key), read)
    return found


def _past(desk: Desk, shelf: Shelf, key: str, block: int) -> Found:
    with desk.store.read() as tx:
        served = desk.generation(tx, shelf)
        if block > served.block:
            raise Refused(
                409, f"{shelf.name} is at block {served.block:,}, not yet at {block:,}.", again=True
            )
        if block < served.floor:
            raise Refused(
                422,
                f"What {shelf.name} held at block {block:,} is not kept: before-images reach down to block "
                f"{served.floor:,}.",
                hint=f"On the server, `chainfold show {shelf.name} KEY --at-block {block}` folds it from the "
                "first block.",
            )
        return Found(GenerationState(tx, served.id).at(key, block), 0, block)
