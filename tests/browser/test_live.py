"""What happens while the page is open: the stream says so, which may break and is resumed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import expect

from projections.service.embedded.servers import free_port
from tests.browser import states
from tests.browser.conftest import TOKEN
from tests.browser.visit import Visit
from tests.http.site import Town

Sites = Callable[..., tuple[Town, str]]
Visiting = Callable[..., Visit]


def test_what_changes_is_told_at_once(sites: Sites, visiting: Visiting) -> None:
    town, base = sites("restless")
    tip = town.chain.head().number
    page = visiting(base).open(f"/#/referrals/{states.key(0)}")
    expect(page.locator("#live")).to_have_text("Live")
    document = page.get_by_role("article", name=f"Document {states.key(0)}")
    expect(document).to_contain_text(f"as of block {tip}")
    town.mine((states.person(300), states.person(0)))
    town.sync()
    changes = page.locator("#activity").get_by_role("listitem")
    expect(changes.filter(has_text=states.key(300))).to_contain_text(f"block {tip + 1}")
    expect(document).to_contain_text(f"as of block {tip + 1}")


def test_a_reorg_is_seen_with_what_it_orphaned(sites: Sites, visiting: Visiting) -> None:
    town, base = sites("restless")
    page = visiting(base).open()
    reorgs = page.locator("#reorgs")
    expect(reorgs).to_contain_text("No reorg was seen")
    tip = town.chain.head().number
    town.chain.reorg(depth=2, logs=[[], [states.joined(301, 0, 1)], []])
    town.sync()
    expect(reorgs.get_by_role("listitem")).to_contain_text(f"blocks {tip - 1} – {tip}")
    expect(page.locator("#said")).to_contain_text("A reorg of local replaced 2 blocks")
    expect(reorgs.get_by_role("img")).to_be_visible()
    reorgs.get_by_role("button", name="orphaned").click()
    expect(reorgs.get_by_role("table").get_by_role("row").nth(1)).to_contain_text("ReferralRegistered")
    row = page.get_by_role("table", name="Projections").get_by_role("row", name="referrals")
    expect(row.get_by_role("cell").nth(1)).to_have_text(str(tip + 1))


def test_a_stream_that_broke_goes_on_where_it_was(tmp_path: Path, visiting: Visiting) -> None:
    town = states.restless(tmp_path)
    port = free_port()
    tab = visiting(f"http://127.0.0.1:{port}")
    asked: list[str | None] = []
    tab.page.on(
        "request",
        lambda request: (
            asked.append(request.header_value("last-event-id")) if "stream" in request.url else None
        ),
    )
    with town.serving(port=port):
        page = tab.open()
        expect(page.locator("#live")).to_have_text("Live")
    expect(page.locator("#live")).to_have_text(re.compile("No answer|Connection lost"))
    town.mine((states.person(300), states.person(0)))
    town.sync()
    with town.serving(port=port):
        expect(page.locator("#live")).to_have_text("Live", timeout=40_000)
        expect(page.locator("#activity")).to_contain_text(states.key(300))
        expect(page.locator("#trouble")).to_be_empty()
    assert asked[0] is None
    assert asked[-1]
    town.close()


def test_who_has_a_token_may_try_again(sites: Sites, visiting: Visiting) -> None:
    page = visiting(sites("halted", f'tokens = ["{TOKEN}"]')[1]).open()
    page.get_by_role("textbox", name="Token").fill(TOKEN)
    page.keyboard.press("Enter")
    gap = page.locator("#failures").get_by_role("listitem").first
    gap.get_by_role("button", name="Try again").click()
    expect(gap).to_contain_text("Asked for: no process does this work now")
    expect(gap.get_by_role("button", name="Try again")).to_be_enabled()
