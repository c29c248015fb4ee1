"""The raw history over HTTP: each log, when it was learned, and which reorg removed it."""

# No postponed annotations here: those of the handlers name what is only known where they are made.

from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter
from msgspec import Struct

from eventstore.journal.history import Question, ask
from eventstore.journal.journal import Journal
from projections.service.http.base import parameters
from projections.service.http.base.context import Desk
from projections.service.http.base.problems import JSON, RequestRefused, refusals
from projections.service.http.base.schema import example_event, typed
from projections.service.status.audit import EventRow, event_row, narrowed
from projections.service.status.declared import Declared

EntryParameter = Annotated[
    int | None, QueryParameter(ge=0, schema_extra=parameters.FROM_ZERO, le=parameters.HIGHEST)
]


class EventsPosition(Struct, frozen=True, array_like=True):
    """The log that a page ended with, and the chain and the order it was of."""

    list: Literal["events"]
    chain: str
    order: Literal["asc", "desc"]
    block: int
    log_index: int
    entry: int


class Events(Struct, frozen=True):
    """Logs, and the cursor of the next page (None: this was the last)."""

    events: list[EventRow]
    next: str | None


def endpoints(desk: Desk) -> list[HTTPRouteHandler]:
    return [_events(desk)]


def _events(desk: Desk) -> HTTPRouteHandler:
    most = desk.settings.max_page
    chains, contracts = list(desk.plan.config.chains), list(desk.plan.config.contracts)
    names = sorted({event.name for name in chains for _, event in Declared(desk.plan.config, name).events()})
    example = Events([msgspec.convert(example_event(chains[0]), EventRow)], None)

    @get(
        "/v1/events",
        sync_to_thread=True,
        operation_id="events",
        summary="The raw history",
        tags=["history"],
        responses={
            200: typed(Events, "The logs, and where to go on.", example),
            **refusals(400, 401, 404, 409, 422, 429, 503),
        },
    )
    def events(
        *,
        chain: Annotated[
            str | None,
            QueryParameter(
                max_length=parameters.LONGEST,
                description="May be left out where there is one.",
                schema_extra={"enum": chains},
            ),
        ] = None,
        contract: Annotated[
            str | None,
            QueryParameter(
                max_length=parameters.LONGEST,
                description="A contract of the configuration.",
                schema_extra={"enum": contracts},
            ),
        ] = None,
        address: Annotated[
            str | None,
            QueryParameter(
                max_length=parameters.LONGEST,
                description="Of the contract at this address.",
                schema_extra={"pattern": parameters.ADDRESS},
            ),
        ] = None,
        event: Annotated[
            str | None,
            QueryParameter(
                max_length=parameters.LONGEST,
                description="A declared event's name.",
                schema_extra={"enum": names},
            ),
        ] = None,
        user: Annotated[
            str | None,
            QueryParameter(
                max_length=parameters.LONGEST,
                description="An address that a parameter names.",
                schema_extra={"pattern": parameters.ADDRESS},
            ),
        ] = None,
        tx: Annotated[
            str | None,
            QueryParameter(
                max_length=parameters.LONGEST,
                description="A transaction's hash.",
                schema_extra={"pattern": parameters.HASH},
            ),
        ] = None,
        from_block: EntryParameter = None,
        to_block: EntryParameter = None,
        status: Annotated[
            Literal["canonical", "orphaned", "all"],
            QueryParameter(description="Those on the chain, those that left it, or both."),
        ] = "canonical",
        orphaned_by: Annotated[
            int | None,
            QueryParameter(
                ge=0,
                schema_extra=parameters.FROM_ZERO,
                le=parameters.HIGHEST,
                description="Those that this entry orphaned.",
            ),
        ] = None,
        as_of: Annotated[
            int | None,
            QueryParameter(
                ge=0,
                schema_extra=parameters.FROM_ZERO,
                le=parameters.HIGHEST,
                description="As it was known at this entry.",
            ),
        ] = None,
        order: Annotated[Literal["asc", "desc"], QueryParameter(description="By block and index.")] = "asc",
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
        """Logs as they were learned, decoded where declared. Nothing is ever removed from the history."""
        name = chain_of(desk, chain, contract)
        if from_block is not None and to_block is not None and to_block < from_block:
            raise RequestRefused(422, f"from_block {from_block:,} is above to_block {to_block:,}.")
        after = None if cursor is None else _after(cursor, name, order)
        emitter = None if address is None else parameters.account("address", address)
        filters = narrowed(desk.plan.config, [name], contract=contract, address=emitter, event=event)[name]
        question = Question(
            first=from_block or 0,
            last=to_block,
            filters=filters,
            names=None if user is None else parameters.account("user", user),
            tx_hash=None if tx is None else parameters.digest("tx", tx),
            orphaned=True if orphaned_by is not None else {"canonical": False, "orphaned": True}.get(status),
            orphaned_by=orphaned_by,
            as_of=as_of,
            newest_first=order == "desc",
            after=None if after is None else (after.block, after.log_index, after.entry),
        )
        found = _found(desk, name, question, limit, event)
        kept = found[:limit]
        last = kept[-1] if len(found) > limit else None
        following = (
            None
            if last is None
            else parameters.sealed(
                EventsPosition("events", name, order, last.block, last.log_index, last.entry)
            )
        )
        return Response(msgspec.json.encode(Events(kept, following)), media_type=JSON)

    return events


def _after(cursor: str, chain: str, order: str) -> EventsPosition:
    """Where a page of this list ended."""
    after = parameters.opened(cursor, EventsPosition)
    parameters.placed(cursor, after.block, after.log_index, after.entry)
    if after.chain != chain:
        raise parameters.elsewhere(f"the events of {chain}")
    if after.order != order:
        raise RequestRefused(422, f"cursor: it is of a list in order {after.order}, not {order}.")
    return after


def _found(desk: Desk, chain: str, question: Question, limit: int, event: str | None) -> list[EventRow]:
    """One more than `limit`, so that it is known whether there is another page; of `event`, if named."""
    chain_id = desk.plan.config.chains[chain].chain_id
    declared = Declared(desk.plan.config, chain)
    found = []
    with desk.search(), desk.store.read() as tx:
        head = Journal(tx, chain_id).head()
        if question.as_of is not None and question.as_of > head:
            raise RequestRefused(409, f"as_of: the journal of {chain} ends at entry {head:,}.")
        for row in ask(tx, chain_id, question, page=limit + 1):
            if event is not None and not declared.is_of(row.log, event):
                continue
            found.append(event_row(chain, row, declared))
            if len(found) > limit:
                break
    return found


def chain_of(desk: Desk, named: str | None, contract: str | None, *, missing: int = 400) -> str:
    """The chain that is asked about."""
    known = desk.plan.config.chains
    if contract is not None:
        of = desk.plan.contract(contract).chain
        if named not in (None, of):
            raise RequestRefused(422, f"contract: {contract} is on the chain {of}, not on {named}.")
        return of
    if named is None and len(known) == 1:
        return next(iter(known))
    if named is None:
        raise RequestRefused(
            400, "chain: every chain has a history of its own.", hint=f"Name one of {', '.join(known)}."
        )
    if named not in known:
        raise RequestRefused(missing, f"There is no chain {named}.", hint=f"Known are: {', '.join(known)}.")
    return named
