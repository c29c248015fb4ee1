"""What installed packages add: found by name, and every way in which one is broken is named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from projections import plugins
from projections.errors import ConfigurationError


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path of Python in which packages are installed by `install`."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def install(folder: Path, package: str, points: str, *, module: str = "", source: str = "") -> None:
    """The files that an installer writes: the metadata, and one module."""
    about = folder / f"{package}-1.2.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
    (about / "entry_points.txt").write_text(points)
    if module:
        sys.modules.pop(module, None)
        (folder / f"{module}.py").write_text(source)


def test_a_plugin_is_found_by_its_group_and_name(installed: Path) -> None:
    install(
        installed,
        "shop",
        "[chainfold.sinks]\nshelf = shop_shelf:KIND\n",
        module="shop_shelf",
        source="KIND = 7",
    )
    assert plugins.names("chainfold.sinks") == ["shelf"]
    assert plugins.names("chainfold.sources") == []
    assert plugins.load("chainfold.sinks", "shelf", where="projections.users.shelf") == 7


def test_a_name_that_no_package_adds_is_refused_with_those_that_are(installed: Path) -> None:
    install(installed, "shop", "[chainfold.sinks]\nshelf = shop_shelf\nbox = shop_box\n")
    with pytest.raises(ConfigurationError) as raised:
        plugins.load("chainfold.sinks", "shell", where="projections.users.shell")
    assert str(raised.value) == (
        "projections.users.shell: no installed package adds shell to chainfold.sinks. "
        "Installed packages add box, shelf."
    )


def test_two_packages_under_one_name_are_both_named(installed: Path) -> None:
    install(installed, "shop", "[chainfold.sinks]\nshelf = shop_shelf\n")
    install(installed, "barn", "[chainfold.sinks]\nshelf = barn_shelf\n")
    with pytest.raises(
        ConfigurationError, match=r"several installed packages add shelf .*barn 1\.2"
    ) as raised:
        plugins.load("chainfold.sinks", "shelf", where="projections.users.shelf")
    assert "shop 1.2" in str(raised.value)


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("KIND = 1 / 0", "ZeroDivisionError: division by zero"),
        ("OTHER = 1", "AttributeError: module 'broken_shelf' has no attribute 'KIND'"),
    ],
    ids=["an import of it", "its code", "its name"],
)
def test_a_package_that_cannot_be_loaded_is_named_with_the_cause(
    installed: Path, source: str, cause: str
) -> None:
    install(
        installed,
        "shop",
        "[chainfold.sinks]\nshelf = broken_shelf:KIND\n",
        module="broken_shelf",
        source=source,
    )
    with pytest.raises(ConfigurationError) as raised:
        plugins.load("chainfold.sinks", "shelf", where="projections.users.shelf")
    assert raised.value.message == (
        f"projections.users.shelf: shelf of shop 1.2 cannot be loaded from broken_shelf:KIND: {cause}."
    )
