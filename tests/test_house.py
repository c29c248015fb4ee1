"""The house keeps its rules: short listings, short files, and names that mean one thing."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from pathlib import Path

import pytest

PACKAGES = ("chainfold", "eventstore", "projections")
LINES, FILES = 300, 20

MODULES = [path for package in PACKAGES for path in sorted(Path(package).rglob("*.py"))]


def test_there_are_modules() -> None:
    assert {path.parts[0] for path in MODULES} == set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_is_longer_than_a_reader_takes_in(package: str) -> None:
    lines = {str(path): len(path.read_text().splitlines()) for path in MODULES if path.parts[0] == package}
    assert {name: count for name, count in lines.items() if count > LINES} == {}


def test_no_folder_has_more_files_than_a_listing_shows_at_once() -> None:
    files = Counter(str(path.parent) for path in MODULES if path.name != "__init__.py")
    assert {name: count for name, count in files.items() if count > FILES} == {}


def test_no_public_name_of_a_class_or_a_type_stands_for_two_things() -> None:
    places = defaultdict(set)
    for path in MODULES:
        for node in ast.parse(path.read_text()).body:
            for name in _types(node):
                places[name].add(str(path))
    assert {name: sorted(found) for name, found in places.items() if len(found) > 1} == {}


def _types(node: ast.stmt) -> list[str]:
    """The public classes and type aliases that a statement of a module defines."""
    match node:
        case ast.ClassDef(name=name):
            names = [name]
        case ast.Assign(targets=[ast.Name(id=name)]) if not name.isupper():
            names = [name]
        case _:
            names = []
    return [name for name in names if name[0].isupper()]
