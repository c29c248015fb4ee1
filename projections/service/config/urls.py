"""Addresses of servers in the configuration: where the store lies, and the secrets that addresses carry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import asdict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from eventstore.redaction import keys_in
from projections.errors import ConfigurationError
from projections.service.config.settings import ConfiguredChain, ProjectionSettings


def store_url(url: str, folder: Path) -> str:
    """A relative SQLite file stands beside the configuration, wherever the command is run."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # without its cause, which quotes the password
        raise ConfigurationError(
            "store.url cannot be parsed.", hint="Write sqlite:///file or postgresql+psycopg://host/database."
        ) from None
    file = parsed.database
    if parsed.get_backend_name() != "sqlite" or not file or file == ":memory:":
        return url
    return parsed.set(database=str(folder / file)).render_as_string(hide_password=False)


def keys_of_urls(
    store: str, sinks: Iterable[Any], chains: Mapping[str, ConfiguredChain], alerts: Sequence[str]
) -> frozenset[str]:
    """Every key and password in the addresses of a configuration: those in any table of `sinks` as well."""
    given = [store]
    for table in sinks:
        given += [value for value in asdict(table).values() if isinstance(value, str) and "://" in value]
    for chain in chains.values():
        given += [*chain.rpc, *([chain.websocket] if chain.websocket else [])]
        given += [text for text in chain.settings.values() if isinstance(text, str) and "://" in text]
    found = [keys_in(url) for url in given] + [keys_in(url, host=True) for url in alerts]
    return frozenset[str]().union(*found)


def keys_of_webhooks(projections: Iterable[ProjectionSettings]) -> frozenset[str]:
    targets = [item.target for chosen in projections for item in chosen.webhooks]
    return frozenset(item.secret for item in targets).union(*(keys_in(item.url) for item in targets))
