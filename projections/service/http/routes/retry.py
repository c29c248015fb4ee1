"""The only endpoint that changes anything: retry what failed. It needs a token."""

# No postponed annotations here: Litestar reads those of the handler.

import time
from typing import Any, Literal

import msgspec
from litestar import Response, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody
from msgspec import Struct

from projections.fold.generation import lease_of
from projections.publish.set_aside import sinks_with
from projections.service.http.base.access import NO_TOKENS
from projections.service.http.base.context import Desk
from projections.service.http.base.problems import JSON, RequestRefused, refusals
from projections.service.http.base.schema import typed
from projections.service.records.requests import Requests, Retry, RetryDocuments
from projections.service.records.results import decoded, sentence

PATIENCE = 3.0
"""Seconds to wait for the process that does the work."""

LOOKS = 0.05


class RetryRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The chain whose gaps are asked for again, or the projection that folds again what it passed over."""

    chain: str | None = None
    projection: str | None = None


class RetryAnswer(Struct, frozen=True):
    """What came of it: `pending` is done by the next process that takes up this work."""

    state: Literal["pending", "done", "failed"]
    detail: str


def endpoint(desk: Desk) -> HTTPRouteHandler:
    @post(
        "/v1/retry",
        status_code=200,
        sync_to_thread=True,
        operation_id="retry",
        summary="Try again what did not work out",
        tags=["service"],
        responses={
            200: typed(RetryAnswer, "What came of it.", RetryAnswer("done", "2 ranges are asked for again")),
            **refusals(400, 401, 403, 404, 408, 413, 429, 503),
        },
    )
    def retry(data: JSONBody[RetryRequest]) -> Response[Any]:
        """As `chainfold failures retry`: gaps of a chain are asked for again, or a projection folds again
        what it passed over and sends again what its sinks did not take. Only where `[http]` has tokens."""
        if not desk.settings.tokens:  # the gate refuses it unread; this holds also without the gate
            raise RequestRefused(403, NO_TOKENS.error, hint=NO_TOKENS.hint)
        requests = Requests(desk.plan.store)
        number = requests.submit(_lease(desk, data), Retry())
        if data.projection is not None:
            _send_again(desk, requests, data.projection)
        end = time.monotonic() + PATIENCE
        while (request := requests.get(number)).state == "pending" and time.monotonic() < end:
            time.sleep(LOOKS)
        detail = sentence(decoded(request.detail)) if request.state == "done" else request.detail
        if request.state == "pending":
            detail = "no process does this work now: the next one that does begins with it"
        answer = {"state": request.state, "detail": detail}
        return Response(msgspec.json.encode(answer), media_type=JSON)

    return retry


def _send_again(desk: Desk, requests: Requests, projection: str) -> None:
    """Asks the publishing process to send again the documents that the sinks of a projection refused."""
    with desk.plan.store.read() as tx:
        sinks = sinks_with(tx, projection)
    for sink in set(sinks) & set(desk.plan.sink_kinds(projection)):
        requests.submit(f"publish:{projection}.{sink}", RetryDocuments())


def _lease(desk: Desk, data: RetryRequest) -> str:
    """Whose work it is."""
    chains, projections = desk.plan.config.chains, desk.plan.projections
    if (data.chain is None) == (data.projection is None):
        raise RequestRefused(400, "Name either a chain or a projection.")
    if data.chain is not None:
        if data.chain not in chains:
            raise RequestRefused(
                404, f"There is no chain {data.chain[:80]}.", hint=f"Known are: {', '.join(chains)}."
            )
        return f"ingest:{chains[data.chain].chain_id}"
    assert data.projection is not None
    if data.projection not in projections:
        raise RequestRefused(
            404,
            f"There is no projection {data.projection[:80]}.",
            hint=f"Known are: {', '.join(projections)}.",
        )
    own = projections[data.projection]
    return lease_of(own.name, own.fingerprint)
