"""The examples of a page: an ```http block is a request, and the answer that it must get.

    POST /v1/retry
    Authorization: Bearer a-token-of-the-page      headers of the request, as many as there are
    {"chain": "local"}                             its body, where it has one
    200
    Retry-After: 1                                 headers that the answer must have
    {"state": "done", "detail": "..."}             its body; none: it may be anything

`...` stands for anything: in place of a value, for what is left of a list or of an object when it comes last,
and for any text within a string or a header. A body that is not JSON is compared line by line. Of a stream as
much is read as it takes to see the events that the block shows, in their order; others may come between.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx
from msgspec import Struct

BLOCK = re.compile(r"^```http\n(.*?)^```$", re.DOTALL | re.MULTILINE)
REQUEST = re.compile(r"(GET|POST|HEAD|OPTIONS|PUT|DELETE) (/\S*)")
HEADER = re.compile(r"([A-Za-z][\w-]*): (.*)")
ANY = "..."
PATIENCE = 30.0
"""Seconds in which a stream must have shown what a block shows."""

LEFT = "\0left"
"""What `...` is where it stands alone at the end of an object: the key of nothing."""


class Example(Struct, frozen=True):
    """One block; `line` is where it begins on the page."""

    line: int
    method: str
    path: str
    sent: dict[str, str]
    body: str
    status: int
    headers: dict[str, str]
    lines: list[str]

    @property
    def token(self) -> str | None:
        """The token that it sends, if any."""
        return self.sent.get("Authorization", "").removeprefix("Bearer ") or None


def examples(page: str) -> list[Example]:
    """The blocks of a page; a malformed one fails and names its line."""
    return [
        _example(found.group(1), page.count("\n", 0, found.start()) + 1) for found in BLOCK.finditer(page)
    ]


def _example(text: str, line: int) -> Example:
    first, *rest = text.strip("\n").splitlines()
    asked = REQUEST.fullmatch(first)
    assert asked, f"line {line}: {first!r} is not a request"
    sent, rest = _headers(rest)
    at = next((place for place, part in enumerate(rest) if re.fullmatch(r"\d{3}", part)), None)
    assert at is not None, f"line {line}: no line is a status"
    headers, lines = _headers(rest[at + 1 :])
    return Example(line, asked[1], asked[2], sent, "\n".join(rest[:at]), int(rest[at]), headers, lines)


def _headers(lines: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The headers at the beginning, and what follows; the fields of an event are not headers."""
    found: dict[str, str] = {}
    for place, part in enumerate(lines):
        header = HEADER.fullmatch(part)
        if header is None or header[1] in ("id", "event", "data", "retry"):
            return found, list(lines[place:])
        found[header[1]] = header[2]
    return found, []


def play(client: httpx.Client, example: Example) -> None:
    """Sends it, and fails with what was answered otherwise."""
    headers = dict(example.sent)
    if example.body:
        headers.setdefault("Content-Type", "application/json")
    asked = client.build_request(example.method, example.path, headers=headers, content=example.body or None)
    answer = client.send(asked, stream=True)
    try:
        where = f"line {example.line}: {example.method} {example.path}"
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            assert answer.status_code == example.status, where
            _same_stream(answer, example.lines, where)
            return
        answer.read()
        assert answer.status_code == example.status, f"{where}: {answer.text}"
        for name, value in example.headers.items():
            assert same(value, answer.headers.get(name)), f"{where}: {name} is {answer.headers.get(name)}"
        if example.lines:
            _same_body(answer.text, "\n".join(example.lines), where)
    finally:
        answer.close()


def _same_body(answered: str, wanted: str, where: str) -> None:
    try:
        expected = parsed(wanted)
    except ValueError:
        for line in wanted.splitlines():
            assert any(same(line, found) for found in answered.splitlines()), f"{where}: no line is {line!r}"
        return
    found = json.loads(answered)
    assert same(expected, found), f"{where}:\n{wanted}\nis not\n{json.dumps(found)}"


def _same_stream(answer: httpx.Response, wanted: Sequence[str], where: str) -> None:
    events, end = _events(answer.iter_lines()), time.monotonic() + PATIENCE
    for block in "\n".join(wanted).strip().split("\n\n"):
        shown = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        seen = []
        while shown and not (seen and _same_event(shown, seen[-1])):
            assert time.monotonic() < end, f"{where}: {block!r} did not come, but {seen}"
            seen.append(next(events))


def _same_event(shown: Mapping[str, str], found: Mapping[str, str]) -> bool:
    for field, value in shown.items():
        if field not in found:
            return False
        try:
            wanted, given = parsed(value), json.loads(found[field])
        except ValueError:
            wanted, given = value, found[field]
        if not same(wanted, given):
            return False
    return True


def _events(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    """The events of a stream, each by its fields; an empty one for a comment, so that time is noticed."""
    fields: dict[str, str] = {}
    for line in lines:
        if line.startswith(":"):
            yield {}
        elif line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif fields:
            yield fields
            fields = {}
    raise AssertionError("the stream ended")


def parsed(text: str) -> Any:
    """JSON in which `...` may stand; raises `ValueError` otherwise."""
    parts = re.findall(r'"(?:[^"\\]|\\.)*"|\.\.\.|[^".]+|.', text, re.DOTALL)
    made: list[str] = []
    inside: list[str] = []
    for part in parts:
        if part == ANY:
            before = "".join(made).rstrip()
            in_object = inside[-1:] == ["{"] and not before.endswith(":")
            made.append(json.dumps(LEFT) + ": 0" if in_object else json.dumps(ANY))
            continue
        made.append(part)
        if not part.startswith('"'):
            for letter in part:
                if letter in "[{":
                    inside.append(letter)
                elif letter in "]}" and inside:
                    inside.pop()
    return json.loads("".join(made))


def same(wanted: Any, found: Any) -> bool:
    """Is it what was wanted, as far as that is said?"""
    match wanted:
        case str() if wanted == ANY:
            return True
        case str() if ANY in wanted:
            pattern = ".*".join(re.escape(part) for part in wanted.split(ANY))
            return isinstance(found, str) and re.fullmatch(pattern, found, re.DOTALL) is not None
        case dict():
            if not isinstance(found, dict):
                return False
            said = {key: value for key, value in wanted.items() if key != LEFT}
            if LEFT not in wanted and said.keys() != found.keys():
                return False
            return all(key in found and same(value, found[key]) for key, value in said.items())
        case list():
            if not isinstance(found, list):
                return False
            open_ended = wanted[-1:] == [ANY]
            said_items = wanted[:-1] if open_ended else wanted
            if len(found) < len(said_items) or (not open_ended and len(found) != len(said_items)):
                return False
            return all(same(one, other) for one, other in zip(said_items, found, strict=False))
        case bool() | None:
            return wanted is found
        case _:
            return bool(wanted == found) and not isinstance(found, bool)
