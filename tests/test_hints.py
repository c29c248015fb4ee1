"""Hints name what works: commands and options that exist, extras that this package has."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from eventstore.extras import install
from projections.service.cli import app

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
SOURCES = sorted([*Path("eventstore").rglob("*.py"), *Path("projections").rglob("*.py")])
PAGES = [
    *(Path("README.md"), Path("README.zh.md"), Path("deploy/Dockerfile"), Path("Makefile")),
    *sorted(Path("docs").glob("*.md")),
    *sorted(Path("examples").rglob("*.md")),
]
EXTRAS = set(tomllib.loads(Path("pyproject.toml").read_text())["project"]["optional-dependencies"])


def said(path: Path) -> Iterator[str]:
    """Every text of a module; `{}` where a value stands in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def commands(text: str) -> Iterator[list[str]]:
    """The words after `chainfold` in backticks."""
    for found in re.findall(r"`chainfold ([^`]+)`", text):
        yield found.split()


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_every_command_that_a_text_of_the_product_names_exists(path: Path) -> None:
    for text in said(path):
        for first, *rest in commands(text):
            if first.startswith(("-", "{", "<")):
                continue
            assert first in COMMANDS, (text, first)
            command = COMMANDS[first]
            if (group := getattr(command, "commands", None)) and rest and rest[0].isalpha():
                assert rest[0] in group, (text, rest[0])
                command = group[rest[0]]
            known = {option for parameter in command.params for option in parameter.opts}
            for option in (word for word in rest if word.startswith("--")):
                assert option.split("=")[0].strip(".,;:") in known, (text, option)


@pytest.mark.parametrize("path", [*SOURCES, *PAGES], ids=str)
def test_nothing_is_installed_from_an_index_that_does_not_have_it(path: Path) -> None:
    """The package is published nowhere: it is installed from its checkout, with extras that it has."""
    text = path.read_text()
    assert not re.search(r"""pip install (?:-\S+ )*[\\"']*chainfold""", text), path
    assert not re.search(r"[Ii]nstall chainfold\[", text), path
    for extras in re.findall(r"""(?:\.|CHECKOUT)\[(\w[\w,]*)\]""", text):
        if "pip install" in text:
            assert set(extras.split(",")) <= EXTRAS, (path, extras)


def test_the_hint_for_a_missing_extra_is_made_in_one_place() -> None:
    used = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "install":
                [extra] = node.args
                assert isinstance(extra, ast.Constant)
                used.add(extra.value)
    tools = {"dev", "docs", "testing"}  # no command of ours imports what these bring
    assert used == EXTRAS - tools
    assert install("http").endswith('`pip install ".[http]"`.')
