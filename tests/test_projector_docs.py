"""The page on writing a projector does what it says: its Python runs, its configuration loads and binds."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from projections.service.config.loader import load
from projections.service.runtime.wiring import Plan

PAGE = Path("docs/writing-a-projector.md")


def snippets(language: str) -> list[str]:
    """The page's blocks, each preceded by as many lines as stand above it: errors name the page's lines."""
    page = PAGE.read_text()
    return [
        "\n" * page[: found.start(1)].count("\n") + found.group(1)
        for found in re.finditer(rf"```{language}\n(.*?)```", page, re.DOTALL)
    ]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that the page writes, piece by piece."""
    module = ModuleType("names")
    module.__file__ = str(PAGE)
    monkeypatch.setitem(sys.modules, "names", module)
    return module


@pytest.mark.long
def test_the_python_of_the_page_runs_in_order(names: ModuleType) -> None:
    found = snippets("python")
    assert len(found) >= 4
    for snippet in found:
        exec(compile(snippet, str(PAGE), "exec"), vars(names))


def test_the_configuration_of_the_page_binds_its_projector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "names.py").write_text(snippets("python")[0])
    (toml,) = snippets("toml")
    (tmp_path / "chainfold.toml").write_text(toml)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "names", raising=False)
    plan = Plan(load())
    try:
        assert type(plan.projections["names"].projector).__name__ == "Names"
        assert len(plan.projections["names"].routes) == 3
    finally:
        plan.close()
        sys.modules.pop("names", None)


def test_every_check_of_the_kit_is_named_on_the_page() -> None:
    from projections.testing.kit import Kit

    for name in vars(Kit):
        if name.startswith("check"):
            assert name in PAGE.read_text(), name
