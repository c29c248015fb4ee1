"""Whether a request that changes something comes from where it may: pure, from its headers alone.

A page of a stranger in somebody's browser can send a POST to any address that the browser reaches: then the
page's own address is in `Origin`. By DNS rebinding it can also pass for a page of this service, under a name
of its own that it points here: then that name is in `Host`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

Headers = Sequence[tuple[bytes, bytes]]

HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::(\d{1,5}))?")
"""A host, in lower case, and its port."""

_PORTS = {"http": "80", "https": "443"}


def foreign(headers: Headers, *, listen: str, hosts: Sequence[str]) -> str | None:
    """Which header of a request names a stranger, in a sentence; None where none does.

    At home are IP addresses and localhost (no page of a stranger has such a host), the host that is listened
    at, and `hosts`. An `Origin` must be the host that was asked, or one of `hosts`; without one no browser
    sent the request for a page.
    """
    said = [value.decode("latin-1") for name, value in headers if name == b"host"]
    if len(said) != 1:
        return f"The request has {len(said)} Host headers; it takes one."
    asked = said[0].strip().lower()
    if not _at_home(asked, listen, hosts):
        return f"Host: {asked[:80]!r} is not a name of this service."
    for name, value in headers:
        origin = value.decode("latin-1").strip().lower()
        if name == b"origin" and not _same(origin, asked, hosts):
            return f"Origin: {origin[:80]!r} is not the page of this service."
    return None


def _at_home(host: str, listen: str, hosts: Sequence[str]) -> bool:
    found = HOST.fullmatch(host)
    if found is None:
        return False
    name = found[1]
    if name in ("localhost", listen.lower()) or name.endswith(".localhost"):
        return True
    if host in hosts or name in hosts:
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _same(origin: str, asked: str, hosts: Sequence[str]) -> bool:
    """Whether an origin is the host that was asked. A proxy may have ended TLS: schemes are not compared, and
    the scheme's own port counts as no port."""
    scheme, _, there = origin.partition("://")
    if scheme not in _PORTS or HOST.fullmatch(there) is None:
        return False
    bare = there.removesuffix(f":{_PORTS[scheme]}")
    if bare in hosts:
        return True
    return bare in (asked, asked.removesuffix(":80"), asked.removesuffix(":443"))
