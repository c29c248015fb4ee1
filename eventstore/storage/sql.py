"""SQL statements as text, each parsed once: SQLAlchemy otherwise parses a text again at every call."""

from __future__ import annotations

from functools import lru_cache

import sqlalchemy
from sqlalchemy import TextClause

KEPT = 1024
"""Statements that are kept: all that are written out, and the latest of those with a varying part."""


@lru_cache(KEPT)
def text(statement: str) -> TextClause:
    """`sqlalchemy.text`; the clause is shared, and no method of it changes it."""
    return sqlalchemy.text(statement)
