"""The requests library as alert services use it, with a cap on how much of an answer is read."""

from __future__ import annotations

import sys
from typing import Any

import requests

LONGEST_ANSWER = 65_536
"""Bytes that are read of what a service answers; the rest is not waited for, and nothing is unpacked."""


class CappedRequests:
    """Stands for the module `requests` within one plug-in: all of it, its calls capped."""

    def __getattr__(self, name: str) -> Any:
        if name in ("get", "post", "put", "patch", "delete", "head", "options"):
            return lambda url, **given: self.request(name.upper(), url, **given)
        return getattr(requests, name)

    def request(self, method: str, url: str, **given: Any) -> requests.Response:
        """As `requests.request`; the answer's content ends at the cap."""
        headers = {**(given.pop("headers", None) or {}), "Accept-Encoding": "identity"}
        answer = requests.request(method, url, headers=headers, **{**given, "stream": True})
        try:
            answer._content = answer.raw.read(LONGEST_ANSWER, decode_content=False)
            answer._content_consumed = True
        finally:
            answer.close()
        return answer


def cap(plugin: object) -> None:
    """Has the module of this object call requests with the cap, if it calls requests."""
    module = sys.modules[type(plugin).__module__]
    if getattr(module, "requests", None) is requests:
        module.requests = CappedRequests()  # type: ignore[attr-defined]
