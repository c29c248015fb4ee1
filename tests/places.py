"""Where the tests find real data and the documentation, wherever a test lies."""

from __future__ import annotations

from pathlib import Path

DATA = Path(__file__).parent / "data"
DOCS = Path(__file__).parents[1] / "docs"
