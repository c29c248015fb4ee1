"""The words that this project does not use, and where they stand: `python -m tests.words [paths]` lists them.

English changes, and readers come from everywhere. Each rule is a regular expression and what to write
instead, and sometimes the word before it that makes it good English. A space stands for any white space,
line ends and comment marks included; the first letter may be a capital. Names in code are not prose: `_`
counts as a letter, so that a test's name is never a hit.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

THERE = "there"
RULES: list[tuple[str, str, str]] = [
    (r"(?:whoever|whomever|whosoever)\b", "the name of the actor: the caller, the process, the reader", ""),
    (r"whatever\b", "any, every, all that, regardless of", ""),
    (r"anew\b", "again, from the start", ""),
    (r"(?:is|are|was|were|be|been) none\b", "is not a ..., does not exist", THERE),
    (r"none (?:is|are|was|were)\b", "there is no ..., no ... is", ""),
    (
        r"(?:is|are|was|were) no (?!longer\b|more\b|less\b|fewer\b|later\b|earlier\b)",
        "is not a ..., has no ...",
        THERE,
    ),
    (r"(?:is|are|was|were|be|been|being) told\b", "reports, says; is reported; learns", ""),
    (r"(?:befall|befalls|befell|befallen)\b", "affect, happen to", ""),
    (r"(?:thereof|thereby|therein|thereto|thereupon|therewith)\b", "name the thing", ""),
    (r"(?:wherefore|wherein|whereby|whereof|whereupon)\b", "by which, a new sentence", ""),
    (r"(?:hence|henceforth|hereby|herein|hereof|hitherto|whence|whither|thither)\b", "so, from", ""),
    (
        r"(?:unto|lest|albeit|amid|amidst|nought|naught|nigh)\b",
        "until, in case, in the middle of, nothing",
        "",
    ),
    (r"seldom\b", "rarely", ""),
    (r"ever more\b", "more and more, increasingly", ""),
    (r"at hand\b", "available, present", ""),
    (r"to be had\b", "available", ""),
    (r"the one that\b", "the noun, repeated", ""),
    (r"(?:nobody|everybody)\b(?![@(\"\]])", "no one, no process, every reader", ""),
    (r"of which\b", "whose, a new sentence", "one|two|all|any|each|some|most|both|many|either|neither"),
    (r"that (?:is|are) to be\b", "that will be, that must be", ""),
    (r"would else\b", "would otherwise", ""),
    (r"(?:ail|ails)\b", "is wrong with", ""),
    (r"by nothing\b", "not ... by anything", ""),
    # A sentence that begins with a relative clause without its noun. Questions are fine.
    (r"Who (?!is\b|are\b|else\b)[a-z]+\b(?![^.:;|\"]{0,120}\?)", "A process that ..., A caller that ...", ""),
]

SUFFIXES = (".py", ".md", ".toml", ".js", ".sh", ".yml", "Makefile")
SKIPPED = {"node_modules", "site", "build", "dist"}


class Hit(NamedTuple):
    path: Path
    line: int
    text: str
    instead: str


def _compiled(rule: str) -> re.Pattern[str]:
    """The rule with either case of its first letter; a space stands for white space and comment marks."""
    first = re.match(r"\(\?:([a-z|]+)\)|([a-z]+)", rule)
    if first:
        words = "|".join(
            f"[{word[0].upper()}{word[0]}]{word[1:]}" for word in (first[1] or first[2]).split("|")
        )
        rule = f"(?:{words}){rule[first.end() :]}"
    return re.compile(r"(?<![\w`])" + rule.replace(" ", r"[\s#/*]+"))


PATTERNS = [
    (_compiled(rule), instead, re.compile(rf"\b(?:{unless})[\s#/*]+$", re.IGNORECASE) if unless else None)
    for rule, instead, unless in RULES
]


def files(paths: Iterable[str | Path] = (".",)) -> Iterator[Path]:
    """The texts under these paths; this file is left out, and so is what tools leave behind."""
    for path in map(Path, paths):
        if path.is_file():
            if path.resolve() != Path(__file__).resolve():
                yield path
            continue
        for folder, below, names in os.walk(path):
            below[:] = sorted(
                name for name in below if name not in SKIPPED and (name == ".ci" or not name.startswith("."))
            )
            for name in sorted(names):
                found = Path(folder, name)
                if name.endswith(SUFFIXES) and found.resolve() != Path(__file__).resolve():
                    yield found


def hits(text: str, path: Path = Path()) -> Iterator[Hit]:
    """Every such word of a text, in the order of its lines."""
    found = [
        (match, instead)
        for pattern, instead, unless in PATTERNS
        for match in pattern.finditer(text)
        if not (unless and unless.search(text, max(0, match.start() - 40), match.start()))
    ]
    for match, instead in sorted(found, key=lambda item: item[0].start()):
        yield Hit(path, text.count("\n", 0, match.start()) + 1, " ".join(match.group().split()), instead)


def main(paths: list[str]) -> int:
    """Prints each hit as file:line; the exit code is 1 if there are any."""
    count = 0
    for path in files(paths or ["."]):
        for hit in hits(path.read_text(encoding="utf-8"), path):
            count += 1
            print(f"{hit.path}:{hit.line}: {hit.text!r}: {hit.instead}")
    print(f"{count} to reword" if count else "no such word", file=sys.stderr)
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
