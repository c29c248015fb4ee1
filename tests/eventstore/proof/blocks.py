"""Real blocks of Ethereum and of chains that hash otherwise; `verified` says what recomputes."""

from __future__ import annotations

import json
import lzma
from typing import Any

from tests.places import DATA

FILE = DATA / "proof-blocks.jsonl.xz"
BLOCKS: list[dict[str, Any]] = [json.loads(line) for line in lzma.decompress(FILE.read_bytes()).splitlines()]


def named(line: dict[str, Any]) -> str:
    return f"{line['chain']}-{int(line['block']['number'], 16)}"
