"""Documents on the page: their trees, their histories, the ranking."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, expect

from tests.browser import states
from tests.browser.visit import Visit
from tests.http.site import Town

Sites = Callable[..., tuple[Town, str]]
Visiting = Callable[..., Visit]


def card(page: Page, name: str) -> Any:
    return page.get_by_role("article", name=name)


def test_a_document_has_its_tree_and_its_history(sites: Sites, visiting: Visiting) -> None:
    page = visiting(sites("restless")[1]).open(f"/#/referrals/{states.key(1)}")
    expect(card(page, f"Document {states.key(1)}")).to_be_visible()
    tree = page.get_by_role("group", name="Tree", exact=True)
    expect(tree.get_by_role("link", name=re.compile(states.key(3)))).to_be_visible()
    history = page.get_by_role("table", name=f"History of {states.key(1)}")
    rows = history.get_by_role("row")
    expect(rows).to_have_count(11)
    expect(rows.nth(1)).to_contain_text("ReferralRegistered")
    expect(rows.nth(1)).to_contain_text(re.compile(r"level\dCount \d+ → \d+"))
    page.get_by_role("button", name="Show earlier events").click()
    expect(rows).to_have_count(16)
    tree.get_by_role("link", name=re.compile(states.key(0))).click()
    expect(card(page, f"Document {states.key(0)}")).to_be_visible()
    assert page.url.endswith(f"#/referrals/{states.key(0)}")
    page.go_back()
    expect(card(page, f"Document {states.key(1)}")).to_be_visible()


def test_the_ranking_leads_to_documents_page_by_page(sites: Sites, visiting: Visiting) -> None:
    page = visiting(sites("lively")[1]).open()
    ranking = page.get_by_role("table", name="referrals by level1Count")
    expect(ranking.get_by_role("row").nth(1)).to_contain_text("55")
    expect(card(page, f"Document {states.key(0)}")).to_be_visible()  # the first is shown without a choice
    expect(page.locator("#leaders")).to_contain_text("referrals in all")
    page.get_by_role("button", name="Next").click()
    expect(ranking.get_by_role("row").nth(1)).to_contain_text("11")
    ranking.get_by_role("link").nth(2).click()
    expect(page).to_have_url(re.compile("#/referrals/0x"))


def test_without_mongodb_the_ranking_says_what_it_needs(sites: Sites, visiting: Visiting) -> None:
    page = visiting(sites("halted")[1]).open(f"/#/referrals/{states.key(0)}")
    expect(page.locator("#leaders")).to_contain_text("Published into MongoDB, it is ranked")
    expect(page.get_by_role("group", name="Tree", exact=True)).to_be_visible()
