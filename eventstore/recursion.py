"""The interpreter's recursion limit stays what it was when a library is imported.

Decoders of JSON stop at that limit instead of at the end of the stack. A library that raises it while it is
imported takes this guard away from the whole process: such a library is imported inside `limit_kept`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def limit_kept() -> Iterator[None]:
    """Puts the recursion limit back at the end of the block, also after an error."""
    before = sys.getrecursionlimit()
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
