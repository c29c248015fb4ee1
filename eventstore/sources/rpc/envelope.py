"""The envelope of JSON-RPC: the request object of a call, and the replies in a response body."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec
from msgspec import Raw, Struct

from eventstore.errors import AnswerRefused

_CODE = re.compile(r"-?[0-9]{1,10}")


class Failure(Struct, frozen=True):
    """The error object of one reply, its fields as loose as nodes write them."""

    code: int | None
    message: str
    data: object


class _Reply(Struct, gc=False):
    id: int | str | None = None
    result: Raw = Raw()  # empty where absent; msgspec knows no union with Raw
    error: Raw = Raw()


_one = msgspec.json.Decoder(_Reply)
_several = msgspec.json.Decoder(list[_Reply])
_anything = msgspec.json.Decoder()


def request(number: int, method: str, params: Iterable[object]) -> dict[str, object]:
    """The request object of one call."""
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": list(params)}


def replies(body: bytes) -> dict[str, Raw | Failure] | Raw | Failure:
    """What a response body holds: one result or failure, or those of a batch by their id.

    Raises `msgspec.DecodeError` where the body is not JSON-RPC (an error page, cut short, nested too
    deeply), and `AnswerRefused` where a batch answers one id twice.
    """
    try:
        return _replies(body)
    except RecursionError as error:
        raise msgspec.DecodeError("the answer is nested too deeply") from error


def _replies(body: bytes) -> dict[str, Raw | Failure] | Raw | Failure:
    if body.lstrip()[:1] != b"[":
        return _outcome(_one.decode(body))
    found: dict[str, Raw | Failure] = {}
    for reply in _several.decode(body):
        key = str(reply.id)
        if key in found:
            raise AnswerRefused(f"The node answered request {key} of a batch twice.")
        found[key] = _outcome(reply)
    return found


def _outcome(reply: _Reply) -> Raw | Failure:
    if bytes(reply.error) not in (b"", b"null"):
        return _failure(_anything.decode(reply.error))
    if not bytes(memoryview(reply.result)[:1]):
        raise AnswerRefused("The node's reply holds neither a result nor an error.")
    return reply.result


def _failure(error: object) -> Failure:
    if not isinstance(error, dict):
        return Failure(None, str(error), None)
    code, message = error.get("code"), error.get("message")
    if isinstance(code, str) and _CODE.fullmatch(code):
        code = int(code)
    return Failure(code if isinstance(code, int) else None, str(message or ""), error.get("data"))
