"""The tutorial works: its files are written and its commands run, in order, and print what the page shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

PAGE = Path("docs/tutorial.md")
BLOCK = re.compile(r'^```(\w+)(?: title="([\w.]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


class Terminals:
    """The reader's two terminals: commands in one, the chain in the other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._prelude: list[str] = []
        self._chain: subprocess.Popen[str] | None = None
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CHAINFOLD")},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": "",
        }

    def command(self, line: str) -> str:
        """Runs it as the shell of the second terminal would, and returns what it printed."""
        if line.startswith("python chain.py"):
            self._chain = subprocess.Popen(
                ["bash", "-c", "\n".join([*self._prelude, f"exec {line}"])],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            return self._heard()
        if line.startswith(("cd ", "export ")):
            self._prelude.append(line)
        script = "\n".join(["set -e", *self._prelude, "" if line in self._prelude else line])
        run = subprocess.run(
            ["bash", "-c", script],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, (line, run.stdout, run.stderr)
        return run.stdout + run.stderr

    def type(self, line: str) -> str:
        """Types it into the terminal of the chain."""
        assert self._chain is not None and self._chain.stdin is not None
        self._chain.stdin.write(line + "\n")
        self._chain.stdin.flush()
        return self._heard()

    def _heard(self) -> str:
        assert self._chain is not None and self._chain.stdout is not None
        return self._chain.stdout.readline()

    def close(self) -> None:
        if self._chain is not None:
            with self._chain:
                self._chain.kill()


@pytest.fixture
def terminals(tmp_path: Path) -> Iterator[Terminals]:
    (tmp_path / "examples").symlink_to(Path("examples").resolve())
    both = Terminals(tmp_path)
    yield both
    both.close()


@pytest.mark.timeout(600)
@pytest.mark.process
def test_every_file_and_command_of_the_tutorial_works_and_prints_what_it_says(
    terminals: Terminals, tmp_path: Path
) -> None:
    blocks = BLOCK.findall(PAGE.read_text())
    assert len(blocks) == PAGE.read_text().count("```") // 2
    for language, title, text in blocks:
        if title:
            (tmp_path / "tips" / title).write_text(text)
            continue
        assert language == "console"
        for prompt, line, expected in re.findall(r"^([$>]) (.*)\n((?:(?![$>] ).*\n)*)", text, re.MULTILINE):
            printed = terminals.command(line) if prompt == "$" else terminals.type(line)
            if expected:
                assert _fits(expected, printed), (line, printed)


def _fits(expected: str, printed: str) -> bool:
    """Whether that was printed, `...` standing for anything."""
    pattern = ".*".join(re.escape(" ".join(part.split())) for part in expected.split("..."))
    return re.search(pattern.replace(r"\ ", " "), " ".join(printed.split()), re.DOTALL) is not None
