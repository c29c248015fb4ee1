"""Which of a driver's errors speak of a value that the database cannot hold, and not of the database.

Law: an error of data is never taken for a store that is away. The same write would fail again for ever.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import ExceptionContext

from eventstore.errors import DataRefused

_CLASSES = ("22", "54")
"""Of SQLSTATE: data exceptions, and limits of the program that a value goes beyond (a row or an index entry
that is too large)."""

_CODES = (sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH)

_SAID_BY_SQLITE = (
    "integer overflow",
    "malformed json",
    "json path error",
    "pattern too complex",
    "too many terms",
    "too many columns",
    "too many sql variables",
    "expression tree is too large",
    "parser stack overflow",
)
"""What SQLite answers with its general code for errors."""

_OF_PYTHON = (OverflowError, UnicodeEncodeError)
"""What the drivers raise where a value has no form at all in their protocol: an integer of more than 64 bits,
text with half of a surrogate pair."""


def refuses_data(error: BaseException) -> bool:
    """Does this driver's error speak of a value that it was given?"""
    if isinstance(error, sqlite3.Error):
        said = str(error).lower()
        return getattr(error, "sqlite_errorcode", None) in _CODES or any(
            sign in said for sign in _SAID_BY_SQLITE
        )
    if isinstance(error, _OF_PYTHON):
        return True
    state = getattr(error, "sqlstate", None)
    if isinstance(state, str):
        return state[:2] in _CLASSES
    return "DataError" in {kind.__name__ for kind in type(error).__mro__}  # of psycopg, before it was sent


def unfit(reason: str, *, where: str = "The event store") -> DataRefused:
    """The refusal of a value; `reason` is the driver's."""
    return DataRefused(
        f"{where} cannot hold a value: {reason}.",
        hint="The store is well; the same write fails again, whenever it is tried.",
    )


def within_sqlalchemy(context: ExceptionContext) -> None:
    """For the engine's `handle_error`: the same of a statement that SQLAlchemy runs."""
    error = context.original_exception
    if isinstance(error, _OF_PYTHON):
        raise unfit(reason_of(error)) from error


@contextmanager
def values_of_python() -> Iterator[None]:
    """What a driver raises below SQLAlchemy of a value without a form in its protocol, as `DataRefused`."""
    try:
        yield
    except _OF_PYTHON as error:
        raise unfit(reason_of(error)) from error


def reason_of(error: BaseException) -> str:
    """The first line of what the driver says; of text without a form, not the text itself."""
    if isinstance(error, UnicodeEncodeError):
        return f"text that {error.encoding} cannot write ({error.reason})"
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else "no reason given"
