"""What a node's refusal means, by its code and text and the phrasebook `rpc_errors.toml`. Pure: no I/O."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Literal, cast

import msgspec
from msgspec import Struct

from eventstore.errors import (
    BlockUnknown,
    RangeTooLarge,
    SourceError,
    SourceUnavailable,
    Throttled,
)

RefusalMeaning = Literal["throttled", "block_unknown", "refused", "results", "range", "unavailable"]

_SUGGESTIONS = (
    re.compile(r"\[\s*(0x[0-9a-f]+|\d+)\s*,\s*(0x[0-9a-f]+|\d+)\s*\]", re.IGNORECASE),
    re.compile(r"\brange (0x[0-9a-f]+|\d+)-(0x[0-9a-f]+|\d+)", re.IGNORECASE),
)
_PATIENCE = re.compile(
    r"(?:retry|try again|wait)\D{0,20}(\d+(?:\.\d+)?) ?(ms|m)?"
    r"|backoff_seconds\W+(\d+(?:\.\d+)?)",
    re.IGNORECASE,
)
_NO_SUCH_METHOD = (-32601, -32004)
_NOT_A_METHOD = re.compile(
    r"\bmethod\b.{0,60}\b(?:not (?:found|supported|available|allowed|exist)|unavailable|unsupported|disabled)"
    r"|\bunsupported method\b",
    re.IGNORECASE,
)
_NO_SUCH_TAG = (-32601, -32602)
_NOT_A_TAG = re.compile(
    r"invalid|unsupported|not supported|unrecogni[sz]ed|unknown (?:block )?(?:tag|parameter)|cannot unmarshal"
    r"|pars(?:e|ing)|syntax|hex string",
    re.IGNORECASE,
)
_LONGEST_QUOTE = 300
_LONGEST_TEXT = 4_000
"""Characters of a refusal that are looked at: no node says more about a range."""
_LONGEST_NUMBER = 18
"""Digits of a number that may be a count of blocks."""


class _Refusal(Struct, frozen=True):
    means: RefusalMeaning
    text: list[str]


class _Phrasebook(Struct, frozen=True):
    """The contents of rpc_errors.toml."""

    refusal: list[_Refusal]
    code: dict[RefusalMeaning, list[int]]
    status: dict[RefusalMeaning, list[int]]


@cache
def _phrasebook() -> tuple[
    list[tuple[re.Pattern[str], RefusalMeaning]], Mapping[int, RefusalMeaning], Mapping[int, RefusalMeaning]
]:
    text = (files("eventstore.sources.rpc") / "rpc_errors.toml").read_text(encoding="utf-8")
    book = msgspec.convert(tomllib.loads(text), _Phrasebook)
    patterns = [
        (re.compile(pattern, re.IGNORECASE | re.DOTALL), refusal.means)
        for refusal in book.refusal
        for pattern in refusal.text
    ]
    codes = {code: means for means, all_codes in book.code.items() for code in all_codes}
    statuses = {status: means for means, every in book.status.items() for status in every}
    return patterns, codes, statuses


def classify(
    code: int | None,
    message: str,
    *,
    data: object = None,
    http_status: int | None = None,
    retry_after: float | None = None,
) -> SourceError:
    """The error of our tree that a failed request amounts to, to be raised by the caller.

    `code`, `message` and `data` are the JSON-RPC error's; `http_status` and `retry_after` (seconds)
    the response's. Texts count more than codes: -32005 is one node's rate limit and another's
    range limit. An unknown refusal is `SourceUnavailable`, which may be tried again.
    """
    said = (message if data is None else f"{message} {_plain(data)}")[:_LONGEST_TEXT]
    means, limit = _meaning(code, said, http_status)
    quote = _quoted(code, said, http_status)
    match means:
        case "throttled":
            after = retry_after if retry_after is not None else _patience(said)
            return Throttled(
                f"The node asks for patience: {quote}.",
                hint="Lower max_requests_per_second, or use a larger plan.",
                after=after,
            )
        case "block_unknown":
            return BlockUnknown(
                f"The node does not have this block: {quote}.",
                hint="It lags, has pruned it, or the block was orphaned.",
            )
        case "range" | "results":
            return RangeTooLarge(
                f"The node wants a smaller range: {quote}.",
                limit=limit,
                suggestion=_suggestion(said, data),
            )
        case "refused":
            return SourceError(
                f"The node refuses the request: {quote}.",
                hint="Asking again will not help: check the endpoint, its key and its plan.",
            )
        case "unavailable":
            return SourceUnavailable(f"The node failed: {quote}.", hint="It is asked again.")


def is_no_such_method(code: int | None, message: str) -> bool:
    """Does this refusal say that the node lacks the method? Codes differ between nodes, and so do texts."""
    return code in _NO_SUCH_METHOD or bool(_NOT_A_METHOD.search(message))


def is_no_such_tag(code: int | None, error: SourceError) -> bool:
    """Does this refusal of a question for the block of a tag say that the node lacks the tag?

    A node that has no such block yet says so in other words (execution-apis#879).
    """
    if isinstance(error, BlockUnknown | Throttled):
        return False
    return code in _NO_SUCH_TAG or bool(_NOT_A_TAG.search(error.message))


def _meaning(code: int | None, said: str, http_status: int | None) -> tuple[RefusalMeaning, int | None]:
    patterns, codes, statuses = _phrasebook()
    for pattern, means in patterns:
        if found := pattern.search(said):
            return means, _number(found.groupdict().get("limit"))
    if code is not None and code in codes:
        return codes[code], None
    if http_status is not None and http_status in statuses:
        return statuses[http_status], None
    return "unavailable", None


def _number(text: str | None) -> int | None:
    """The number that a node wrote as 2048, 10,000, 10.000 or 10k."""
    if text is None:
        return None
    digits = re.sub(r"\D", "", text)
    if not digits or len(digits) > _LONGEST_NUMBER:
        return None
    return int(digits) * (1_000 if text.lower().endswith("k") else 1)


def _suggestion(said: str, data: object) -> tuple[int, int] | None:
    for pattern in _SUGGESTIONS:
        found = pattern.search(said)
        if found and max(len(found[1]), len(found[2])) <= _LONGEST_NUMBER:
            return _block(found[1]), _block(found[2])
    if isinstance(data, dict):
        offered = cast("dict[str, object]", data)
        try:
            first, last = str(offered["from"])[:_LONGEST_TEXT], str(offered["to"])[:_LONGEST_TEXT]
            return _block(first), _block(last)
        except (KeyError, ValueError):
            return None
    return None


def _block(text: str) -> int:
    return int(text, 16 if text[:2].lower() == "0x" else 10)


def _patience(said: str) -> float | None:
    """Seconds that the node asks to wait, where its text says so."""
    found = _PATIENCE.search(said)
    if found is None:
        return None
    seconds = float(found[1] or found[3])
    return seconds * {"ms": 0.001, "m": 60.0}.get((found[2] or "").lower(), 1.0)


def _plain(data: object) -> str:
    if isinstance(data, str):
        return data
    try:
        return msgspec.json.encode(data).decode()
    except (OverflowError, RecursionError, ValueError):  # a number beyond 64 bits, or nested too deeply
        return "(data that cannot be shown)"


def _quoted(code: int | None, said: str, http_status: int | None) -> str:
    text = " ".join(said.split()).rstrip(".") or "no reason given"
    if len(text) > _LONGEST_QUOTE:
        text = text[:_LONGEST_QUOTE] + "..."
    numbers = [f"code {code}"] if code is not None else []
    numbers += [f"HTTP {http_status}"] if http_status not in (None, 200) else []
    return f'"{text}"' + (f" ({', '.join(numbers)})" if numbers else "")
