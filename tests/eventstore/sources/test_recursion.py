"""The recursion limit is the interpreter's own in every process of the product, after every import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from eventstore.net.nesting import too_deep
from eventstore.recursion import limit_kept

EVERYTHING = """
import importlib, pkgutil, sys
default = sys.getrecursionlimit()
names = [
    item.name
    for package in ("eventstore", "projections")
    for item in pkgutil.walk_packages(importlib.import_module(package).__path__, package + ".")
    if ".migrations." not in item.name
]
assert len(names) > 150, names
for name in names:
    importlib.import_module(name)
    assert sys.getrecursionlimit() == default, name
assert "web3" in sys.modules and "py_ecc" in sys.modules
import web3, web3.providers.rpc
assert sys.getrecursionlimit() == default
"""

OWN_PROJECTOR = """
import sys
from pathlib import Path
from projections.service.runtime.projectors import loaded
default = sys.getrecursionlimit()
assert "web3" not in sys.modules
loaded("greedy:Greedy", "here", folder=Path.cwd())
assert "web3" in sys.modules
assert sys.getrecursionlimit() == default
"""


@pytest.mark.process
def test_after_importing_everything_the_limit_is_the_interpreters() -> None:
    subprocess.run([sys.executable, "-c", EVERYTHING], check=True, timeout=120)


@pytest.mark.process
def test_a_projector_that_imports_web3_by_itself_moves_it_as_little(tmp_path: Path) -> None:
    (tmp_path / "greedy.py").write_text(
        "import web3\n"
        "from projections.projectors.referrals import Referrals\n"
        "class Greedy(Referrals):\n    pass\n"
    )
    subprocess.run(
        [sys.executable, "-c", OWN_PROJECTOR],
        check=True,
        timeout=120,
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path.cwd())},
    )


def test_one_file_imports_web3() -> None:
    """So that no road into a process goes round it."""
    found = set()
    raising = {"web3", "py_ecc", "eth_account", "eth_keyfile"}
    for path in [*Path("eventstore").rglob("*.py"), *Path("projections").rglob("*.py")]:
        source = path.read_text()
        for node in ast.walk(ast.parse(source)) if any(name in source for name in raising) else ():
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            if raising & {name.split(".")[0] for name in names}:
                found.add(str(path))
    assert found == {"eventstore/sources/rpc/web3_parts.py"}


def test_the_limit_is_put_back_also_after_an_error() -> None:
    before = sys.getrecursionlimit()
    with pytest.raises(ValueError, match="on the way"), limit_kept():
        sys.setrecursionlimit(before + 7)
        raise ValueError("on the way")
    assert sys.getrecursionlimit() == before


@pytest.mark.parametrize(
    ("raw", "deep"),
    [
        (b"", False),
        (b"[" * 3 + b"]" * 3, False),
        (b"[" * 4 + b"]" * 4, True),
        (b"[[[]],[[]],[{}]]", False),
        (b"]]]][[[[", False),
        (b"[[[[", True),
        (b'["[[[[[", "{{{{{"]', False),
        (b'["\\"[[[[["]', False),
        (b'["\\\\", [[[', True),
        (b'"[[[[[', False),
        (b"\xff\xfe[[[[", True),
    ],
)
def test_depth_is_told_without_decoding(raw: bytes, deep: bool) -> None:
    assert too_deep(raw, 3) is deep
