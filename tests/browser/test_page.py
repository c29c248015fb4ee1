"""The page as somebody uses it: each state, by mouse and by keyboard, with a token and without."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser import states
from tests.browser.conftest import TOKEN
from tests.browser.visit import Visit
from tests.http.site import Town
from tests.servers.npm import MODULES

Sites = Callable[..., tuple[Town, str]]
Visiting = Callable[..., Visit]


RULES = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]


def card(page: Page, name: str) -> Any:
    return page.get_by_role("article", name=name)


def ticking(tab: Visit, path: str = "/") -> Page:
    """The page after three looks at the status, without the seconds between them."""
    tab.page.clock.install()
    page = tab.open(path)
    for _ in range(3):
        with page.expect_response("**/v1/status"):
            page.clock.run_for(2000)
    return page


def test_where_everything_stands(sites: Sites, visiting: Visiting) -> None:
    """Chain, bands, projections, processes: each figure as the API has it."""
    page = visiting(sites("lively")[1]).open()
    expect(page.get_by_role("heading", level=1)).to_have_text("All is well")
    for name in ("Chains", "Projections", "Sinks", "Documents", "Reorganisations", "Failures"):
        expect(page.get_by_role("heading", name=name, level=2)).to_be_visible()
    chain = card(page, "Chain local")
    expect(chain).to_contain_text("at the head")
    bands = chain.get_by_role("img").first
    assert "Covered: to 141; Proven: none; Final: to 110; referrals: to 141" in (
        bands.get_attribute("aria-label") or ""
    )
    row = page.get_by_role("table", name="Projections").get_by_role("row", name="referrals")
    expect(row).to_contain_text("live")
    expect(row.get_by_role("cell").nth(1)).to_have_text("141")
    processes = page.get_by_role("table", name="Processes at work")
    expect(processes.get_by_role("row", name="proves chain 31337")).to_contain_text("1 time")
    sinks = page.get_by_role("table", name="Sinks")
    expect(sinks.get_by_role("row", name="referrals.mongo")).to_contain_text("current")
    expect(sinks.get_by_role("row", name="referrals.redis")).to_contain_text("current")
    expect(page.locator("#failures")).to_contain_text("Nothing failed")
    expect(page.locator("#schedule")).to_contain_text("Nothing is scheduled")


def test_lines_are_drawn_from_what_was_seen(sites: Sites, visiting: Visiting) -> None:
    page = ticking(visiting(sites("restless")[1]))
    for name in ("Logs into the journal, logs/s", "Blocks folded, blocks/s", "Behind the head, blocks"):
        expect(page.get_by_role("img", name=name)).to_be_visible()
    expect(page.locator("#rates figcaption").first).to_contain_text("local 0 logs/s")


def test_a_document_is_found_by_its_address_in_any_case_now_and_then(
    sites: Sites, visiting: Visiting
) -> None:
    page = visiting(sites("restless")[1]).open()
    search = page.get_by_role("search")
    search.get_by_role("searchbox").fill("0X" + states.key(0)[2:].upper())
    search.get_by_role("button", name="Find").click()
    found = card(page, f"Document {states.key(0)}")
    expect(found).to_contain_text("as of block 20")
    search.get_by_label("After block").fill("15")
    search.get_by_role("button", name="Find").click()
    expect(found).to_contain_text("as it was after block 15")
    found.get_by_role("link", name="as it is now").click()
    expect(found).to_contain_text("as of block 20")
    search.get_by_label("After block").fill("3")
    search.get_by_role("button", name="Find").click()
    expect(page.locator("#document")).to_contain_text("What referrals held at block 3 is not kept")
    search.get_by_role("searchbox").fill("0x12")
    search.get_by_role("button", name="Find").click()
    expect(page.locator("#document")).to_contain_text("an address has 40")


def test_a_halted_projection_says_what_to_do(sites: Sites, visiting: Visiting) -> None:
    page = visiting(sites("halted")[1]).open()
    expect(page.get_by_role("heading", level=1)).to_have_text("1 incident")
    expect(page.get_by_role("heading", name="the projection referrals is halted")).to_be_visible()
    failures = page.locator("#failures").get_by_role("listitem")
    expect(failures.nth(0)).to_contain_text("blocks 3 to 5 are missing")
    expect(failures.nth(0)).to_contain_text("chainfold failures retry")
    expect(failures.nth(1)).to_contain_text("referrals is halted at block 40")
    expect(failures.get_by_role("button")).to_have_count(0)
    expect(page.locator("#sinks")).to_contain_text("No sink is configured")


def test_the_first_start_names_the_next_step(sites: Sites, visiting: Visiting) -> None:
    page = visiting(sites("town")[1]).open()
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing has been built yet")
    expect(page.locator("#health-more")).to_contain_text("chainfold sync")
    expect(card(page, "Chain local")).to_contain_text("Nothing was read from this chain yet")
    expect(page.locator("#projections")).to_contain_text("referrals: nothing has been built yet")


def test_a_token_is_asked_for_and_kept_in_this_tab_only(sites: Sites, visiting: Visiting) -> None:
    page = visiting(sites("halted", f'tokens = ["{TOKEN}"]')[1]).open()
    dialog = page.get_by_role("dialog", name="This service needs a token")
    dialog.get_by_label("Token").fill("wrong")
    dialog.get_by_role("button", name="Open").click()
    expect(dialog).to_contain_text("does not take this token")
    dialog.get_by_label("Token").fill(TOKEN)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("1 incident")
    assert page.evaluate("Object.values(sessionStorage)") == [TOKEN]
    assert TOKEN not in page.evaluate("JSON.stringify(localStorage) + document.cookie + location.href")
    page.get_by_role("button", name="Forget token").click()
    expect(dialog).to_be_visible()


def test_a_process_that_serves_no_documents_shows_what_stands(sites: Sites, visiting: Visiting) -> None:
    page = visiting(sites("restless", documents=False)[1]).open()
    expect(page.get_by_role("heading", level=1)).to_have_text("All is well")
    expect(page.locator("#live")).to_contain_text("Every 2 s")
    expect(page.locator("#reorgs")).to_contain_text("none")
    expect(page.get_by_role("heading", name="Documents")).to_be_hidden()


def test_dark_follows_the_system_until_somebody_chooses(sites: Sites, visiting: Visiting) -> None:
    page = visiting(sites("town")[1], color_scheme="dark").open()
    switch = page.get_by_role("switch", name="Dark")
    expect(switch).to_be_checked()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    switch.click()
    expect(switch).not_to_be_checked()
    page.reload()
    expect(switch).not_to_be_checked()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark


def test_everything_is_reached_by_the_keyboard_and_shows_where_it_is(
    sites: Sites, visiting: Visiting
) -> None:
    page = visiting(sites("restless")[1]).open()
    expect(page.get_by_role("search")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    for _ in range(40):
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        if page.evaluate("document.activeElement.id") == "find-key":
            break
    page.keyboard.type(states.key(1))
    page.keyboard.press("Enter")
    expect(card(page, f"Document {states.key(1)}")).to_be_visible()
    expect(page.get_by_role("searchbox")).to_be_focused()


@pytest.mark.parametrize("state", ["restless", "halted", "town"])
def test_on_a_narrow_screen_nothing_runs_over_its_edge(sites: Sites, visiting: Visiting, state: str) -> None:
    page = visiting(sites(state)[1], viewport={"width": 360, "height": 740}).open()
    expect(page.get_by_role("article", name="Chain local")).to_be_visible()
    if state != "town":
        page.goto(f"{page.url}#/referrals/{states.key(0)}")
        expect(card(page, f"Document {states.key(0)}")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize(("state", "theme"), [("lively", "dark"), ("halted", "light")])
def test_axe_finds_nothing(sites: Sites, visiting: Visiting, state: str, theme: str) -> None:
    """The rules of WCAG 2.2 AA, contrast among them."""
    script = MODULES / "axe-core" / "axe.min.js"
    tab = visiting(sites(state)[1], color_scheme=theme, bypass_csp=True)
    page = ticking(tab, f"/#/referrals/{states.key(0)}")
    expect(card(page, f"Document {states.key(0)}")).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("^Behind the head"))).to_be_visible()
    page.add_script_tag(content=script.read_text())
    found = page.evaluate("rules => axe.run({runOnly: rules})", RULES)
    assert [(item["id"], [node["html"] for node in item["nodes"]]) for item in found["violations"]] == []


def test_a_stream_is_understood_in_whatever_pieces_it_comes(sites: Sites, visiting: Visiting) -> None:
    page = visiting(sites("town")[1]).open()
    told = page.evaluate(
        """async (text) => {
            const { parser } = await import("./page/stream.js");
            const told = [text.length, 1, 2, 3].map((size) => {
                const events = [];
                const feed = parser((...event) => events.push(event));
                for (let at = 0; at < text.length; at += size) feed(text.slice(at, at + size));
                return events;
            });
            return told;
        }""",
        ': a heartbeat\n\nid: 7\r\nevent: document\r\ndata: {"a":\r\n'
        "data: 1}\r\n\r\ndata:x\n\nevent: reorg\nda",
    )
    assert told == 4 * [[["document", '{"a":\n1}', "7"], ["message", "x", "7"]]]


def test_a_number_that_a_browser_cannot_hold_is_shown_as_it_was_sent(
    sites: Sites, visiting: Visiting
) -> None:
    page = visiting(sites("town")[1]).open()
    read = """async (text) => (await import("./page/api.js")).parsed(text)"""
    assert page.evaluate(read, '{"a": 9007199254740993, "b": 7, "c": 1.5}') == {
        "a": "9007199254740993",
        "b": 7,
        "c": 1.5,
    }


def test_a_service_that_went_away_is_told(sites: Sites, visiting: Visiting) -> None:
    page = ticking(visiting(sites("halted")[1]))
    page.route("**/v1/**", lambda route: route.abort())
    page.clock.run_for(2000)
    expect(page.get_by_role("alert").first).to_contain_text("The service does not answer.")
    expect(page.locator("#live")).to_contain_text("No answer")
    expect(page.get_by_role("heading", level=1)).to_have_text("1 incident")
    page.unroute("**/v1/**")
    page.clock.run_for(2000)
    expect(page.locator("#trouble")).to_be_empty()
