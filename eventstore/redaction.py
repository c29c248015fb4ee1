"""What of an address may be shown: never the key, the user or the password that it carries."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")
_WORDS = re.compile(r"[^/?#&=@:;,\s]+")
_KEY = re.compile(r"(?=.*\d)\S{6,}|(?=.*[a-z])(?=.*[A-Z])\S{6,}|\S{16,}")
"""What looks like a key among the parts of an address, and not like a word: v3, mainnet."""
_SHORT = 4
"""A password shorter than this cannot be distinguished from other letters."""
_LONG = 8
"""A part of a path shorter than this is a word, unless it looks like a key."""


def public(url: str) -> str:
    """The scheme, host and port of `url`; RPC keys live in the rest, so the rest becomes `/...`."""
    parts = urlsplit(url)
    if parts.scheme.startswith("sqlite"):
        return url
    hosts = parts.netloc.rpartition("@")[2] or "..."
    rest = "/..." if parts.path.strip("/") or parts.query else ""
    return f"{parts.scheme}://{hosts}{rest}"


def keys_in(url: str, *, host: bool = False) -> set[str]:
    """The parts of an address that may be secrets: its password, and what follows the host and looks
    like a key. With `host` that too where it is not the name of a host: some services write a token there."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return {url}
    if parts.scheme.startswith("sqlite"):
        return set()
    user, _, there = parts.netloc.rpartition("@")
    password = user.partition(":")[2]
    words = _WORDS.findall(
        f"{user} {there if host and '.' not in there else ''} {parts.path} {parts.query} {parts.fragment}"
    )
    found = {word for word in words if _KEY.fullmatch(word)}
    if len(password) >= _SHORT:
        found.add(password)
    return found | {unquote(word) for word in found}


def secrets_in(url: str, *, host: bool = False) -> set[str]:
    """All that may be secret in what is said of this one address: the whole of it, what follows its host,
    each value of its query, each longer part of its path, and what `keys_in` finds."""
    found = {url} | keys_in(url, host=host)
    try:
        parts = urlsplit(url)
    except ValueError:
        return found
    rest = parts.path + (f"?{parts.query}" if parts.query else "")
    values = [value for pair in parts.query.split("&") for value in pair.split("=")[1:]]
    long = [part for part in parts.path.split("/") if len(part) >= _LONG]
    return found | {part for part in (rest, parts.query, *values, *long) if len(part) >= _SHORT}


def hidden(said: str, secrets: Iterable[str]) -> str:
    """`said` with `...` for each of these secrets."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        said = said.replace(secret, "...")
    return said


def scrubbed(said: str, secrets: Iterable[str]) -> str:
    """`said` without these secrets, and with no address in it beyond scheme, host and port."""
    return hidden(_URL.sub(lambda found: _shortened(found.group()), said), secrets)


def _shortened(url: str) -> str:
    """An address in a sentence; what cannot be parsed is not shown at all."""
    bare = url.rstrip(".,;:)]}`")
    try:
        return public(bare) + url[len(bare) :]
    except ValueError:
        return "..."
