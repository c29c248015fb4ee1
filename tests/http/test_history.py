"""What was learned and what was made of it, over HTTP: the audit, reorgs, a document's history, totals."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.http.site import CHECKSUMMED, CONTRACT, Town, address


def pages(api: httpx.Client, path: str, name: str, **asked: Any) -> list[dict[str, Any]]:
    """All rows of an answer, page by page."""
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        answer = api.get(path, params={"limit": 7, **asked} | ({"cursor": cursor} if cursor else {}))
        assert answer.status_code == 200, answer.text
        found += answer.json()[name]
        cursor = answer.json()["next"]
        if cursor is None:
            return found


@pytest.fixture
def forked(town: Town) -> Town:
    """Blocks 26 to 30 left the chain, with a registration each; others took their place."""
    town.chain.reorg(5)
    for number in range(6):
        town.mine((100 + number, 1), (200 + number, 2))
    town.sync()
    return town


def test_the_audit_shows_every_log_once_whatever_the_page(api: httpx.Client) -> None:
    up = pages(api, "/v1/events", "events")
    assert [item["block"] for item in up] == list(range(1, 31))
    assert pages(api, "/v1/events", "events", order="desc") == up[::-1]
    first = up[0]
    assert (first["event"], first["args"]["user"]) == ("ReferralRegistered", address(2))
    assert (first["chain"], first["orphaned_by"]) == ("local", None)


def test_the_audit_finds_by_each_of_its_parameters(api: httpx.Client) -> None:
    def found(**asked: Any) -> list[dict[str, Any]]:
        return pages(api, "/v1/events", "events", **asked)

    assert [item["block"] for item in found(from_block=5, to_block=7)] == [5, 6, 7]
    assert [item["block"] for item in found(user=address(31))] == [30]
    [one] = found(from_block=9, to_block=9)
    assert found(tx=one["tx_hash"]) == [one]
    assert len(found(contract="referral", event="ReferralRegistered", chain="local")) == 30
    assert found(event="ReferralRemoved") == []
    assert len(found(address="0x" + CONTRACT.hex().upper())) == 30
    assert found(address=CHECKSUMMED) == []
    assert found(as_of=0) == []


def test_what_left_the_chain_is_found_with_its_reorg(forked: Town) -> None:
    with forked.serving() as api:
        [reorg] = pages(api, "/v1/chains/local/reorgs", "reorgs")
        assert (reorg["first_block"], reorg["last_block"], reorg["blocks"], reorg["logs"]) == (26, 30, 5, 5)
        assert reorg["events"] == {"ReferralRegistered": 5}
        gone = pages(api, "/v1/events", "events", status="orphaned")
        assert [item["block"] for item in gone] == list(range(26, 31))
        assert {item["orphaned_by"] for item in gone} == {reorg["entry"]}
        assert pages(api, "/v1/events", "events", orphaned_by=reorg["entry"]) == gone
        assert len(pages(api, "/v1/events", "events", status="all", order="desc")) == 25 + 5 + 12
        before = pages(api, "/v1/events", "events", as_of=reorg["entry"] - 1)
        assert [item["block"] for item in before] == list(range(1, 31))


def test_reorgs_come_page_by_page_newest_first(forked: Town) -> None:
    for depth in (1, 2):
        forked.chain.reorg(depth)
        for _ in range(3):
            forked.mine((300, 1))
        forked.sync()
    with forked.serving() as api:
        found = pages(api, "/v1/chains/local/reorgs", "reorgs", limit=1)
        assert [item["blocks"] for item in found] == [2, 1, 5]


def test_a_history_is_every_event_that_changed_the_document_newest_first(forked: Town) -> None:
    with forked.serving() as api:
        path = f"/v1/referrals/{address(1)}"
        found = pages(api, f"{path}/history", "events")
        now = api.get(path, params={"full": "true"}).json()
        assert found[0]["after"] == now
        counts = [item["after"]["level1Count"] for item in found]
        assert (counts[0], counts[-1]) == (now["level1Count"], 1)
        assert [(item["block"], item["log_index"]) for item in found] == sorted(
            ((item["block"], item["log_index"]) for item in found), reverse=True
        )
        assert not {address(number) for number in range(27, 32)} & {item["args"]["user"] for item in found}
        removed = api.get(f"/v1/referrals/{address(31)}/history")
        assert removed.status_code == 404  # the blocks that named it are gone


def test_a_history_of_too_many_events_is_of_those_that_name_the_key_and_says_so(town: Town) -> None:
    with town.serving("max_replay = 10") as api:
        answer = api.get(f"/v1/referrals/{address(3)}/history").json()
        assert answer["complete"] is False
        assert {item["after"] for item in answer["events"]} == {None}
        assert [item["args"]["user"] for item in answer["events"]] == [address(4), address(3)]
        found = pages(api, f"/v1/referrals/{address(1)}/history", "events")
        assert found == sorted(found, key=lambda item: -item["block"])
        assert len(found) == api.get(f"/v1/referrals/{address(1)}").json()["level1Count"]


def test_totals_are_what_the_documents_add_up_to(town: Town) -> None:
    with town.serving() as api:
        found = api.get("/v1/referrals/stats")
        every = api.get("/v1/referrals", params={"limit": 100}).json()["documents"]
        assert found.json()["documents"] == 31
        assert found.json()["sums"] == {
            name: sum(item[name] for item in every) for name in ("level1Count", "level2Count")
        }
        assert found.json()["block"] == 30
        assert found.json()["digest"] == api.get("/v1/status").json()["projections"]["referrals"]["digest"]


@pytest.mark.parametrize(
    ("path", "asked", "status", "said"),
    [
        ("/v1/events", {"chain": "moon"}, 400, "no chain moon"),
        ("/v1/events", {"contract": "moon"}, 400, "no contract moon"),
        ("/v1/events", {"event": "Moon"}, 400, "declares an event Moon"),
        ("/v1/events", {"user": "0x1"}, 400, "40"),
        ("/v1/events", {"tx": "0x1"}, 400, "64 hexadecimal digits"),
        ("/v1/events", {"from_block": 9, "to_block": 8}, 422, "above to_block"),
        ("/v1/events", {"from_block": -1}, 400, "from_block"),
        ("/v1/events", {"as_of": 10_000}, 409, "ends at entry"),
        ("/v1/events", {"status": "lost"}, 400, "status"),
        ("/v1/events", {"limit": 501}, 400, "limit"),
        ("/v1/events", {"cursor": "x"}, 400, "not a cursor of this API"),
        ("/v1/events", {"colour": "red"}, 400, "colour is not a parameter"),
        ("/v1/chains/moon/reorgs", {}, 404, "no chain moon"),
        ("/v1/chains/local/reorgs", {"cursor": "x"}, 400, "not a cursor of this API"),
        ("/v1/referrals/0x1/history", {}, 400, "40"),
        (f"/v1/referrals/{address(999)}/history", {}, 404, "No event made"),
        (f"/v1/referrals/{address(1)}/history", {"cursor": "x"}, 400, "not a cursor of this API"),
        ("/v1/referrals/stats", {"full": "true"}, 400, "full is not a parameter"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_sentence(
    api: httpx.Client, path: str, asked: dict[str, Any], status: int, said: str
) -> None:
    answer = api.get(path, params=asked)
    assert answer.status_code == status, answer.text
    assert said in answer.json()["error"]
    assert set(answer.json()) == {"error", "hint", "retry"}


def test_a_cursor_of_the_other_direction_is_refused(api: httpx.Client) -> None:
    cursor = api.get("/v1/events", params={"limit": 1}).json()["next"]
    answer = api.get("/v1/events", params={"limit": 1, "order": "desc", "cursor": cursor})
    assert answer.status_code == 422
