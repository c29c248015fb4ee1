"""The page on extending chainfold does what it says: its sink passes the suite, its configuration loads."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from projections.service.config.loader import load

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
BASE = """
[chains.main]
rpc = "http://127.0.0.1:1"
chain_id = 1

[contracts.referral]
chain = "main"
address = "0x5151515151515151515151515151515151515151"
events = ["ReferralRegistered(address indexed user, address indexed referrer, uint256 timestamp)"]

"""


def snippets(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.mark.process
def test_the_sink_of_the_page_passes_the_public_suite(tmp_path: Path) -> None:
    sink, suite = snippets("python")
    (tmp_path / "test_shelf.py").write_text(sink + suite)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", "test_shelf.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(PAGE.parents[1]), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"\b\d\d passed", done.stdout)


def test_the_configuration_of_the_page_makes_its_sink(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points, configuration, _ = snippets("toml")
    (name, named), *_ = tomllib.loads(points)["project"]["entry-points"]["chainfold.sinks"].items()
    about = tmp_path / "my_package-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1\n")
    (about / "entry_points.txt").write_text(f"[chainfold.sinks]\n{name} = {named}\n")
    (tmp_path / "my_package.py").write_text(snippets("python")[0])
    (tmp_path / "chainfold.toml").write_text(BASE + configuration)
    monkeypatch.syspath_prepend(str(tmp_path))
    [chosen] = load(tmp_path / "chainfold.toml").projections["users"].sinks.values()
    assert chosen.kind.name == name == "shelf"
    assert chosen.settings.label == "top"
