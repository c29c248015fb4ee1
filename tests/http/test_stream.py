"""The stream: every change once, in order, also for a client that was away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest

from projections.service.status.poller import Pulse
from tests.http.site import Town, address

Event = tuple[str, dict[str, Any], str]


@contextmanager
def followed(api: httpx.Client, *, last: str | None = None, **asked: Any) -> Iterator[Iterator[Event]]:
    """The events of a stream: name, data, id."""
    headers = {} if last is None else {"Last-Event-ID": last}
    with api.stream("GET", "/v1/stream", params=asked, headers=headers, timeout=30) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield events(answer)


def events(answer: httpx.Response) -> Iterator[Event]:
    fields: dict[str, str] = {}
    for line in answer.iter_lines():
        name, _, value = line.partition(": ")
        if line:
            fields[name] = value
        elif "data" in fields:
            yield fields["event"], json.loads(fields["data"]), fields["id"]
            fields = {}


def taken(stream: Iterator[Event], kind: str, count: int) -> list[Event]:
    """The next so many of a kind."""
    found: list[Event] = []
    while len(found) < count:
        event = next(stream)
        if event[0] == kind:
            found.append(event)
    return found


def test_whoever_begins_is_told_where_things_stand_and_then_what_changes(town: Town) -> None:
    with town.serving() as api, followed(api) as stream:
        kind, data, _ = next(stream)
        assert kind == "ready"
        assert data["projections"]["referrals"]["block"] == 30
        town.mine((500, 1))
        town.sync()
        told = {item[1]["key"]: item[1] for item in taken(stream, "document", 2)}
        assert set(told) == {address(1), address(500)}
        assert told[address(500)]["block"] == 31
        assert (
            told[address(500)]["document"]
            == api.get(f"/v1/referrals/{address(500)}", params={"full": "true"}).json()
        )


def test_a_block_without_changes_is_told_as_a_position(town: Town) -> None:
    with town.serving() as api, followed(api) as stream:
        next(stream)
        town.mine()
        town.sync()
        [(_, data, _)] = taken(stream, "position", 1)
        assert data["projections"]["referrals"]["block"] == 31


def test_a_reorg_is_told_before_the_documents_that_it_changed(town: Town) -> None:
    with town.serving() as api, followed(api) as stream:
        next(stream)
        town.chain.reorg(3)
        for _ in range(4):
            town.mine((600, 1))
        town.sync()
        kind, data, _ = next(stream)
        while kind == "position":
            kind, data, _ = next(stream)
        assert (kind, data["chain"], data["blocks"], data["events"]) == (
            "reorg",
            "local",
            3,
            {"ReferralRegistered": 3},
        )
        [removed] = [item for item in taken(stream, "document", 4) if item[1]["key"] == address(31)]
        assert removed[1]["document"] is None


def test_a_stream_resumes_without_loss_or_repeat_across_restarts(town: Town) -> None:
    """The server is another one each time; each document is sent as often as it changed between two looks."""
    town.mine()
    town.sync()
    told: dict[str, list[int]] = {}
    last: str | None = None
    for step in range(5):
        if last is not None:  # what changes while no client listens
            town.mine(*[(700 + 10 * step + extra, 1) for extra in range(3)])
            town.sync()
        with town.serving() as api, followed(api, last=last) as stream:
            kind, _, last = next(stream)
            assert kind == "ready"
            if step:
                for _, data, position in taken(stream, "document", 2):  # and hangs up between them
                    last = position
                    told.setdefault(data["key"], []).append(data["revision"])
    with town.serving() as api, followed(api, last=last) as stream:
        next(stream)
        town.mine((999, 1))
        town.sync()
        while address(999) not in told:
            _, data, last = taken(stream, "document", 1)[0]
            told.setdefault(data["key"], []).append(data["revision"])
    new = [address(700 + 10 * step + extra) for step in range(1, 5) for extra in range(3)]
    assert {key: len(told.get(key, ())) for key in new} == dict.fromkeys(new, 1)
    assert all(revisions == sorted(set(revisions)) for revisions in told.values())


def test_everything_after_a_revision_is_told_to_whoever_names_it(api: httpx.Client) -> None:
    with followed(api, projection="referrals", revision=0) as stream:
        assert {item[1]["key"] for item in taken(stream, "document", 31)} == {
            address(number) for number in range(1, 32)
        }


def test_an_id_of_another_state_of_the_store_begins_anew_and_says_so(town: Town) -> None:
    with town.serving() as api:
        with followed(api) as stream:
            last = next(stream)[2]
        with town.plan() as plan, plan.store.write() as tx:
            tx.exec_driver_sql("UPDATE generations SET revision = revision - 1")
        with town.serving() as later, followed(later, last=last) as stream:
            assert next(stream)[0] == "reset"


def test_an_id_of_what_another_process_saw_first_is_none_of_another_state(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a load balancer a client may reconnect to a process whose last look is older than the id."""
    with ExitStack() as open_, monkeypatch.context() as patch:
        patch.setattr(Pulse, "run", Pulse.look)  # once, when it starts
        behind = open_.enter_context(town.serving())
        patch.undo()
        town.mine((800, 1))
        town.sync()
        with town.serving() as api, followed(api) as stream:
            last = next(stream)[2]
        with followed(behind, last=last) as stream:
            assert next(stream)[0] == "ready"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"projection": "moon"}, "no projection moon"),
        ({"revision": -1}, "revision"),
        ({"since": 3}, "since is not a parameter"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_sentence(
    api: httpx.Client, asked: dict[str, Any], said: str
) -> None:
    answer = api.get("/v1/stream", params=asked)
    assert answer.status_code == 400
    assert said in answer.json()["error"]


def test_an_id_of_nobody_is_refused(api: httpx.Client) -> None:
    answer = api.get("/v1/stream", headers={"Last-Event-ID": "bm9uc2Vuc2U"})
    assert answer.status_code == 400
    assert answer.json()["error"] == "after: 'bm9uc2Vuc2U' is not a cursor of this API."


def test_too_many_streams_are_refused_and_one_that_ended_makes_room(plain_town: Town) -> None:
    with plain_town.serving("max_streams = 1") as api:
        with followed(api) as stream:
            next(stream)
            answer = api.get("/v1/stream")
            assert (answer.status_code, answer.json()["retry"]) == (503, True)
        for _ in range(200):
            with api.stream("GET", "/v1/stream") as again:
                if again.status_code == 200:
                    return
        raise AssertionError("a stream that ended left no room")
