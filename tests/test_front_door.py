"""The public API: what `chainfold` exports; examples and documentation import nothing else of ours."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import chainfold
import projections.errors
import projections.projectors
import projections.testing
from eventstore.errors import ChainfoldError

EXPORTED = {
    *("Projector", "handles", "Documents", "Counts", "Follows", "Integer256", "Kit", "address"),
    *("ChainfoldError", "ConfigurationError", "ProjectorError", "SignatureError", "ValueRefused"),
}
SCRIPTED_NODE = Path("examples/tips/chain.py")
"""A local node for the tutorial. It imports the simulated chain, which is not part of the public API."""


PUBLIC = {"chainfold", "chainfold.sinks", "chainfold.sources", "chainfold.testing"}
"""The modules of the public API: for projectors, for adapters, and for the tests of both."""


def test_the_exported_names_are_these() -> None:
    assert set(chainfold.__all__) == EXPORTED == set(dir(chainfold))
    for name in EXPORTED:
        assert getattr(chainfold, name) is not None


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (projections.projectors, ("Projector", "handles", "Documents", "Counts", "Follows", "Integer256")),
        (projections.testing, ("Kit", "address")),
        (projections.errors, ("ConfigurationError", "ProjectorError", "SignatureError", "ValueRefused")),
    ],
)
def test_the_exported_names_are_the_packages_own(module: object, names: tuple[str, ...]) -> None:
    for name in names:
        assert getattr(chainfold, name) is getattr(module, name)
    assert all(
        issubclass(value, ChainfoldError)
        for value in (getattr(chainfold, name) for name in EXPORTED)
        if isinstance(value, type) and issubclass(value, Exception)
    )


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'chainfold' has no attribute 'Journal'"):
        chainfold.Journal  # noqa: B018


@pytest.mark.process
def test_the_kit_is_loaded_on_first_use() -> None:
    code = """
    import sys
    from chainfold import Projector, handles
    assert not {"projections.testing", "sqlalchemy", "projections.service"} & set(sys.modules)
    from chainfold import Kit
    assert "projections.testing" in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


@pytest.mark.process
def test_the_module_runs_as_the_command() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "chainfold", "--help"], check=True, capture_output=True, text=True
    )
    assert "Usage: chainfold" in told.stdout


def snippets(page: Path) -> list[str]:
    return re.findall(r"```python[^\n]*\n(.*?)```", page.read_text(), re.DOTALL)


def ours(source: str) -> set[str]:
    """The modules of this project that a source imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(item.name for item in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return {name for name in found if name.split(".")[0] in ("chainfold", "eventstore", "projections")}


def test_examples_import_the_public_api_alone() -> None:
    found = {path: ours(path.read_text()) for path in Path("examples").rglob("*.py")}
    assert set().union(*found.values())
    assert {path: names for path, names in found.items() if names - PUBLIC}.keys() == {SCRIPTED_NODE}


def test_documentation_imports_the_public_api_alone() -> None:
    pages = [Path("README.md"), *Path("docs").rglob("*.md"), *Path("examples").rglob("*.md")]
    found = [names for page in pages for snippet in snippets(page) if (names := ours(snippet))]
    assert len(found) >= 4
    assert "chainfold" in set().union(*found) <= PUBLIC
