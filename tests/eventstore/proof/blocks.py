"""Real blocks of Ethereum and of chains that hash otherwise; `verified` says what recomputes."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[2] / "data" / "proof-blocks.jsonl.xz"
BLOCKS: list[dict[str, Any]] = [json.loads(line) for line in lzma.decompress(FILE.read_bytes()).splitlines()]


def named(line: dict[str, Any]) -> str:
    return f"{line['chain']}-{int(line['block']['number'], 16)}"
