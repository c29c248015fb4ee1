"""What the documents say is so: commands exist, configurations load, tests and files are there."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import pytest
import typer

import chainfold
from projections.service.cli import app
from projections.service.config.loader import load

FRONT = [Path(f"{name}.md") for name in ("README", "README.zh", "CONTRIBUTING", "CHANGELOG", "SECURITY")]
EXAMPLES = sorted(Path("examples").glob("*/README.md"))
PAGES = [*FRONT, *EXAMPLES, *sorted(Path("docs").glob("*.md"))]
PACKAGES = ("chainfold", "eventstore", "projections")
ADVICE = Path("deploy/prometheus/rules.yml")
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("page", [*PAGES, ADVICE], ids=str)
def test_every_command_and_option_that_a_page_names_exists(page: Path) -> None:
    for name, rest in re.findall(r"chainfold ((?!-)[a-z]+)((?: [^`\n|]*)?)", page.read_text()):
        if name not in COMMANDS:
            assert not re.search(rf"(`|\$ |bin/)chainfold {name}", page.read_text()), (page, name)
            continue
        command = COMMANDS[name]
        if (group := getattr(command, "commands", None)) and (words := rest.split()):
            assert words[0].strip(".,;:") in group, (page, name, rest)
            command = group[words[0].strip(".,;:")]
        known = {option for parameter in command.params for option in parameter.opts}
        for option in re.findall(r"(--[a-z-]+)", rest):
            assert option in known, (page, name, option)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_test_that_a_page_names_is_there(page: Path) -> None:
    for path, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page.read_text()):
        assert Path(path).exists(), (page, path)
        assert not name or f"def {name}(" in Path(path).read_text(), (page, path, name)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_page_that_a_page_links_to_is_there(page: Path) -> None:
    for target in re.findall(r"\]\(((?!http)[^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), (page, target)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_path_that_a_page_names_is_there(page: Path) -> None:
    folders = "eventstore|projections|chainfold|tests|bench|deploy|docs|examples"
    for path in re.findall(rf"`((?:{folders})/[\w./@-]*)`", page.read_text()):
        assert Path(path).exists() or path == "bench/results/", (page, path)  # a benchmark makes it


def test_the_pages_import_from_the_public_module_only_and_one_page_has_all_of_it() -> None:
    for page in PAGES:
        imported = re.findall(r"^(?:from|import) (\w+)", page.read_text(), re.MULTILINE)
        assert not {"eventstore", "projections"} & set(imported), page
    shown = re.findall(r"^::: chainfold\.(\w+)$", Path("docs/python.md").read_text(), re.MULTILINE)
    assert sorted(shown) == sorted(chainfold.__all__)


def test_the_page_on_architecture_has_every_room_and_the_files_of_the_way_of_a_log() -> None:
    page = Path("docs/architecture.md").read_text()
    rooms = {f"{path.parent}/" for package in PACKAGES for path in Path(package).rglob("__init__.py")}
    named = set(re.findall(r"^\| `([\w/]+/)` \|", page, re.MULTILINE)) | {
        f"{package}/" for package in PACKAGES
    }
    assert {room for room in rooms if "migrations/versions" not in room} - named == set()
    for number, where, what in re.findall(r"^\| (\d+) \| (.*?) \| (.*) \|$", page, re.MULTILINE):
        folders = [Path(room) for room in re.findall(r"`([\w/]+/)`", f"{where} {what}")]
        for name in re.findall(r"`(\w+\.py)`", what):
            assert any((folder / name).exists() for folder in folders), (number, name)


def test_the_configuration_in_the_readme_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", Path("README.md").read_text(), re.DOTALL)
    (whole,) = [block for block in blocks if "[chains.main]" in block]
    (tmp_path / "chainfold.toml").write_text(whole)
    monkeypatch.setenv("RPC_URL", "http://127.0.0.1:8545")
    config = load(tmp_path / "chainfold.toml")
    assert config.projections["referrals"].projector == "referrals"
    assert all(tomllib.loads(block) for block in blocks)


def test_no_page_names_a_path_of_a_machine() -> None:
    for page in PAGES:
        assert not re.search(rf"/(root|home)/|{re.escape(os.path.expanduser('~'))}/", page.read_text()), page


def test_the_readme_fits_on_a_few_screens_and_the_chinese_one_mirrors_it() -> None:
    english, chinese = (Path(name).read_text() for name in ("README.md", "README.zh.md"))
    assert len(english.splitlines()) <= 120
    shared = re.findall(r"^```console\n(.*?)```", english, re.MULTILINE | re.DOTALL)
    assert [block in chinese for block in shared] == [True] * len(shared)
    table = re.findall(r"^\| `(chainfold [^`]+)`", english, re.MULTILINE)
    assert len(table) >= 10
    assert re.findall(r"^\| `(chainfold [^`]+)` \| [^|]+ \|$", chinese, re.MULTILINE) == table
    (configuration,) = _settings(english)
    assert _settings(chinese) == [configuration]


def _settings(page: str) -> list[dict[str, object]]:
    return [tomllib.loads(block) for block in re.findall(r"```toml\n(.*?)```", page, re.DOTALL)]
