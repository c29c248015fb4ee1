"""Lists over HTTP: by value, by order, page by page, from MongoDB and from the store."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.http.site import CHECKSUMMED, Town, address

FEW = [address(number) for number in range(1, 32)]


def every(api: httpx.Client, **asked: Any) -> list[dict[str, Any]]:
    """All documents of a list, page by page."""
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        asked |= {"cursor": cursor} if cursor else {}
        answer = api.get("/v1/referrals", params={"limit": 4, **asked})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert len(page["documents"]) <= 4
        found += page["documents"]
        cursor = page["next"]
        if cursor is None:
            return found


def test_all_documents_come_in_the_order_of_keys(api: httpx.Client) -> None:
    found = every(api)
    assert [item["address"] for item in found] == FEW
    assert found[1] == api.get(f"/v1/referrals/{address(2)}", params={"full": "true"}).json()


def test_a_list_says_of_which_block_it_is_and_who_answered(api: httpx.Client) -> None:
    answer = api.get("/v1/referrals", params={"limit": 1})
    page = answer.json()
    assert (page["block"], page["source"]) == (30, "mongo")
    assert answer.headers["x-chainfold-block"] == "30"
    assert answer.headers["x-chainfold-revision"] == str(page["revision"])


def test_who_was_referred_by_somebody_one_and_two_levels_down(api: httpx.Client) -> None:
    one = every(api, directReferrer=address(1))
    assert [item["address"] for item in one] == [a for a in FEW if int(a, 16) == 2 or int(a, 16) % 2 == 1][1:]
    two = every(api, indirectReferrer=address(1))
    assert {item["directReferrer"] for item in two} <= {item["address"] for item in one}
    top = api.get(f"/v1/referrals/{address(1)}").json()
    assert (top["level1Count"], top["level2Count"]) == (len(one), len(two))


def test_an_address_to_find_by_is_taken_in_any_case(api: httpx.Client) -> None:
    assert every(api, directReferrer=address(1).upper().replace("0X", "0x")) == every(
        api, directReferrer=address(1)
    )


@pytest.mark.parametrize("sort", ["level1Count", "-level1Count", "indirectReferrer", "-indirectReferrer"])
def test_a_sorted_list_loses_and_repeats_nothing_between_pages(api: httpx.Client, sort: str) -> None:
    """Also where many share a value, and where it is null."""
    found = every(api, sort=sort)
    field, down = sort.removeprefix("-"), sort.startswith("-")

    def rank(item: dict[str, Any]) -> Any:
        value = item[field]
        return (value is not None, value if value is not None else 0 if field == "level1Count" else "")

    by_key = sorted(found, key=lambda item: item["address"])
    assert [item["address"] for item in by_key] == FEW
    assert found == sorted(by_key, key=rank, reverse=down)


def test_a_value_that_changes_between_two_pages_hides_nobody_who_stood_still(town: Town) -> None:
    with town.serving() as api:
        first = api.get("/v1/referrals", params={"limit": 10}).json()
        town.mine((2, 5), (500, 1))
        town.sync()
        rest = api.get("/v1/referrals", params={"limit": 100, "cursor": first["next"]}).json()
        seen = [item["address"] for item in first["documents"] + rest["documents"]]
        assert seen == [*FEW, address(500)]


def test_freshness_of_a_list_is_waited_for(town: Town) -> None:
    with town.serving('max_wait = "20s"') as api:
        town.mine((77, 1))
        town.sync()
        page = api.get("/v1/referrals", params={"min_block": 31, "limit": 100}).json()
        assert address(77) in [item["address"] for item in page["documents"]]
        assert page["block"] == 31
    with town.serving('max_wait = "100ms"') as api:
        assert api.get("/v1/referrals", params={"min_block": 32}).status_code == 503


def test_the_store_lists_by_key_and_one_index_where_there_is_no_mongodb(plain_town: Town) -> None:
    with plain_town.serving() as api:
        [item] = api.get("/v1/projections").json()
        assert (item["filters"], item["sorts"]) == (["directReferrer"], ["address"])
        assert [item["address"] for item in every(api)] == FEW
        assert {item["directReferrer"] for item in every(api, directReferrer=address(1))} == {address(1)}
        assert api.get("/v1/referrals", params={"limit": 1}).json()["source"] == "store"
        assert api.get("/v1/referrals", params={"sort": "-address"}).status_code == 422


def test_mongodb_that_is_away_leaves_what_the_store_can_list(town: Town) -> None:
    town.move(mongo="mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=50&directConnection=true")
    with town.serving() as api:
        assert [item["address"] for item in every(api)] == FEW
        answer = api.get("/v1/referrals", params={"sort": "-level1Count"})
        assert (answer.status_code, answer.json()["retry"]) == (503, True)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 501}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"sort": "updatedAt"}, "sort"),
        ({"directReferrer": "0x12"}, "an address has 40"),
        ({"directReferrer": CHECKSUMMED.replace("E7", "e7")}, "checksum"),
        ({"level1Count": "three"}, "level1Count"),
        ({"level1Count": 2**63}, "level1Count"),
        ({"directReferer": address(1)}, "directReferer is not a parameter"),
        ({"min_block": -1}, "min_block"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_sentence(
    api: httpx.Client, asked: dict[str, Any], said: str
) -> None:
    answer = api.get("/v1/referrals", params=asked)
    assert answer.status_code == 400
    assert said in answer.json()["error"]
    assert set(answer.json()) == {"error", "hint", "retry"}


def test_a_cursor_of_another_order_or_of_nobody_is_refused(api: httpx.Client) -> None:
    cursor = api.get("/v1/referrals", params={"limit": 1}).json()["next"]
    answer = api.get("/v1/referrals", params={"limit": 1, "sort": "-level1Count", "cursor": cursor})
    assert answer.status_code == 422
    assert "sorted by 'address'" in answer.json()["error"]
    answer = api.get("/v1/referrals", params={"cursor": "bm9uc2Vuc2U"})
    assert answer.status_code == 400
    assert answer.json()["error"] == "cursor: 'bm9uc2Vuc2U' is not a cursor of this API."
