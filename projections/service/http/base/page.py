"""The page at `/`: its files as they lie in page/, and the headers that keep it to itself.

Law: no file holds data, so that the page may be opened by anybody; what it shows it asks the API for.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

FOLDER = Path(__file__).parent.parent / "page"

KINDS = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; object-src 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
"""Nothing from other hosts, nothing inline, no frames; browsers revalidate by the tag."""


class PageFile(Struct, frozen=True):
    """A file of the page: its bytes, their type, and the tag that changes with them."""

    body: bytes
    kind: str
    tag: str


def _read(path: Path) -> PageFile:
    body = path.read_bytes()
    return PageFile(body, KINDS[path.suffix], f'"{hashlib.sha256(body).hexdigest()[:16]}"')


FILES = {
    "/" if path.name == "index.html" else f"/page/{path.name}": _read(path)
    for path in sorted(FOLDER.iterdir())
    if path.suffix in KINDS
}
"""By the path that they are served at."""


def endpoint() -> HTTPRouteHandler:
    """The page, in every role."""

    @get(list(FILES), sync_to_thread=False, include_in_schema=False)
    def page(request: Request[Any, Any, Any]) -> Response[bytes]:
        """One file of the page."""
        file = FILES[request.url.path]
        headers = HEADERS | {"ETag": file.tag}
        known = request.headers.get("if-none-match", "")
        if file.tag in {part.strip().removeprefix("W/") for part in known.split(",")}:
            return Response(b"", status_code=304, headers=headers, media_type=file.kind)
        return Response(file.body, headers=headers, media_type=file.kind)

    return page
