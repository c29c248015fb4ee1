"""No reader gets an error while things change underneath: a reorg, a rebuild put in place, Redis killed."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import redis

from projections.service.application.rebuild import rebuilt
from tests.http.site import Town, address
from tests.http.test_documents import Steady, until
from tests.servers.mongo import Mongo

PATHS = [
    f"/v1/referrals/{address(1)}",
    f"/v1/referrals/{address(2)}?full=true",
    f"/v1/referrals?directReferrer={address(1)}&limit=5",
    "/v1/referrals?sort=-level1Count&limit=5",
    "/v1/events?limit=3&order=desc",
    "/v1/status",
    "/readyz",
]


@contextmanager
def reading(url: str, answers: Counter[tuple[str, int]]) -> Iterator[None]:
    """Readers that never pause, as long as this is open."""
    over = threading.Event()

    def read(paths: list[str]) -> None:
        with httpx.Client(base_url=url, timeout=30) as client:
            while not over.is_set():
                for path in paths:
                    answers[path, client.get(path).status_code] += 1

    threads = [threading.Thread(target=read, args=(PATHS[start:] + PATHS[:start],)) for start in (0, 3)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def generation(api: httpx.Client) -> int:
    """Which build is served; /v1/status may be a second old."""
    return int(api.get("/v1/status").json()["projections"]["referrals"]["generation"])


def agreed(api: httpx.Client) -> int:
    """How many documents there are: the same from Redis, from the store and from MongoDB."""
    block = api.get("/v1/projections").json()[0]["block"]
    listed = api.get("/v1/referrals", params={"limit": 500, "min_block": block}).json()
    assert (listed["source"], listed["next"]) == ("mongo", None)
    for document in listed["documents"]:
        path = f"/v1/referrals/{document['address']}"
        assert api.get(path, params={"full": "true"}).json() == document
        short = api.get(path).json()
        assert short == {name: document[name] for name in short}
    return len(listed["documents"])


def test_no_answer_is_an_error_while_all_of_it_moves(plain_town: Town, mongo: Mongo, tmp_path: Path) -> None:
    town = plain_town
    answers: Counter[tuple[str, int]] = Counter()
    with ExitStack() as stack:
        server = stack.enter_context(Steady(tmp_path / "redis"))
        town.publish(redis=server.url, mongo=mongo)
        town.sync()
        api = stack.enter_context(town.serving())
        with reading(str(api.base_url), answers):
            before = generation(api)
            for depth in (3, 5):  # reorgs
                town.chain.reorg(depth)
                for number in range(depth + 1):
                    town.mine((700 + number, 1))
                town.sync()
                assert agreed(api) > 25
            with town.plan() as plan:  # a rebuild, put in place
                rebuilt(plan, "referrals")
            town.sync()
            assert agreed(api) > 25
            with redis.Redis.from_url(server.url) as client:  # Redis dies, and comes back empty
                client.config_set("save", "")
                client.flushall()
                server.stop()
                for _ in range(20):
                    assert api.get(PATHS[0]).status_code == 200
                server.start()
                town.sync()
                until(lambda: bool(client.exists(f"user:{address(1)}")))
                assert agreed(api) > 25
            until(lambda: generation(api) > before)
    assert {status for _, status in answers} == {200}
    assert set(PATHS) == {path for path, _ in answers}
