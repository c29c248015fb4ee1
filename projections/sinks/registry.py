"""The kinds of sinks that a configuration may name: those of this package, and those that are installed."""

from __future__ import annotations

import re

from projections import plugins
from projections.errors import ConfigurationError
from projections.sinks.kinds import SinkKind, SinkTable
from projections.sinks.mongo import MongoKind
from projections.sinks.redis import RedisKind

SHIPPED: dict[str, SinkKind] = {kind.name: kind for kind in (MongoKind(), RedisKind())}
"""By name, in the order in which a projection's sinks are published."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


def known() -> list[str]:
    """The names of all kinds: the shipped ones, then those of installed packages."""
    return [*SHIPPED, *(name for name in plugins.names("chainfold.sinks") if name not in SHIPPED)]


def find(name: str, *, where: str) -> SinkKind | None:
    """The kind of that name; None when neither this package nor an installed one has it.

    `where` is the path of the table in the configuration. Raises `ConfigurationError` when an installed
    package has the kind and it cannot be imported or used.
    """
    if name in SHIPPED:
        return SHIPPED[name]
    if name not in plugins.names("chainfold.sinks"):
        return None
    found = plugins.load("chainfold.sinks", name, where=where)
    if not (isinstance(found, type) and issubclass(found, SinkKind)):
        raise ConfigurationError(f"{where}: what a package adds as the sink {name} is not a SinkKind.")
    if problem := _problem(found, name):
        raise ConfigurationError(f"{where}: {found.__module__}.{found.__qualname__} {problem}.")
    return found()


def _problem(kind: type[SinkKind], name: str) -> str | None:
    """What is wrong with a kind that an installed package adds."""
    if getattr(kind, "name", None) != name:
        return f"is named {getattr(kind, 'name', None)!r}, and its entry point {name!r}"
    if not _NAME.fullmatch(name) or name.startswith("webhook"):
        return f"cannot be named {name!r}: lower-case letters, digits, - and _, not beginning with webhook"
    tables = [getattr(kind, "table", None), *([] if kind.server is None else [kind.server])]
    if not all(isinstance(table, type) and issubclass(table, SinkTable) for table in tables):
        return "needs tables that are subclasses of SinkTable"
    return None
