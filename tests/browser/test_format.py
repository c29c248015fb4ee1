"""How the page writes values of any size: a legal value may look odd, and breaks nothing."""

from __future__ import annotations

from collections.abc import Callable

from tests.browser.visit import Visit
from tests.http.site import Town

WHEN = """async (text) => {
  const { when } = await import("./page/format.js");
  const { parsed } = await import("./page/api.js");
  const written = when(parsed(text));
  return [written.title, written.textContent];
}"""

TITLES = {
    0: "1970-01-01 00:00:00 UTC",
    2**31: "2038-01-19 03:14:08 UTC",
    253_402_300_800: "+010000-01-01 00:00:00 UTC",
    8_640_000_000_000: "+275760-09-13 00:00:00 UTC",
}
BEYOND = (8_640_000_000_001, 2**48, 2**63 - 1, -(2**63))


def test_every_time_of_a_block_or_a_document_can_be_written(
    sites: Callable[..., tuple[Town, str]], visiting: Callable[..., Visit]
) -> None:
    """A time outside the calendar is written as its seconds, to the last digit."""
    page = visiting(sites("lively")[1]).open()
    for seconds, title in TITLES.items():
        assert page.evaluate(WHEN, str(seconds))[0] == title
    for seconds in BEYOND:
        assert page.evaluate(WHEN, str(seconds)) == ["seconds since 1970", f"{seconds:,} s"]
