"""How deep JSON from outside is nested, told before it is decoded.

A decoder that recurses is stopped by the recursion limit at best; here nothing recurses and nothing is built.
"""

from __future__ import annotations

import re

DEEPEST = 64
"""Arrays and objects within one another in anything that somebody sends us: ours are three or four deep."""

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_BRACKETS = re.compile(rb"[\[\]{}]+")


def too_deep(raw: bytes, most: int = DEEPEST) -> bool:
    """Whether more than `most` arrays and objects are open at once anywhere in `raw`, JSON or not.

    Brackets within strings do not count. Takes time in proportion to the length of `raw`.
    """
    depth = 0
    for run in _BRACKETS.finditer(_STRING.sub(b"", raw)):
        for bracket in run.group():
            depth += 1 if bracket in b"[{" else -1
            if depth > most:
                return True
    return False
