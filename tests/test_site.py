"""The documentation builds as a site, without a warning, and every page is in its navigation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml


@pytest.mark.process
def test_the_site_builds_strictly(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    for page in [*(path.stem for path in Path("docs").glob("*.md")), "cli", "configuration"]:
        assert (tmp_path / ("" if page == "index" else page) / "index.html").exists(), page
    assert "chainfold rebuild" in (tmp_path / "cli" / "index.html").read_text()


def test_every_page_is_in_the_navigation_once() -> None:
    sections = yaml.safe_load(Path("mkdocs.yml").read_text())["nav"]
    listed = [page for section in sections for page in _pages(section)]
    assert sorted({*listed} - {"cli.md", "configuration.md"}) == sorted(
        p.name for p in Path("docs").glob("*.md")
    )
    assert len(listed) == len(set(listed))


def _pages(section: str | dict[str, list[str]]) -> list[str]:
    return [section] if isinstance(section, str) else [page for pages in section.values() for page in pages]
