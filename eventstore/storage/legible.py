"""Text from outside, as every database keeps it.

What a node answers and what an event holds ends up in messages: a NUL, which PostgreSQL's text does not take,
half of a surrogate pair, which no UTF-8 has, or a megabyte of either. A message that cannot be written down
would stop the very work that it explains.
"""

from __future__ import annotations

LONG = 4_000
"""Characters of a reason; a stack may have five times as many."""


def legible(said: str, most: int = LONG) -> str:
    """`said` in at most `most` characters; what a text column does not hold is escaped."""
    if "\0" in said:
        said = said.replace("\0", "\\x00")
    if not said.isascii():
        said = said.encode("utf-8", "backslashreplace").decode()
    if len(said) > most:
        cut = f" ... ({len(said):,} characters) ... "
        half = (most - len(cut)) // 2
        said = said[:half] + cut + said[-half:]
    return said
