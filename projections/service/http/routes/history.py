"""The history of a document: the events that changed it, newest first, found by folding them again.

That is exact and takes as long as there are events. Above `max_replay` of them the events are searched that
name the document's key, where that is an address: `complete` false says that those are not all that may have
changed it.
"""

# No postponed annotations here: those of the handlers are made for each projection.

from collections import OrderedDict
from itertools import islice
from threading import Lock
from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter
from msgspec import Struct, defstruct

from eventstore.journal.history import Learned, Question, ask
from eventstore.journal.journal import Journal
from projections.fold.document_type import Shape
from projections.fold.generation import Generation
from projections.fold.replay import Replay, Touch
from projections.service.http.base import parameters
from projections.service.http.base.context import Desk, Shelf
from projections.service.http.base.problems import JSON, RequestRefused, refusals
from projections.service.http.base.schema import example_event, example_of, typed
from projections.service.http.routes.documents import in_path, in_query
from projections.service.status.audit import event_row
from projections.service.status.declared import Declared
from projections.values.twin import published

KEPT = 64
"""Histories that are kept for their further pages."""


class HistoryPosition(Struct, frozen=True, array_like=True):
    """The log that a page ended with, and the projection and the key it was of."""

    list: Literal["history"]
    projection: str
    key: str
    block: int
    log_index: int
    entry: int


class Made(Struct, frozen=True):
    """An event, and the document after it: None where it removed the document, or is not known."""

    block: int
    log_index: int
    timestamp: int
    event: str | None
    args: dict[str, Any]
    marks: dict[str, str]
    tx_hash: str
    entry: int
    after: Any


class Story(Struct, frozen=True):
    """Events, newest first, the cursor of the next page, and whether no other event changed the document."""

    events: list[Made]
    next: str | None
    complete: bool


class Book:
    """The histories of one projection's documents; what was folded is kept while it stands still."""

    def __init__(self, desk: Desk, shelf: Shelf) -> None:
        self._desk = desk
        self._shelf = shelf
        self._shape = Shape(type(shelf.own.projector))
        self._declared = Declared(desk.plan.config, shelf.chain)
        self._lock = Lock()
        self._kept: OrderedDict[tuple[Any, ...], list[Touch]] = OrderedDict()

    def story(self, key: str, limit: int, after: HistoryPosition | None) -> Story:
        """The next page of the events that made the document."""
        own, desk = self._shelf.own, self._desk
        with desk.store.read() as tx:
            served = desk.generation(tx, self._shelf)
            journal = Journal(tx, own.chain_id)
            kinds = journal.kinds(item.filter for item in own.watches)
            events = journal.count(kinds, after=own.first_block - 1, to=served.block)
        complete = events <= desk.settings.max_replay
        if complete:
            found = self._folded(served, key, limit, after)
        elif own.projector.key in own.projector.addresses:
            found = self._naming(served, key, limit, after)
        else:
            raise RequestRefused(
                422,
                f"{own.name} is made of {events:,} events, more than the {desk.settings.max_replay:,} that "
                "are folded again here.",
                hint=f"On the server, `chainfold show {own.name} KEY --history` folds them.",
            )
        if not found and after is None:
            raise RequestRefused(404, f"No event made a document {key} of {own.name}.")
        kept = found[:limit]
        last = kept[-1] if len(found) > limit else None
        following = (
            None
            if last is None
            else parameters.sealed(
                HistoryPosition("history", own.name, key, last.block, last.log_index, last.entry)
            )
        )
        return Story(kept, following, complete)

    def _folded(self, served: Generation, key: str, limit: int, after: HistoryPosition | None) -> list[Made]:
        touches = self._touches(served, key)[::-1]
        if after is not None:
            place = (after.block, after.log_index)
            touches = [item for item in touches if (item.log.block_number, item.log.log_index) < place]
        found = []
        with self._desk.store.read() as tx:
            for touch in touches[: limit + 1]:
                log = touch.log
                at = Question(
                    first=log.block_number,
                    last=log.block_number,
                    after=(log.block_number, log.log_index, log.entry - 1),
                    orphaned=None,
                )
                row = next(ask(tx, self._shelf.own.chain_id, at, page=1))
                found.append(self._made(row, touch.after))
        return found

    def _naming(self, served: Generation, key: str, limit: int, after: HistoryPosition | None) -> list[Made]:
        own = self._shelf.own
        question = Question(
            first=own.first_block,
            last=served.block,
            filters=tuple(item.filter for item in own.watches),
            names=bytes.fromhex(key[2:]),
            newest_first=True,
            after=None if after is None else (after.block, after.log_index, after.entry),
        )
        with self._desk.search(), self._desk.store.read() as tx:
            rows = (row for row in ask(tx, own.chain_id, question, page=limit + 1) if own.may_take(row.log))
            return [self._made(row, None) for row in islice(rows, limit + 1)]

    def _touches(self, served: Generation, key: str) -> list[Touch]:
        """What changed the document, oldest first."""
        name = (served.id, served.entry, served.block, key)
        with self._lock:
            found = self._kept.get(name)
        if found is not None:
            return found

        def fold() -> list[Touch]:
            with self._desk.search():
                return Replay(self._desk.store, self._shelf.own).to(served.block, watch=key)[1]

        made: list[Touch] = self._desk.flights.share(("history", self._shelf.name, *name), fold)
        with self._lock:
            self._kept[name] = made
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return made

    def _made(self, row: Learned, after: Any) -> Made:
        shown = event_row(self._shelf.chain, row, self._declared)
        return Made(
            shown.block,
            shown.log_index,
            shown.timestamp,
            shown.event,
            shown.args,
            shown.marks,
            shown.tx_hash,
            shown.entry,
            None if after is None else msgspec.Raw(self._shape.encode(after)),
        )


