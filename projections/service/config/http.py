"""`[http]` as it is used: checked, in seconds, with its limits."""

from __future__ import annotations

import re

import msgspec
from msgspec import Struct

from projections.errors import ConfigurationError
from projections.service.config.tables import HttpTable
from projections.service.config.values import ReadDuration

"""Reads a duration, given with the place where it is written, as seconds. Raises `ConfigurationError` if it
is not a duration."""

TAKEN = frozenset({"chains", "events", "projections", "retry", "status", "stream"})
"""What stands at `/v1/...` by itself: no projection that is served there may be called so."""

SHORTEST = 16
"""Characters of a token: a shorter one is guessed."""


class Http(Struct, frozen=True):
    """Where the service listens, and what it lets anybody ask of it.

    `hosts` are the names under which it is asked to change something, beside its own address. `max_body`
    bytes of a request, `max_page` rows of an answer, `max_replay` events folded again for one
    answer, `max_streams` streams at a time, `max_wait` seconds for freshness, `max_lag` seconds behind the
    chain at which it is no longer ready (None: never), `requests_per_second` of one client (None: any).
    """

    host: str
    port: int
    tokens: tuple[str, ...]
    cors: tuple[str, ...]
    hosts: tuple[str, ...]
    max_body: int
    max_page: int
    max_replay: int
    max_streams: int
    max_wait: float
    max_lag: float | None
    requests_per_second: float | None


def http(table: HttpTable, seconds: ReadDuration) -> Http:
    """`[http]`, checked. Complaints never show a token."""
    host, port = address(table.listen, "http.listen")
    for place, token in enumerate(table.tokens):
        if len(token) < SHORTEST or not token.isascii() or not token.isprintable() or " " in token:
            raise ConfigurationError(
                f"http.tokens[{place}] is not a token: {SHORTEST} or more visible characters of ASCII.",
                hint='Draw one with `python -c "import secrets; print(secrets.token_urlsafe(32))"`.',
            )
    for place, origin in enumerate(table.cors):
        if origin != "*" and not re.fullmatch(r"https?://[^\s/]+", origin):
            raise ConfigurationError(
                f"http.cors[{place}]: {origin!r} is not an origin.", hint="Write https://app.example, or *."
            )
    for place, name in enumerate(table.hosts):
        if not re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(:\d{1,5})?", name):
            raise ConfigurationError(
                f"http.hosts[{place}]: {name!r} is not a host.",
                hint="Write api.example.com, or with its port.",
            )
    for name, least in (("max_body", 1), ("max_page", 1), ("max_replay", 0), ("max_streams", 0)):
        number = getattr(table, name)
        if not least <= number < 2**31:
            raise ConfigurationError(f"http.{name}: {number} is not between {least} and 2^31 - 1.")
    rate = table.requests_per_second
    if rate is not None and not 0 < rate < float("inf"):
        raise ConfigurationError(f"http.requests_per_second: {rate} is not a number above zero.")
    return Http(
        host,
        port,
        tuple(table.tokens),
        tuple(table.cors),
        tuple(name.lower() for name in table.hosts),
        table.max_body,
        table.max_page,
        table.max_replay,
        table.max_streams,
        seconds(table.max_wait, "http.max_wait"),
        None if table.max_lag is None else seconds(table.max_lag, "http.max_lag"),
        rate,
    )


def elsewhere(configured: Http | None, listen: str) -> Http:
    """The same, listening at `--listen`."""
    if configured is None:
        raise ConfigurationError(
            f"--listen {listen}, and there is no [http] in the configuration.", hint="Add [http]."
        )
    host, port = address(listen, "--listen")
    return msgspec.structs.replace(configured, host=host, port=port)


def address(listen: str, where: str) -> tuple[str, int]:
    """Host and port of `127.0.0.1:8080` or `[::1]:8080`."""
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):(\d{1,5})", listen)
    if found is None or int(found.group(2)) > 65_535:
        raise ConfigurationError(
            f"{where}: {listen!r} is not an address with a port.", hint="Write 127.0.0.1:8080."
        )
    return found.group(1).strip("[]"), int(found.group(2))
