"""The stream: server-sent events of every change, resumed from the last id."""

# No postponed annotations here: those of the handlers are made where their limits are known.

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter
from litestar.response import ServerSentEvent, ServerSentEventMessage

from eventstore.errors import ChainfoldError
from projections.service.http.base import parameters
from projections.service.http.base.context import Desk
from projections.service.http.base.problems import RequestRefused, refusals
from projections.service.http.routes.feed import News, StreamEvent, StreamPosition

LOOKS = 0.1
"""Seconds between two looks at the pulse."""

HEARTBEAT = 15.0
"""Seconds of silence after which a comment says that the stream is alive."""

LONGEST = 20_000
"""Characters of an id: it names every projection and chain."""


def endpoint(desk: Desk) -> HTTPRouteHandler:
    """One stream over all projections, or over those that are named."""
    open_streams = 0

    async def followed(news: News, position: StreamPosition, first: StreamEvent) -> AsyncIterator[Any]:
        nonlocal open_streams
        open_streams += 1
        desk.meters.streams.inc()
        try:
            yield _message(first)
            async for message in _following(desk, news, position):
                yield message
        finally:
            open_streams -= 1
            desk.meters.streams.dec()

    @get(
        "/v1/stream",
        operation_id="stream",
        summary="What changes, as it does",
        tags=["stream"],
        media_type="text/event-stream",
        responses={
            200: ResponseSpec(
                str,
                media_type="text/event-stream",
                generate_examples=False,
                description="Events `ready`, `document`, `reorg`, `position`, and `reset` where an id is of "
                "another state of the store: then read again what you show.",
            ),
            **refusals(400, 401, 422, 429, 503),
        },
    )
    async def stream(
        request: Request[Any, Any, Any],
        projection: Annotated[
            list[str] | None, QueryParameter(description="Only of these; may be given several times.")
        ] = None,
        after: Annotated[
            str | None,
            QueryParameter(
                max_length=LONGEST, description="An event's id; the header Last-Event-ID goes first."
            ),
        ] = None,
        revision: Annotated[
            int | None,
            QueryParameter(
                ge=0,
                schema_extra=parameters.FROM_ZERO,
                le=parameters.HIGHEST,
                description="Of one projection: what came after it.",
            ),
        ] = None,
    ) -> Response[Any]:
        """Documents that change, as they are then (null: removed), and reorgs, until either side hangs up.
        With the id of the last event that arrived nothing is lost and nothing comes twice."""
        names = _names(desk, projection)
        news = News(desk, names)
        beat = desk.pulse.beat
        if beat.error is not None:
            raise beat.error
        if open_streams >= desk.settings.max_streams:
            raise RequestRefused(
                503, f"{open_streams:,} streams are open, as many as may be.", again=True, after=5
            )
        position, first = news.now(beat), "ready"
        resumed = request.headers.get("last-event-id") or after
        if resumed is not None:
            if len(resumed) > LONGEST:
                raise RequestRefused(400, f"after: an id has at most {LONGEST:,} characters.")
            said = parameters.opened(resumed, StreamPosition, "after")
            if not said.possible:
                raise parameters.made_up(resumed, "after")
            # the last event may be newer than the last look: it may come from another process
            beat = await asyncio.get_running_loop().run_in_executor(None, desk.pulse.look)
            if beat.error is not None:
                raise beat.error
            if news.of_this_state(said, beat):
                position = news.joined(said, beat)
            else:
                first = "reset"
        elif revision is not None:
            if len(names) != 1:
                raise RequestRefused(
                    422, "revision: it is one projection's.", hint="Name one with ?projection=."
                )
            position = StreamPosition(position.store, {names[0]: (revision + 1, None)}, position.chains)
        return ServerSentEvent(
            followed(news, position, news.ready(position, first, beat)),  # type: ignore[arg-type]
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    return stream


async def _following(desk: Desk, news: News, position: StreamPosition) -> AsyncIterator[Any]:
    """Everything after `position`, as it comes, until the server stops or the store goes away."""
    loop = asyncio.get_running_loop()
    blocks = _blocks(desk)
    quiet = loop.time()
    while not desk.pulse.stopped:
        seen = desk.pulse.beat
        if seen.error is not None:
            return  # a client that reconnects gets the reason, and resumes at its last id
        try:
            told, behind = await loop.run_in_executor(None, _read, desk, news, position)
        except ChainfoldError:
            return
        for item in told:
            yield _message(item)
        position = behind
        if not told and _blocks(desk) != blocks:
            yield _message(news.ready(position, "position", seen))
        elif not told:
            if loop.time() - quiet > HEARTBEAT:
                yield ServerSentEventMessage(comment="alive")
                quiet = loop.time()
            while desk.pulse.beat == seen and not desk.pulse.stopped and loop.time() - quiet <= HEARTBEAT:
                await asyncio.sleep(LOOKS)
            continue
        quiet, blocks = loop.time(), _blocks(desk)


def _read(desk: Desk, news: News, position: StreamPosition) -> tuple[list[StreamEvent], StreamPosition]:
    """What is new; of many streams that stand at one place, one reads."""
    name = ("news", position.sealed())
    found: tuple[list[StreamEvent], StreamPosition] = desk.flights.share(name, lambda: news.after(position))
    return found


def _blocks(desk: Desk) -> dict[str, int]:
    return {name: served.block for name, served in desk.pulse.beat.served.items()}


def _message(told: StreamEvent) -> ServerSentEventMessage:
    return ServerSentEventMessage(data=told.data.decode(), event=told.event, id=told.position.sealed())


def _names(desk: Desk, wanted: list[str] | None) -> tuple[str, ...]:
    """The projections of a stream, in the order of the configuration."""
    for name in wanted or ():
        if name not in desk.shelves:
            known = ", ".join(desk.shelves)
            raise RequestRefused(400, f"There is no projection {name[:80]}.", hint=f"Known are: {known}.")
    return tuple(name for name in desk.shelves if wanted is None or name in wanted)
