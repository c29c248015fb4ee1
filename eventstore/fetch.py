"""How wide a range to ask for, and what a node's refusal means. Pure: nothing here does I/O.

Law: a refusal always leads to a smaller question, to patience, or to an error with a name; never
to the same question again at once.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Literal, cast

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from eventstore.errors import (
    BlockUnknown,
    RangeTooLarge,
    SourceError,
    SourceUnavailable,
    Throttled,
)
from eventstore.records import BlockRange

Meaning = Literal["throttled", "block_unknown", "refused", "results", "range", "unavailable"]

_SUGGESTIONS = (
    re.compile(r"\[\s*(0x[0-9a-f]+|\d+)\s*,\s*(0x[0-9a-f]+|\d+)\s*\]", re.IGNORECASE),
    re.compile(r"\brange (0x[0-9a-f]+|\d+)-(0x[0-9a-f]+|\d+)", re.IGNORECASE),
)
_PATIENCE = re.compile(
    r"(?:retry|try again|wait)\D{0,20}(\d+(?:\.\d+)?) ?(ms|m)?"
    r"|backoff_seconds\W+(\d+(?:\.\d+)?)",
    re.IGNORECASE,
)
_LONGEST_QUOTE = 300
_LONGEST_TEXT = 4_000
"""Characters of a refusal that are looked at: nobody says more about a range."""
_LONGEST_NUMBER = 18
"""Digits of a number that may be a count of blocks."""


class _Refusal(Struct, frozen=True):
    means: Meaning
    text: list[str]


class _Phrasebook(Struct, frozen=True):
    """The contents of rpc_errors.toml."""

    refusal: list[_Refusal]
    code: dict[Meaning, list[int]]
    status: dict[Meaning, list[int]]


@cache
def _phrasebook() -> tuple[
    list[tuple[re.Pattern[str], Meaning]], Mapping[int, Meaning], Mapping[int, Meaning]
]:
    text = (files("eventstore") / "rpc_errors.toml").read_text(encoding="utf-8")
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
    range limit. What nobody has met yet is `SourceUnavailable`, which may be tried again.
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


class Window(Struct, frozen=True):
    """How many blocks to ask for next, learned from what an endpoint answered and refused.

    It doubles until the first refusal, then halves at each and grows by an eighth of where that
    left it. A cap in blocks is remembered for good; a cap in results only shrinks, and regrows.
    Several ranges may be in flight: what comes back is judged by the width that was asked.
    """

    size: int = 2_000
    most: int = 1_000_000
    enough: int = 20_000
    """Logs in one answer that are plenty: the window does not grow past this density."""
    cap: int | None = None
    """The most blocks the endpoint takes, as it said (or one less, where that was refused too)."""
    threshold: int | None = None
    """Below this width growth doubles, above it is additive; None before the first refusal."""
    failing: bool = False
    """The last attempt failed without a word about ranges."""

    def take(self, first: int, last: int) -> BlockRange:
        """The next range to ask for: from `first`, not past `last`, not wider than the window."""
        return BlockRange(first, min(last, first + self.size - 1))

    def answered(self, asked: BlockRange, *, logs: int) -> Window:
        """The window after `asked` was answered with so many logs. Narrow answers prove nothing."""
        if logs > 2 * self.enough and len(asked) > 1:
            return self._shrunk(max(1, len(asked) // 2))
        if len(asked) < self.size or logs >= self.enough:
            return replace(self, failing=False)
        threshold = self._most if self.threshold is None else self.threshold
        doubled, added = min(self.size * 2, threshold), self.size + max(1, threshold // 8)
        size = doubled if self.size < threshold else added
        return replace(self, size=min(size, self._most), failing=False)

    def refused(self, asked: BlockRange, error: SourceError) -> Window:
        """The window after `asked` ended in `error`; unchanged where its width is not to blame.

        A suggestion is taken only if it is ordered and narrower than what was asked. A failure
        without words (a timeout, 503) may be one of width and halves too. Raises `SourceError`,
        which is final, where a single block was too large.
        """
        width = len(asked)
        match error:
            case RangeTooLarge():
                if width == 1:
                    raise SourceError(
                        f"The node refuses even the single block {asked.first}. {error.message}",
                        hint="Read this block by its hash or its receipts, narrow the topics, or"
                        " use another endpoint.",
                    ) from error
                if error.limit is not None and 0 < error.limit <= width:
                    return self._capped(error.limit - (error.limit == width))
                return self._shrunk(_offered(error.suggestion, width) or width // 2)
            case SourceUnavailable():
                threshold = self.threshold if self.failing else max(1, width // 2)
                size = min(self.size, max(1, width // 2))
                return replace(self, size=size, threshold=threshold, failing=True)
            case _:
                return self

    @property
    def _most(self) -> int:
        return self.most if self.cap is None else min(self.most, self.cap)

    def _capped(self, limit: int) -> Window:
        cap = min(limit, self._most)
        return replace(self, cap=cap, size=min(self.size, cap), failing=False)

    def _shrunk(self, width: int) -> Window:
        size = min(self.size, width)
        return replace(self, size=size, threshold=size, failing=False)


def _offered(suggestion: tuple[int, int] | None, width: int) -> int | None:
    """How many blocks `suggestion` spans; None where it is inverted or not narrower."""
    if suggestion is None:
        return None
    offered = suggestion[1] - suggestion[0] + 1
    return offered if 0 < offered < width else None


def _meaning(code: int | None, said: str, http_status: int | None) -> tuple[Meaning, int | None]:
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
