"""The number of documents and the sums of their fields: one look for all callers, and again only when
the documents have moved."""

# No postponed annotations here: those of the handlers are made for each projection.

import time
from threading import Lock
from typing import Any

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from projections.fold.state import GenerationState
from projections.service.http.base.context import Desk, Shelf
from projections.service.http.base.problems import JSON, refusals
from projections.service.http.base.schema import typed
from projections.values.twin import Text

KEPT = 5.0
"""Seconds for which sums are given again, also where the documents have moved."""


class DocumentTotals(Struct, frozen=True):
    """The documents of `block` and their `digest`, and by field the sum over all of them: a
    number, or text where the field is an integer of 256 bits."""

    documents: int
    sums: dict[str, int | Text]
    block: int
    revision: int
    digest: str


class Sums:
    """The totals of one projection, as they were counted last."""

    def __init__(self, desk: Desk, shelf: Shelf) -> None:
        self._desk = desk
        self._shelf = shelf
        self._fields = desk.plan.counted(shelf.name)
        self._wide = desk.plan.wide(shelf.name)
        self._lock = Lock()
        self._kept: tuple[float, tuple[Any, ...], DocumentTotals] | None = None

    def get(self) -> DocumentTotals:
        with self._desk.store.read() as tx:
            served = self._desk.generation(tx, self._shelf)
        name = (served.id, served.revision, served.digest)
        with self._lock:
            kept = self._kept
            if kept is not None and (kept[1] == name or time.monotonic() - kept[0] < KEPT):
                found = kept[2]
                return msgspec.structs.replace(found, block=served.block) if kept[1] == name else found
            with self._desk.search():
                found = self._counted()
            self._kept = time.monotonic(), name, found
            return found

    def _counted(self) -> DocumentTotals:
        sums = dict.fromkeys(self._fields, 0)
        count = 0
        with self._desk.store.read() as tx:
            served = self._desk.generation(tx, self._shelf)
            for _, body in GenerationState(tx, served.id).scan():
                count += 1
                document = msgspec.json.decode(body)
                for field in sums:
                    sums[field] += int(document[field])
        said: dict[str, int | str] = {
            field: str(total) if field in self._wide else total for field, total in sums.items()
        }
        return DocumentTotals(count, said, served.block, served.revision, served.digest.hex())


def endpoints(desk: Desk) -> list[HTTPRouteHandler]:
    return [_stats(desk, shelf) for shelf in desk.shelves.values()]


def _stats(desk: Desk, shelf: Shelf) -> HTTPRouteHandler:
    sums = Sums(desk, shelf)

    def stats() -> Response[Any]:
        found = sums.get()
        headers = {"X-Chainfold-Block": str(found.block), "X-Chainfold-Revision": str(found.revision)}
        return Response(msgspec.json.encode(found), media_type=JSON, headers=headers)

    stats.__name__ = f"stats_{shelf.name}"
    stats.__doc__ = f"How many documents {shelf.name} holds, and the sums of their fields."
    wide = desk.plan.wide(shelf.name)
    said = {name: "4100" if name in wide else 4100 for name in desk.plan.counted(shelf.name)}
    example = DocumentTotals(4200, said, 120, 17, "5f" * 32)
    return get(
        f"/v1/{shelf.name}/stats",
        sync_to_thread=True,
        operation_id=f"stats_{shelf.name}",
        summary=f"The totals of {shelf.name}",
        tags=[shelf.name],
        responses={200: typed(DocumentTotals, "The totals.", example), **refusals(400, 401, 429, 503)},
    )(stats)
