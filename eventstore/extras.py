"""How an extra of this package is installed: one sentence for every place that misses one."""

from __future__ import annotations


def install(extra: str) -> str:
    """What to run where the extra is missing. The package is installed from its checkout."""
    return f'In the checkout of chainfold, with its environment active, run `pip install ".[{extra}]"`.'
