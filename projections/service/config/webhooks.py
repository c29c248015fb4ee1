"""`[[projections.NAME.webhook]]` as it is used: checked, in seconds, with its condition understood."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from msgspec import Struct

from projections.errors import ConfigurationError
from projections.service.config.tables import WebhookTable
from projections.webhooks.post import Target
from projections.webhooks.rule import Rule, parse

LEAST_SECRET = 16
"""Characters; a shorter secret can be guessed from one message that was overheard."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,49}")


class Webhook(Struct, frozen=True):
    """One rule and whom it tells; with `backfill` what was so before it began is news as well."""

    rule: Rule
    target: Target
    backfill: bool


def webhooks(
    given: Sequence[WebhookTable], where: str, *, follow: str, seconds: Callable[[str, str], float]
) -> tuple[Webhook, ...]:
    """The webhooks of a projection, checked; `ConfigurationError` naming the path of what is wrong."""
    if given and follow != "finalized":
        raise ConfigurationError(
            f"{where}.webhook needs {where}.follow to be finalized: what was sent cannot be taken back.",
            hint='Write follow = "finalized", or make a second projection that has it, for the webhooks.',
        )
    made: list[Webhook] = []
    for place, table in enumerate(given):
        at = f"{where}.webhook[{place}]"
        if not _NAME.fullmatch(table.name):
            raise ConfigurationError(
                f"{at}.name: {table.name!r} is not a name: at most 50 lower-case letters, digits, - and _."
            )
        if any(other.rule.name == table.name for other in made):
            raise ConfigurationError(f"{at}.name: {table.name} is there twice.")
        if len(table.secret) < LEAST_SECRET:
            raise ConfigurationError(
                f"{at}.secret has fewer than {LEAST_SECRET} characters.",
                hint="Let a password generator make one, and keep it out of the file: ${WEBHOOK_SECRET}.",
            )
        if table.attempts < 1:
            raise ConfigurationError(f"{at}.attempts: {table.attempts} is less than one.")
        made.append(
            Webhook(
                Rule(table.name, parse(table.when, f"{at}.when")),
                Target(
                    _url(table.url, f"{at}.url"),
                    table.secret,
                    seconds(table.timeout, f"{at}.timeout"),
                    table.attempts,
                ),
                table.backfill,
            )
        )
    return tuple(made)


def _url(url: str, where: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # its words may quote what is secret
        usable = False
    if not usable:
        raise ConfigurationError(f"{where} is not an address of the form https://host/path.")
    return url
