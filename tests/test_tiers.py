"""The quick tier starts nothing, and `make check` runs all of it and no other test."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tiers import MARKS

WAYS: dict[str, Callable[[], object]] = {
    "subprocess": lambda: subprocess.run([sys.executable, "-c", ""], check=True),
    "os.fork": lambda: os.fork() or os._exit(0),
    "os.system": lambda: os.system("true"),
    "os.posix_spawn": lambda: os.posix_spawn(sys.executable, [sys.executable, "-c", ""], {}),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_test_of_the_quick_tier_that_starts_a_process_fails(way: str) -> None:
    with pytest.raises(pytest.fail.Exception, match="which a test of the quick tier does not do"):
        WAYS[way]()


@pytest.mark.process
def test_one_that_says_so_may() -> None:
    assert subprocess.run([sys.executable, "-c", ""], check=True).returncode == 0


def test_make_check_leaves_out_what_has_a_mark_and_nothing_else() -> None:
    left_out = " and ".join(f"not {mark}" for mark in MARKS)
    assert f'-m "{left_out}"' in Path("Makefile").read_text()
