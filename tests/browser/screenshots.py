"""Pictures of the page, into docs/screenshots/: `python -m tests.browser.screenshots`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, expect
from redis import Redis

from projections.service.embedded.servers import EmbeddedMongo, EmbeddedRedis
from tests.browser import states, visit
from tests.http.site import Town
from tests.servers.mongo import Mongo

FOLDER = Path("docs/screenshots")
LARGEST = 200_000
LOOKS = 45
"""Looks at the status that the lines are drawn of."""


class Studio:
    """A browser, sinks, and a folder for each town."""

    def __init__(self, opened: ExitStack) -> None:
        self._opened = opened
        self._folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        self._count = 0
        self.browser: Browser = opened.enter_context(visit.browser())
        self.mongo = opened.enter_context(EmbeddedMongo(self.folder())).url
        self.redis = opened.enter_context(EmbeddedRedis(self.folder())).url

    def folder(self) -> Path:
        self._count += 1
        made = self._folder / str(self._count)
        made.mkdir()
        return made

    def lively(self) -> Town:
        """With both sinks, and its final blocks proved."""
        mongo = Mongo(self.mongo, f"shown{self._count}")
        with Redis.from_url(self.redis) as client:
            client.flushall()
        town = states.lively(self.folder(), mongo=mongo, redis=self.redis, sealed=True)
        self._opened.callback(town.close)
        chainfold = Path(sys.executable).with_name("chainfold")
        known = os.environ | {"CHAINFOLD_CONFIG": str(town.configured())}
        subprocess.run([chainfold, "verify", "events"], env=known, check=True, stdout=subprocess.DEVNULL)
        return town

    def other(self, state: Callable[..., Town]) -> Town:
        town = state(self.folder())
        self._opened.callback(town.close)
        return town

    @contextmanager
    def looking(
        self, town: Town, theme: str, path: str = "/", *, height: int, looks: int = 0
    ) -> Iterator[Page]:
        """The page, with a clock that has to be turned by hand and is right after so many looks."""
        with states.at_work(town), town.serving() as api:
            size = {"width": 1280, "height": height}
            tab = visit.Visit(self.browser, str(api.base_url), color_scheme=theme, viewport=size)
            tab.page.clock.install(time=time.time() - 2 * looks)
            page = tab.open(path)
            expect(page.locator("#tiles")).to_contain_text("Head")
            yield page
            tab.end()


def look(page: Page) -> None:
    with page.expect_response("**/v1/status"):
        page.clock.run_for(2000)


def keep(page: Page, name: str, theme: str, part: str | None = None) -> None:
    if part is not None:
        page.locator(part).evaluate("part => part.scrollIntoView({behavior: 'instant'})")
    else:
        page.evaluate("scrollTo({top: 0, behavior: 'instant'})")
    page.mouse.move(0, 0)
    path = FOLDER / f"{name}-{theme}.png"
    page.screenshot(path=path)
    assert path.stat().st_size < LARGEST, f"{path} has {path.stat().st_size:,} bytes"
    sys.stdout.write(f"{path} {path.stat().st_size:,}\n")


def following(studio: Studio, theme: str) -> None:
    """With data: a chain that is followed for a minute and a half, then the documents."""
    town = studio.lively()
    with studio.looking(town, theme, f"/#/referrals/{states.key(0)}", height=1000, looks=LOOKS) as page:
        for number in range(LOOKS):
            if number % 3 == 0:
                town.mine(
                    *((states.person(2000 + 9 * number + i), states.person(i)) for i in range(number % 4))
                )
            if number % 4 == 0:
                town.sync()
            look(page)
        page.clock.run_for(3000)
        expect(page.locator("#history")).to_contain_text("ReferralRegistered")
        keep(page, "overview", theme)
        keep(page, "documents", theme, "#documents")


def reorganised(studio: Studio, theme: str) -> None:
    """The chain replaces blocks while the page is open."""
    town = studio.lively()
    with studio.looking(town, theme, height=620) as page:
        look(page)
        now = time.time()
        town.chain.reorg(depth=4, logs=[[states.joined(700 + number, 2, now)] for number in range(5)])
        town.sync()
        reorgs = page.locator("#reorgs")
        while reorgs.get_by_role("listitem").count() < 3:
            look(page)
        reorgs.get_by_role("button", name="orphaned").first.click()
        expect(reorgs.get_by_role("table")).to_contain_text("ReferralRegistered")
        keep(page, "reorg", theme, "#reorgs")


def standing(studio: Studio, name: str, state: Callable[..., Town], theme: str, height: int) -> None:
    with studio.looking(studio.other(state), theme, height=height) as page:
        for _ in range(3):
            look(page)
        keep(page, name, theme)
        if name == "halted":
            keep(page, "failures", theme, "#failures")


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with ExitStack() as opened:
        studio = Studio(opened)
        for theme in ("light", "dark"):
            following(studio, theme)
            reorganised(studio, theme)
            standing(studio, "halted", states.halted, theme, 700)
            standing(studio, "first-start", states.town, theme, 700)


if __name__ == "__main__":
    main()
