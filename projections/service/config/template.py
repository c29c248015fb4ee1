"""The configuration that `chainfold init` writes: `template.toml`, with its marks filled in."""

from __future__ import annotations

import re
from importlib.resources import files


def template(*, rpc: str, chain_id: int, contract: str) -> str:
    """The commented configuration of one contract with the shipped projector."""
    filled = {"{rpc}": rpc, "{chain_id}": str(chain_id), "{contract}": contract}
    text = files(__package__).joinpath("template.toml").read_text("utf-8")
    return re.sub("|".join(map(re.escape, filled)), lambda mark: filled[mark.group()], text)
