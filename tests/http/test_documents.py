"""One document over HTTP: from Redis, from the store, now and after past blocks."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import httpx
import pytest
import redis

from projections.service.embedded.servers import EmbeddedRedis, free_port
from tests.http.site import CHECKSUMMED, Town, address


def until(holds: object, *, seconds: float = 20.0) -> None:
    """Waits until a condition holds, and fails where it never does."""
    end = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]  # a lambda of a test
        assert time.monotonic() < end, "it never held"
        time.sleep(0.01)


def test_a_document_has_the_fields_of_its_hash_and_says_its_block_and_revision(api: httpx.Client) -> None:
    answer = api.get(f"/v1/referrals/{address(2)}")
    assert answer.status_code == 200
    assert answer.json() == {
        "address": address(2),
        "level1Count": 0,
        "level2Count": 0,
        "directReferrer": address(1),
        "indirectReferrer": None,
    }
    assert answer.headers["x-chainfold-block"] == "30"
    assert int(answer.headers["x-chainfold-revision"]) >= 1


def test_the_whole_document_has_the_fields_that_redis_has_not(api: httpx.Client) -> None:
    found = api.get(f"/v1/referrals/{address(2)}", params={"full": "true"}).json()
    assert found["referralTimestamp"] == 7
    assert found["updatedAt"] > 0


def test_an_address_is_taken_in_any_case(town: Town) -> None:
    town.mine((int(CHECKSUMMED, 16), 1))
    town.sync()
    with town.serving() as api:
        for written in (CHECKSUMMED, CHECKSUMMED.lower(), "0X" + CHECKSUMMED[2:].upper()):
            assert api.get(f"/v1/referrals/{written}").json()["address"] == CHECKSUMMED.lower()


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("0x1234", "an address has 40"),
        ("somebody", "is not an address"),
        (CHECKSUMMED.replace("E7", "e7"), "checksum"),
        ("0x" + "g" * 40, "is not an address"),
    ],
)
def test_what_is_no_address_is_refused_with_a_sentence(api: httpx.Client, key: str, said: str) -> None:
    answer = api.get(f"/v1/referrals/{key}")
    assert answer.status_code == 400
    assert said in answer.json()["error"]
    assert set(answer.json()) == {"error", "hint", "retry"}


def test_an_unknown_document_is_404_and_is_not_cached(api: httpx.Client, hashes: redis.Redis) -> None:
    answer = api.get(f"/v1/referrals/{address(9999)}")
    assert answer.status_code == 404
    assert answer.json()["error"] == f"referrals has no document {address(9999)}."
    assert not hashes.exists(f"user:{address(9999)}")


def test_a_tag_that_still_holds_is_answered_with_304(api: httpx.Client) -> None:
    first = api.get(f"/v1/referrals/{address(2)}")
    again = api.get(f"/v1/referrals/{address(2)}", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = api.get(f"/v1/referrals/{address(2)}", headers={"If-None-Match": '"another"'})
    assert other.status_code == 200


def test_a_missed_document_is_answered_by_the_store_and_filled(
    api: httpx.Client, hashes: redis.Redis
) -> None:
    published = hashes.hgetall(f"user:{address(2)}")
    before = api.get(f"/v1/referrals/{address(2)}").json()
    hashes.delete(f"user:{address(2)}")
    assert api.get(f"/v1/referrals/{address(2)}").json() == before
    until(lambda: hashes.hgetall(f"user:{address(2)}") == published)
    until(lambda: hashes.ttl(f"user:{address(2)}") > 3500)


def test_a_document_after_a_past_block_is_what_it_was_then(api: httpx.Client) -> None:
    now = api.get(f"/v1/referrals/{address(1)}", params={"full": "true"}).json()["level1Count"]
    then = api.get(f"/v1/referrals/{address(1)}", params={"at_block": 25})
    assert then.json()["level1Count"] < now
    assert then.headers["x-chainfold-block"] == "25"
    assert api.get(f"/v1/referrals/{address(31)}", params={"at_block": 25}).status_code == 404


def test_a_block_that_cannot_be_undone_or_is_not_there_yet_is_refused(api: httpx.Client) -> None:
    below = api.get(f"/v1/referrals/{address(1)}", params={"at_block": 3})
    assert below.status_code == 422
    assert "chainfold show referrals KEY --at-block 3" in below.json()["hint"]
    above = api.get(f"/v1/referrals/{address(1)}", params={"at_block": 31})
    assert (above.status_code, above.json()["retry"]) == (409, True)


def test_freshness_is_waited_for(town: Town) -> None:
    with town.serving('max_wait = "20s"') as api:
        answers: list[httpx.Response] = []
        waiting = threading.Thread(
            target=lambda: answers.append(api.get(f"/v1/referrals/{address(77)}", params={"min_block": 31}))
        )
        waiting.start()
        town.mine((77, 1))
        town.sync()
        waiting.join()
        assert answers[0].json()["directReferrer"] == address(1)
        assert int(answers[0].headers["x-chainfold-block"]) >= 31


def test_freshness_is_not_waited_for_for_ever(town: Town) -> None:
    with town.serving('max_wait = "200ms"') as api:
        answer = api.get(f"/v1/referrals/{address(2)}", params={"min_block": 10**9})
        assert answer.status_code == 503
        assert answer.json()["error"] == "referrals is at block 30, not yet at 1,000,000,000."
        assert answer.headers["retry-after"] == "1"


class Steady(EmbeddedRedis):
    """A Redis that comes back at the port it had."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._port = free_port()

    def command(self, port: int) -> list[str]:
        return super().command(self._port)

    def address(self, port: int) -> str:
        return super().address(self._port)


@pytest.mark.server
def test_redis_may_go_and_come_back_and_no_answer_is_an_error(plain_town: Town, tmp_path: Path) -> None:
    server = Steady(tmp_path / "redis").start()
    plain_town.publish(redis=server.url)
    plain_town.sync()
    with plain_town.serving() as api, redis.Redis.from_url(server.url) as client:
        before = api.get(f"/v1/referrals/{address(2)}")
        server.stop()
        for _ in range(20):
            answer = api.get(f"/v1/referrals/{address(2)}")
            assert (answer.status_code, answer.json()) == (200, before.json())
        server.start()
        client.delete(f"user:{address(2)}")

        def filled() -> bool:
            assert api.get(f"/v1/referrals/{address(2)}").json() == before.json()
            return bool(client.exists(f"user:{address(2)}"))

        until(filled)
    server.stop()


def test_without_sinks_the_store_answers(plain_town: Town) -> None:
    with plain_town.serving() as api:
        assert api.get(f"/v1/referrals/{address(2)}").json()["directReferrer"] == address(1)
        assert api.get(f"/v1/referrals/{address(2)}", params={"at_block": 25}).status_code == 200
