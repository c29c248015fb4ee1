"""What of an address may be shown: never the key, the user or the password that it carries."""

from __future__ import annotations

from urllib.parse import urlsplit


def public(url: str) -> str:
    """The scheme, host and port of `url`; RPC keys live in the rest, so the rest becomes `/...`."""
    parts = urlsplit(url)
    if parts.scheme.startswith("sqlite"):
        return url
    hosts = parts.netloc.rpartition("@")[2] or "..."
    rest = "/..." if parts.path.strip("/") or parts.query else ""
    return f"{parts.scheme}://{hosts}{rest}"
