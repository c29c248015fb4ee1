"""Error responses: one JSON shape, and the handlers that produce it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from msgspec import Struct

from eventstore.errors import ChainfoldError
from projections.errors import ConfigurationError
from projections.service.logging import logger

JSON = "application/json"


class Problem(Struct, frozen=True):
    """Why there is no answer: what is wrong, what to do, and whether asking again can help."""

    error: str
    hint: str = ""
    retry: bool = False


class RequestRefused(ChainfoldError):
    """A request that is not answered, with the status that says so; `after` is in seconds."""

    def __init__(
        self, status: int, message: str, *, hint: str = "", again: bool = False, after: float | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.again = again
        self.after = after


_SAID = {
    400: Problem("limit: 0 is not between 1 and 500.", "Ask for fewer."),
    401: Problem("This needs a token.", "Send Authorization: Bearer <token>."),
    403: Problem("This endpoint changes what is done, and this service has no tokens configured."),
    404: Problem("referrals has no document 0x00000000000000000000000000000000000000ff."),
    408: Problem("The body did not arrive within 10 s.", retry=True),
    409: Problem("referrals is at block 120, not yet at 500.", retry=True),
    413: Problem("A request may carry 65,536 bytes, of a length that it tells."),
    422: Problem("What referrals held at block 3 is not kept: before-images reach down to block 90."),
    429: Problem("Too many requests from one client: 50 a second are allowed.", retry=True),
    503: Problem("referrals has not been built yet.", "Run `chainfold sync`.", retry=True),
}


def refusals(*statuses: int) -> dict[int, ResponseSpec]:
    """The errors of an endpoint as its description shows them."""
    return {
        status: ResponseSpec(
            Problem,
            generate_examples=False,
            description=HTTPStatus(status).phrase,
            examples=[Example(value=msgspec.to_builtins(_SAID[status]))],
        )
        for status in statuses
    }


def response(status: int, problem: Problem, *, after: float | None = None) -> Response[Any]:
    """The answer that says it."""
    headers = {"Cache-Control": "no-store"}
    if after is not None:
        headers["Retry-After"] = str(max(1, round(after)))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(msgspec.json.encode(problem), status_code=status, media_type=JSON, headers=headers)


def _ours(_: Request[Any, Any, Any], error: ChainfoldError) -> Response[Any]:
    match error:
        case RequestRefused():
            return response(error.status, Problem(error.message, error.hint, error.again), after=error.after)
        case ConfigurationError():
            return response(400, Problem(error.message, error.hint))
        case _:
            problem = Problem(error.message, error.hint, error.retry)
            return response(503 if error.retry else 500, problem, after=1 if error.retry else None)


def _theirs(_: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    if isinstance(error, ValidationException):
        said = [
            f"{item.get('key', 'request')}: {item.get('message', 'invalid')}"
            for item in (error.extra if isinstance(error.extra, list) else [])
            if isinstance(item, dict)
        ]
        return response(400, Problem("; ".join(said) or error.detail))
    hints = {404: "The paths are in /schema/openapi.json.", 405: "This API is read only."}
    answer = response(error.status_code, Problem(error.detail, hints.get(error.status_code, "")))
    for name, value in (error.headers or {}).items():
        answer.headers[name] = value
    return answer


def _unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """A fault of ours: its words may hold anything, so the log has them and the answer has not."""
    logger().error("http", path=request.url.path, error=f"{type(error).__name__}: {error}")
    return response(500, Problem("The request failed for a reason that is a fault of chainfold."))


HANDLERS: dict[Any, Any] = {ChainfoldError: _ours, HTTPException: _theirs, Exception: _unexpected}
"""By the kind of error, for Litestar."""
