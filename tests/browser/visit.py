"""A browser over the page: every request that it makes and every word of its console is kept."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.servers import missing

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 15_000
"""Milliseconds that what is to come may take: the machine runs other tests as well."""

REFUSAL = re.compile(r"Failed to load resource: (the server .* of (400|401|404|422|503)\b|net::ERR_)")
"""The browser's own note of an error status, which the page shows as a sentence."""


@contextmanager
def browser() -> Iterator[Browser]:
    """Debian's Chromium, without a window; skips where it is not installed, but not in CI."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        missing("chromium (`make browser` installs it from Debian)")
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as play:
        started = play.chromium.launch(executable_path=program)
        yield started
        started.close()


class Visit:
    """One tab; `end` fails where it asked another host or said an error."""

    def __init__(self, started: Browser, base: str, **options: Any) -> None:
        self.base = base
        self.context = started.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.asked: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._said)

    def open(self, path: str = "/") -> Page:
        self.page.goto(self.base + path)
        return self.page

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not REFUSAL.search(message.text):
            self.errors.append(message.text)

    def end(self) -> None:
        self.context.close()
        hosts = {urlsplit(url).netloc for url in self.asked}
        assert hosts <= {urlsplit(self.base).netloc}, hosts
        assert not self.errors, self.errors
