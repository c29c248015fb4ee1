"""The lint of words: it finds what it names, and lets good English pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It is read by who" + "ever asks.", "who" + "ever"),
        ("Who" + " asks then waits.", "Who" + " asks"),
        ("this is" + " none of ours", "is" + " none"),
        ("# a line that is\n    # no" + " line", "is # no"),
        ("built\n an" + "ew", "an" + "ew"),
        ("documents of" + " which some differ", "of" + " which"),
    ],
)
def test_an_old_word_is_found_also_across_lines(text: str, found: str) -> None:
    assert [hit.text for hit in words.hits(text)] == [found]


@pytest.mark.parametrize(
    "text",
    [
        "where there is none, and there are no documents",
        "it is no longer served",
        "three blocks, each of which holds a log",
        "Who is served?",
        "def test_who" + "ever_asks_waits() -> None: ...",
        "if row is None:",
    ],
)
def test_plain_english_and_names_of_code_pass(text: str) -> None:
    assert not list(words.hits(text))


def test_the_lint_reads_code_pages_and_build_files(tmp_path: Path) -> None:
    for name in ("a.py", "b.md", "c.toml", "d.js", "e.sh", "Makefile", "f.png", "node_modules/g.js"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    assert [path.name for path in words.files([tmp_path])] == [
        "Makefile",
        "a.py",
        "b.md",
        "c.toml",
        "d.js",
        "e.sh",
    ]


def test_no_such_word_stands_anywhere() -> None:
    assert [
        f"{hit.path}:{hit.line}: {hit.text!r}: {hit.instead}"
        for path in words.files(["."])
        for hit in words.hits(path.read_text(), path)
    ] == []
