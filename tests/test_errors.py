"""The error tree is as the docstrings draw it: nothing escapes the drawing, nothing drawn is gone."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator

import pytest

import eventstore
import eventstore.errors
import projections
import projections.errors
from eventstore.errors import ChainfoldError

LINE = re.compile(r"^((?:[│ ]   )*)[├└]── (\w+) *(.*)$", re.MULTILINE)


def drawn(drawing: str) -> Iterator[tuple[str, str, bool]]:
    """Each error, the one above it, and whether trying again can help."""
    above = ["ChainfoldError"]
    for indent, name, meaning in LINE.findall(drawing):
        depth = len(indent) // 4 + 1
        del above[depth:]
        yield name, above[-1], "(retry" in meaning
        above.append(name)


def defined(kind: type[ChainfoldError] = ChainfoldError) -> Iterator[type[ChainfoldError]]:
    for below in kind.__subclasses__():
        if below.__module__.partition(".")[0] in ("eventstore", "projections"):
            yield below
            yield from defined(below)


@pytest.fixture(scope="module")
def tree() -> set[tuple[str, str, bool]]:
    for package in (eventstore, projections):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if ".migrations" not in module.name and not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    return {(kind.__name__, str(kind.__base__ and kind.__base__.__name__), kind.retry) for kind in defined()}


def test_the_tree_is_the_one_that_is_drawn(tree: set[tuple[str, str, bool]]) -> None:
    drawings = f"{eventstore.errors.__doc__}\n{projections.errors.__doc__}"
    assert set(drawn(drawings)) - {("projections", "ChainfoldError", False)} == tree


def test_each_name_of_an_error_has_one_meaning(tree: set[tuple[str, str, bool]]) -> None:
    assert len({name for name, _, _ in tree}) == len(list(defined()))
