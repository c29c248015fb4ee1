"""Files that only their owner may read: what the product makes may hold keys, and people's data."""

from __future__ import annotations

import os
from pathlib import Path

MODE = 0o600


def opener(path: str, flags: int) -> int:
    """For `open`: a file that is made by it is its owner's alone. One that is there keeps its mode."""
    return os.open(path, flags, MODE)


def make(path: Path) -> None:
    """Makes an empty file where there is none, for who opens it by name; its folder must be there."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE))
    except OSError:  # it is there, or cannot be made: the code that opens it says so
        return
