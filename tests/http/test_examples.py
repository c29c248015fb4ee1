"""Every example of docs/api.md is played against a town, and gets the answer that the page shows."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.http.played import examples, parsed, play, same
from tests.http.site import Town

PAGE = examples(Path("docs/api.md").read_text())


def test_every_example_of_the_page_is_answered_as_it_stands_there(town: Town) -> None:
    for token in dict.fromkeys(example.token for example in PAGE):
        with town.serving("" if token is None else f'tokens = ["{token}"]') as client:
            for example in PAGE:
                if example.token == token:
                    play(client, example)


def test_a_block_has_headers_and_bodies_where_it_shows_them() -> None:
    [found] = examples(
        "Text\n\n```http\nPOST /v1/retry\nAuthorization: Bearer abc\n"
        '{"chain": "local"}\n200\nETag: "..."\n{"state": "done",\n "detail": "..."}\n```\n'
    )
    assert (found.line, found.method, found.path, found.token) == (3, "POST", "/v1/retry", "abc")
    assert (found.body, found.status, found.headers) == ('{"chain": "local"}', 200, {"ETag": '"..."'})
    assert parsed("\n".join(found.lines)) == {"state": "done", "detail": "..."}


@pytest.mark.parametrize(
    ("wanted", "found", "is_same"),
    [
        ('{"a": 1}', {"a": 1}, True),
        ('{"a": 1}', {"a": 1, "b": 2}, False),
        ('{"a": 1, ...}', {"a": 1, "b": 2}, True),
        ('{"a": 1, ...}', {"b": 2}, False),
        ('{"a": ..., "b": [...]}', {"a": {"c": 1}, "b": [1, 2]}, True),
        ("[1, 2, ...]", [1, 2, 3], True),
        ("[1, 2, ...]", [1], False),
        ("[1, 2]", [1, 2, 3], False),
        ('[{"a": "0x...", ...}]', [{"a": "0x12", "b": 1}], True),
        ('{"a": "0x..."}', {"a": "12"}, False),
        ('{"a": "say \\"...\\" to {it"}', {"a": 'say "no" to {it'}, True),
        ('{"a": 1.5, "b": true}', {"a": 1.5, "b": True}, True),
        ('{"a": 1}', {"a": True}, False),
        ('{"a": null}', {"a": 0}, False),
    ],
)
def test_three_dots_stand_for_anything(wanted: str, found: object, is_same: bool) -> None:
    assert same(parsed(wanted), found) is is_same


def test_a_stream_is_read_until_it_has_shown_what_the_block_shows() -> None:
    said = (
        b': hello\n\nevent: ready\nid: 1\ndata: {"a": 1, "b": 2}\n\nevent: position\ndata: {}\n\n'
        b'event: document\nid: 2\ndata: {"key": "0xab"}\n\n'
    )
    answered = httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=said)
    block = "```http\nGET /v1/stream\n200\nevent: ready\ndata: {{...}}\n\nevent: document\ndata: {}\n```"
    with httpx.Client(base_url="http://x", transport=httpx.MockTransport(lambda _: answered)) as client:
        [good] = examples(block.replace("{{...}}", '{"a": 1, ...}').replace("{}", '{"key": "0x..."}'))
        play(client, good)
        [bad] = examples(block.replace("{{...}}", '{"a": 1, ...}').replace("{}", '{"key": "0xcd"}'))
        with pytest.raises(AssertionError, match="the stream ended"):
            play(client, bad)