def _after(cursor: str, projection: str, key: str) -> HistoryPosition:
    """Where a page of this document's history ended."""
    after = parameters.opened(cursor, HistoryPosition)
    parameters.placed(cursor, after.block, after.log_index, after.entry)
    if (after.projection, after.key) != (projection, key):
        raise parameters.elsewhere(f"the history of {key}")
    return after


def endpoints(desk: Desk) -> list[HTTPRouteHandler]:
    """For each projection two, so that each is described by its own document: see `documents.endpoints`."""
    found = []
    for shelf in desk.shelves.values():
        book, shape = Book(desk, shelf), _shape(shelf)
        found += [_history(desk, shelf, book, shape), _history_by_query(desk, shelf, book, shape)]
    return found


def _history(desk: Desk, shelf: Shelf, book: Book, shape: Any) -> HTTPRouteHandler:
    usual = min(50, desk.settings.max_page)

    def history(
        key: in_path(shelf),  # type: ignore[valid-type]  # it is described by the projection
        limit: rows(desk) = usual,  # type: ignore[valid-type]
        cursor: CursorParameter = None,
    ) -> Response[Any]:
        return _told(shelf, book, parameters.segment(key), limit, cursor)

    return _described(shelf, history, shape, f"/v1/{shelf.name}/{{key:str}}/history", f"history_{shelf.name}")


def _history_by_query(desk: Desk, shelf: Shelf, book: Book, shape: Any) -> HTTPRouteHandler:
    usual = min(50, desk.settings.max_page)

    def history(
        key: in_query(shelf),  # type: ignore[valid-type]
        limit: rows(desk) = usual,  # type: ignore[valid-type]
        cursor: CursorParameter = None,
    ) -> Response[Any]:
        return _told(shelf, book, key, limit, cursor)

    name = f"history_by_query_{shelf.name}"
    return _described(shelf, history, shape, f"/v1/{shelf.name}/document/history", name)


CursorParameter = Annotated[
    str | None,
    QueryParameter(
        max_length=parameters.LONGEST_CURSOR,
        schema_extra=parameters.CURSOR,
        description="`next` of the page before.",
    ),
]


def rows(desk: Desk) -> Any:
    return Annotated[int, QueryParameter(ge=1, le=desk.settings.max_page)]


def _told(shelf: Shelf, book: Book, key: str, limit: int, cursor: str | None) -> Response[Any]:
    wanted = parameters.key(shelf.own, key)
    after = None if cursor is None else _after(cursor, shelf.name, wanted)
    story = book.story(wanted, limit, after)
    return Response(msgspec.json.encode(story), media_type=JSON, headers={"Cache-Control": "no-cache"})


def _shape(shelf: Shelf) -> Any:
    """The type of an answer, as it is described."""
    kind: Any = published(shelf.own.projector.document)
    event: Any = defstruct(
        f"EventOf{kind.__name__}",
        [(name, hint) for name, hint in Made.__annotations__.items() if name != "after"]
        + [("after", kind | None)],
    )
    return defstruct(
        f"HistoryOf{kind.__name__}", [("events", list[event]), ("next", str | None), ("complete", bool)]
    )


def _described(shelf: Shelf, handler: Any, shape: Any, path: str, name: str) -> HTTPRouteHandler:
    projector = shelf.own.projector
    handler.__name__ = name
    handler.__doc__ = f"The events that made a document of {shelf.name}, newest first."
    made = {field: example_event()[field] for field in Made.__struct_fields__ if field != "after"}
    example = {"events": [made | {"after": example_of(projector)}], "next": None, "complete": True}
    return get(
        path,
        sync_to_thread=True,
        operation_id=name,
        summary=f"What made a document of {shelf.name}",
        tags=[shelf.name],
        responses={
            200: typed(shape, "The events, newest first.", example),
            **refusals(400, 401, 404, 422, 429, 503),
        },
    )(handler)
