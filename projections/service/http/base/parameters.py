"""Parameters of requests: keys, addresses, blocks and cursors, checked before anything is read."""

from __future__ import annotations

import base64
import re
from typing import Any, TypeVar
from urllib.parse import quote, unquote, unquote_to_bytes

import msgspec
from litestar import Request

from eventstore.net.nesting import too_deep
from projections.errors import ConfigurationError
from projections.fold.fold import Projection
from projections.service.config.values import parse_address
from projections.service.http.base.problems import RequestRefused
from projections.values.fields import is_text
from projections.values.integers import from_decimal

Cursor = TypeVar("Cursor")

ADDRESS = "^0[xX]([0-9a-f]{40}|[0-9A-F]{40})$"
"""How the description shows an address; in mixed case it is taken where that is its checksum."""

HASH = "^0[xX][0-9a-fA-F]{64}$"

FROM_ZERO = {"minimum": 0}
"""What Litestar leaves out of the description of a number that is at least 0."""

LONGEST = 4_000
"""Bytes of a key or of a value."""

LONGEST_CURSOR = 24_000
"""Characters of a cursor: it carries a key and the value of a field."""

HIGHEST = 2**63 - 1


def known_parameters(request: Request[Any, Any, Any]) -> None:
    """Refuses a parameter that the endpoint does not have: one that is passed over is answered wrongly."""
    known = [name for name in request.route_handler.parsed_fn_signature.parameters if name != "request"]
    for name in request.query_params:
        if name not in known or name in request.path_params:
            allowed = ", ".join(item for item in known if item not in request.path_params)
            raise RequestRefused(
                400,
                f"{name[:80]} is not a parameter of this endpoint.",
                hint=f"Known are: {allowed or 'none'}.",
            )


def path(raw: bytes) -> str:
    """A path whose segments stay percent-encoded, each character in one way: a slash that is part of a key
    parts nothing."""
    return "/".join(quote(unquote_to_bytes(part), safe="") for part in raw.decode("latin-1").split("/"))


def segment(text: str) -> str:
    """The text of a path segment. Bytes that are not UTF-8 become lone surrogates, refused later."""
    return unquote(text, errors="surrogateescape")


def key(projection: Projection, text: str) -> str:
    """The key of a document as the fold has it."""
    projector = projection.projector
    return value(projection, projector.key, text)


def value(projection: Projection, field: str, text: str) -> str:
    """A field's value: an address in lower case where the field holds addresses, else the text."""
    if len(text) > LONGEST or not is_text(text):
        raise RequestRefused(
            400,
            f"{field} is longer than {LONGEST:,} characters, or holds NUL or lone surrogates.",
        )
    if field in projection.projector.addresses:
        return "0x" + account(field, text).hex()
    return text


def wide(name: str, text: str) -> str:
    """An integer of up to 256 bits, as documents carry it."""
    if (number := from_decimal(text)) is None:
        raise RequestRefused(
            400, f"{name}: {text[:80]!r} is not an integer of up to 256 bits.", hint="Write its digits."
        )
    return str(number)


def account(name: str, text: str) -> bytes:
    """The 20 bytes of an address in any case; mixed case must be its checksum."""
    try:
        return parse_address(text, name)
    except ConfigurationError as error:
        raise RequestRefused(400, error.message, hint=error.hint) from None


def digest(name: str, text: str) -> bytes:
    """The 32 bytes of a hash."""
    if not re.fullmatch(r"0[xX][0-9a-fA-F]{64}", text):
        raise RequestRefused(400, f"{name}: {text[:80]!r} is not 0x and 64 hexadecimal digits.")
    return bytes.fromhex(text[2:])


def whole(name: str, number: int | None, *, least: int = 0, most: int = HIGHEST) -> None:
    """Refuses a number that lies outside."""
    if number is not None and not least <= number <= most:
        raise RequestRefused(400, f"{name}: {number} is not between {least:,} and {most:,}.")


CURSOR = {"pattern": "^[A-Za-z0-9_-]+$"}
"""How the description shows a cursor."""


def sealed(cursor: Any) -> str:
    """A cursor as clients carry it: they need not look into it."""
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")


def opened(text: str, kind: type[Cursor], name: str = "cursor") -> Cursor:
    """The cursor that `sealed` wrote; anything else is refused."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        if not too_deep(raw):
            return msgspec.json.decode(raw, type=kind)
    except (ValueError, msgspec.MsgspecError):
        pass
    raise made_up(text, name)


def made_up(text: str, name: str = "cursor") -> RequestRefused:
    """The refusal of a cursor that no answer gave."""
    return RequestRefused(
        400,
        f"{name}: {text[:80]!r} is not a cursor of this API.",
        hint="Send it as an answer gave it, or leave it out.",
    )


def elsewhere(of: str) -> RequestRefused:
    """The refusal of a cursor that another list gave."""
    return RequestRefused(
        422, f"cursor: it is of another list than {of}.", hint="Leave it out to begin this one."
    )


def placed(text: str, *numbers: int, name: str = "cursor") -> None:
    """Refuses a cursor with a number that no block, log, entry or revision has."""
    if not all(0 <= number <= HIGHEST for number in numbers):
        raise made_up(text, name)
