"""The reorgs of a chain over HTTP: which blocks left it, and how many logs with them."""

# No postponed annotations here: those of the handlers name what is only known where they are made.

from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import PathParameter, QueryParameter
from msgspec import Struct

from eventstore.journal.reorgs import Reorg, reorgs_before
from projections.service.http.base import parameters
from projections.service.http.base.context import Desk
from projections.service.http.base.problems import JSON, refusals
from projections.service.http.base.schema import typed
from projections.service.http.routes.events import chain_of
from projections.service.status.declared import Declared


class ReorgsPosition(Struct, frozen=True, array_like=True):
    """The entry of the reorg that a page ended with, and the chain it was of."""

    list: Literal["reorgs"]
    chain: str
    entry: int


class ReorgRow(Struct, frozen=True):
    """A reorg: the blocks that left the chain, how many logs they held, and by event how many.

    `recorded_at` is in seconds since 1970. A log that no declared event fits counts under its topic0.
    """

    entry: int
    recorded_at: float
    first_block: int
    last_block: int
    blocks: int
    logs: int
    events: dict[str, int]


class Reorgs(Struct, frozen=True):
    """Reorgs, newest first, and the cursor of the next page."""

    reorgs: list[ReorgRow]
    next: str | None


def endpoints(desk: Desk) -> list[HTTPRouteHandler]:
    return [_reorgs(desk)]


def reorg_row(row: Reorg, declared: Declared) -> ReorgRow:
    """A reorg as it is shown."""
    events: dict[str, int] = {}
    for kind, count in row.kinds.items():
        name = declared.name(kind) or ("0x" + kind.topic0.hex() if kind.topic0 else "(no topics)")
        events[name] = events.get(name, 0) + count
    return ReorgRow(
        row.entry,
        row.recorded_at / 1e6,
        row.first_block,
        row.last_block,
        row.last_block - row.first_block + 1,
        row.logs,
        events,
    )


def _reorgs(desk: Desk) -> HTTPRouteHandler:
    most = desk.settings.max_page
    chains = list(desk.plan.config.chains)
    example = ReorgRow(41, 1_700_000_000.5, 118, 120, 3, 4, {"ReferralRegistered": 4})

    @get(
        "/v1/chains/{chain:str}/reorgs",
        sync_to_thread=True,
        operation_id="reorgs",
        summary="The reorgs of a chain",
        tags=["history"],
        responses={
            200: typed(Reorgs, "The reorgs, newest first.", Reorgs([example], None)),
            **refusals(400, 401, 404, 409, 422, 429, 503),
        },
    )
    def reorgs(
        *,
        chain: Annotated[
            str,
            PathParameter(
                description="Its name in the configuration.",
                schema_extra={"enum": chains},
            ),
        ],
        limit: Annotated[int, QueryParameter(ge=1, le=most)] = min(50, most),
        cursor: Annotated[
            str | None,
            QueryParameter(
                max_length=parameters.LONGEST_CURSOR,
                schema_extra=parameters.CURSOR,
                description="`next` of the page before.",
            ),
        ] = None,
    ) -> Response[Any]:
        """Reorgs, newest first: which blocks left the chain, and how many logs with them. The logs themselves
        are at `/v1/events?orphaned_by=`."""
        chain_of(desk, chain, None, missing=404)
        before = None if cursor is None else _before(cursor, chain)
        declared = Declared(desk.plan.config, chain)
        with desk.store.read() as tx:
            found = reorgs_before(tx, desk.plan.config.chains[chain].chain_id, before, limit=limit + 1)
        kept = [reorg_row(row, declared) for row in found[:limit]]
        following = (
            parameters.sealed(ReorgsPosition("reorgs", chain, kept[-1].entry)) if len(found) > limit else None
        )
        return Response(msgspec.json.encode(Reorgs(kept, following)), media_type=JSON)

    return reorgs


def _before(cursor: str, chain: str) -> int:
    """Where a page of this chain's reorgs ended."""
    before = parameters.opened(cursor, ReorgsPosition)
    parameters.placed(cursor, before.entry)
    if before.chain != chain:
        raise parameters.elsewhere(f"the reorgs of {chain}")
    return before.entry
