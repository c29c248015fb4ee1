"""The application: every endpoint at its path, errors in one shape, and its description."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from projections.service.http.base import page
from projections.service.http.base.access import OPEN, Gate
from projections.service.http.base.context import Desk
from projections.service.http.base.parameters import known_parameters
from projections.service.http.base.problems import HANDLERS
from projections.service.http.routes import (
    documents,
    events,
    history,
    lists,
    reorgs,
    retry,
    status,
    stream,
    totals,
)

EXPOSED = ["ETag", "X-Chainfold-Block", "X-Chainfold-Revision", "Retry-After"]


def application(desk: Desk) -> Any:
    """The ASGI application over what is on the desk; other roles have no documents."""
    handlers: list[Any] = [page.endpoint(), *status.endpoints(desk)]
    if desk.serves_documents:
        handlers.append(status.catalogue(desk))
        for part in (documents, lists, history, totals, events, reorgs):
            handlers += part.endpoints(desk)
        handlers += [stream.endpoint(desk), retry.endpoint(desk)]
    settings = desk.settings
    if settings.tokens:
        for handler in handlers:
            if not handler.paths & OPEN:
                handler.security = [{"token": []}]
    app = Litestar(
        handlers,
        exception_handlers=HANDLERS,
        cors_config=CORSConfig(
            allow_origins=list(settings.cors), allow_methods=["GET"], expose_headers=EXPOSED
        )
        if settings.cors
        else None,
        before_request=known_parameters,
        request_max_body_size=settings.max_body,
        openapi_config=OpenAPIConfig(
            title="chainfold",
            version=version("chainfold"),
            description="Documents folded from the logs of smart contracts. Every answer that is not "
            "answer is {error, hint, retry}.",
            path="/schema",
            render_plugins=[JsonRenderPlugin()],
            components=Components(
                security_schemes={"token": SecurityScheme(type="http", scheme="bearer")}
                if settings.tokens
                else {}
            ),
        ),
        logging_config=None,
        debug=False,
    )
    return Gate(app, settings, desk.meters)
