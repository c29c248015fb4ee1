"""What is installed and what is shipped: dependencies as they are imported, an archive of sources alone."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

SETTINGS: dict[str, Any] = tomllib.loads(Path("pyproject.toml").read_text())
PROJECT: dict[str, Any] = SETTINGS["project"]
PACKAGES: list[str] = SETTINGS["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
OURS = {*PACKAGES, "tests", "bench", "examples", "chainfold"}

UNIMPORTED = {
    "uvloop": "uvicorn loads it by itself",
    "httptools": "uvicorn's protocol of that name, which head.py derives from, is made of it",
    "secantusdb": "a program, which embedded.py runs",
}
"""What the packages need and do not import, and why."""


def named(requirement: str) -> str:
    """The distribution of a requirement, in its one normal form."""
    found = re.match(r"[\w.-]+", requirement)
    assert found is not None
    return re.sub(r"[-_.]+", "-", found[0]).lower()


CORE = {named(item) for item in PROJECT["dependencies"]}
EXTRAS = {extra: {named(item) for item in items} for extra, items in PROJECT["optional-dependencies"].items()}
TOOLS = {"dev", "docs"}
"""Extras for work on the project: programs, which nothing imports."""
OPTIONAL = set().union(*(items for extra, items in EXTRAS.items() if extra not in TOOLS))
DISTRIBUTIONS = {name: {named(item) for item in found} for name, found in packages_distributions().items()}


def imported(*roots: str) -> dict[str, set[str]]:
    """Third-party modules by their top name, each with the files that import it."""
    found: dict[str, set[str]] = {}
    for path in (path for root in roots for path in Path(root).rglob("*.py")):
        for name in names(ast.parse(path.read_text())):
            top = name.partition(".")[0]
            if top not in sys.stdlib_module_names and top not in OURS:
                found.setdefault(top, set()).add(str(path))
    return found


def names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (item.name for item in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module


@pytest.mark.parametrize(
    ("roots", "declared"),
    [
        (tuple(PACKAGES), CORE | OPTIONAL),
        (("tests", "bench", "examples"), CORE | OPTIONAL | EXTRAS["dev"]),
    ],
    ids=["packages", "tests"],
)
def test_every_distribution_that_is_imported_is_declared(roots: tuple[str, ...], declared: set[str]) -> None:
    missing = {
        name: sorted(files)
        for name, files in imported(*roots).items()
        if not declared & DISTRIBUTIONS.get(name, {named(name)})
    }
    assert missing == {}


def test_every_distribution_that_is_declared_is_imported() -> None:
    used = set().union(*(DISTRIBUTIONS[name] for name in imported(*PACKAGES)))
    assert (CORE | OPTIONAL) - used == set(UNIMPORTED)


def test_dev_holds_every_other_extra() -> None:
    """One command installs all that the tests need."""
    [everything] = [item for item in PROJECT["optional-dependencies"]["dev"] if item.startswith("chainfold[")]
    assert set(re.findall(r"\w+", everything)) - {"chainfold"} == set(EXTRAS) - {"dev"}


def test_the_source_archive_holds_sources_alone() -> None:
    files = [item.relative_path for item in SdistBuilder(".").recurse_included_files()]
    assert {"pyproject.toml", "README.md", "LICENSE", "Makefile", "tests/conftest.py"} <= set(files)
    assert {path for path in files if Path(path).suffix in {".png", ".pyc", ".db", ".log"}} == set()
    hidden = {path for path in files if any(part.startswith(".") for part in Path(path).parts)}
    assert hidden <= {".gitignore"}
    assert {path for path in files if path.startswith(("node_modules/", "bench/results/"))} == set()


def test_the_wheel_holds_the_packages_with_their_data() -> None:
    files = {item.distribution_path for item in WheelBuilder(".").recurse_included_files()}
    assert {Path(path).parts[0] for path in files} == set(PACKAGES)
    for package in PACKAGES:
        shipped = {str(path) for path in Path(package).rglob("*") if path.is_file() and path.suffix != ".pyc"}
        assert shipped <= files


def test_no_address_of_the_project_is_made_up() -> None:
    """There is none yet: the package is installed from its checkout."""
    assert "urls" not in PROJECT
